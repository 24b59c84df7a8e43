//! Reads what the next step depends on. Judges nothing.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use zeroize::Zeroize as _;

use super::{Context, build, delivery, record};
use crate::clock;
use crate::core::acceptance::{self, Accepted, Rejection};
use crate::core::key::PlainKey;
use crate::core::lifecycle::{self, Minted, MovedSecret, Obstacle, Record, SealedString, StagedSecret, World};
use crate::core::policy::{Key, Policies};
use crate::core::rotation::{Version, VersionState};
use crate::resources::ApiKey;
use crate::resources::names::staged_secret;

#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum Error {
    #[error("reading Secret {name}")]
    Secret { name: String, source: kube::Error },
    #[error("reading the status")]
    Status(#[from] record::DigestError),
}

/// A Secret with its strings; they are wiped when it is dropped.
pub(super) struct HeldSecret(pub(super) Secret);

impl Drop for HeldSecret {
    fn drop(&mut self) {
        self.0.data.iter_mut().flatten().for_each(|(_, value)| value.0.zeroize());
    }
}

/// A staged Secret; `minted` where this very run made it.
pub(super) struct HeldStaged {
    pub(super) number: u32,
    pub(super) secret: HeldSecret,
    pub(super) minted: Option<Minted>,
}

/// A key and everything of it, kept up to date by what each write answers.
pub(super) struct Observed {
    pub(super) object: ApiKey,
    pub(super) key: Result<Key, Rejection>,
    pub(super) acceptance: Result<Accepted, Rejection>,
    pub(super) policies_revision: u64,
    pub(super) record: Record,
    pub(super) secret: Option<HeldSecret>,
    pub(super) moved: Vec<HeldSecret>,
    pub(super) staged: Vec<HeldStaged>,
    /// What this very run has sealed.
    pub(super) sealed: Option<SealedString>,
    obstacle: Option<Obstacle>,
    reversible_revocation: bool,
    pub(super) known_to_verifiers: bool,
    waited: Duration,
}

/// Reads the Secrets of a key: the one of the manifest's name, whoever made it, and all others of its own.
pub(super) async fn gather(context: &Context, object: &ApiKey) -> Result<Observed, Error> {
    let revision = context.policies.current();
    let key = object.parse();
    let acceptance = key.as_ref().map_err(Clone::clone).and_then(|key| acceptance::accept(key, &revision.policies));
    let mut observed = Observed {
        object: object.clone(),
        record: record::read(object.status.as_ref())?,
        acceptance,
        policies_revision: revision.number,
        secret: None,
        moved: Vec::new(),
        staged: Vec::new(),
        sealed: None,
        obstacle: key.as_ref().ok().and_then(|key| delivery::obstacle(object, key.delivery)),
        reversible_revocation: key.as_ref().is_ok_and(|key| is_reversible(key, &revision.policies)),
        known_to_verifiers: false,
        waited: context.progress.waited(object, clock::since_boot()),
        key,
    };
    let Ok(key) = &observed.key else { return Ok(observed) };
    let secrets = observed.secrets(context);
    let name = key.secret_name.to_string();
    let mut staged_names: Vec<String> = Vec::new();
    let mut moved_names: Vec<String> = Vec::new();
    // Somebody may have taken the label away by which it is heard of.
    moved_names.extend(observed.record.secret_name.as_deref().filter(|other| **other != name).map(Into::into));
    for (other, meta) in context.secrets.of(&key.name.namespace, &key.uid) {
        if meta.staged {
            staged_names.push(other);
        } else if other != name && !moved_names.contains(&other) {
            moved_names.push(other);
        }
    }
    // What has been heard of may lag behind what was written.
    if let Some(version) = observed.record.versions.staged() {
        staged_names.push(staged_secret(&key.uid, version.number));
        staged_names.sort();
        staged_names.dedup();
    }
    observed.secret = read(&secrets, &name).await?;
    for name in moved_names {
        if let Some(secret) = read(&secrets, &name).await?
            && is_ours(&secret.0, &observed)
        {
            observed.moved.push(secret);
        }
    }
    for name in staged_names {
        observed.take_staged(&secrets, &name).await?;
    }
    Ok(observed)
}

/// What the API says, also while it says something else that cannot be honoured about this key.
fn is_reversible(key: &Key, policies: &Policies) -> bool {
    matches!(policies.apis.get(&key.api), Some(Ok(api)) if api.reversible_revocation)
}

async fn read(secrets: &Api<Secret>, name: &str) -> Result<Option<HeldSecret>, Error> {
    let found = secrets.get_opt(name).await.map_err(|source| Error::Secret { name: name.to_owned(), source })?;
    Ok(found.map(HeldSecret))
}

fn is_ours(secret: &Secret, observed: &Observed) -> bool {
    let uid = observed.object.metadata.uid.as_deref();
    secret.owner_references().iter().any(|owner| owner.controller == Some(true) && Some(owner.uid.as_str()) == uid)
}

impl Observed {
    pub(super) fn secrets(&self, context: &Context) -> Api<Secret> {
        Api::namespaced(context.client.clone(), &self.object.namespace().unwrap_or_default())
    }

    /// As a number that can be compared with what verifiers have applied (KEP-5504).
    pub(super) fn resource_version(&self) -> Option<u64> {
        self.object.resource_version()?.parse().ok()
    }

    /// Looks at one staged Secret; the number is the last part of its name.
    pub(super) async fn take_staged(&mut self, secrets: &Api<Secret>, name: &str) -> Result<(), Error> {
        let number = name.rsplit('-').next().and_then(|number| number.parse().ok());
        if let (Some(number), Some(secret)) = (number, read(secrets, name).await?)
            && is_ours(&secret.0, self)
        {
            self.staged.push(HeldStaged { number, secret, minted: None });
        }
        Ok(())
    }

    /// What the plan is made from; `None` where the manifest cannot be parsed.
    pub(super) fn world(&self, context: &Context) -> Option<World<'_>> {
        let key = self.key.as_ref().ok()?;
        Some(World {
            key,
            acceptance: &self.acceptance,
            record: self.record.clone(),
            secret: self.look_at_secret(context, key),
            moved_secrets: self
                .moved
                .iter()
                .map(|moved| MovedSecret { name: moved.0.name_any().into(), holds: self.held_by(context, moved) })
                .collect(),
            staged: self.staged.iter().map(|staged| look_at_staged(context, staged)).collect(),
            sealed: self.sealed.clone(),
            obstacle: self.obstacle.clone(),
            acknowledged: delivery::acknowledged(&self.object, self.own_secret()),
            reversible_revocation: self.reversible_revocation,
            known_to_verifiers: self.known_to_verifiers,
            waited: self.waited,
        })
    }

    fn look_at_secret(&self, context: &Context, key: &Key) -> lifecycle::Secret {
        let Some(secret) = &self.secret else { return lifecycle::Secret::Absent };
        if !is_ours(&secret.0, self) {
            return lifecycle::Secret::Foreign;
        }
        let holds = self.held_by(context, secret);
        let in_order_for = holds.iter().copied().find(|number| {
            self.wanted_secret(context, key, *number).is_some_and(|wanted| build::is_in_order(&secret.0, &wanted.0))
        });
        let comes = self.record.versions.staged().or_else(|| self.record.versions.current());
        let wanted = comes.and_then(|version| self.wanted_secret(context, key, version.number));
        let fixed = wanted.is_some_and(|wanted| build::is_fixed(&secret.0, &wanted.0));
        lifecycle::Secret::Ours { holds, in_order_for, fixed }
    }

    /// The Secret of the manifest's name, where it is this key's.
    pub(super) fn own_secret(&self) -> Option<&Secret> {
        self.secret.as_ref().map(|secret| &secret.0).filter(|secret| is_ours(secret, self))
    }

    /// The Secret as it has to be for this version, if its string is anywhere.
    pub(super) fn wanted_secret(&self, context: &Context, key: &Key, number: u32) -> Option<HeldSecret> {
        let version = self.record.versions.by_number(number)?;
        let previous = match version.state {
            // Its successor is about to take its place, and it is about to begin its grace.
            VersionState::Staged => self.record.versions.current(),
            _ => self.record.versions.in_grace(),
        };
        let string = self.string_of(context, version)?;
        // What is delivered once is not repeated.
        let previous = previous.filter(|version| version.handover.is_none());
        let previous = previous.and_then(|version| self.string_of(context, version));
        let (id, start) = (self.record.id.as_deref()?, &*version.start);
        let contents = build::Contents { id, start, number, string: &string, previous: previous.as_ref() };
        Some(HeldSecret(build::secret(&self.object, key, &context.pepper, &contents)))
    }

    pub(super) fn string_of(&self, context: &Context, version: &Version) -> Option<PlainKey> {
        let secrets = self.secret.iter().chain(&self.moved).chain(self.staged.iter().map(|staged| &staged.secret));
        let values = secrets.flat_map(|secret| secret.0.data.iter().flatten());
        let mut fitting = values.filter(|(_, value)| context.pepper.digest_of(&value.0) == version.digest);
        let (_, value) = fitting.next()?;
        Some(PlainKey::new(std::str::from_utf8(&value.0).ok()?.to_owned()))
    }

    /// Versions whose strings stand in this Secret, under whatever data key.
    fn held_by(&self, context: &Context, secret: &HeldSecret) -> Vec<u32> {
        let digests = secret.0.data.iter().flatten().map(|(_, value)| context.pepper.digest_of(&value.0));
        let digests: Vec<_> = digests.collect();
        let held = self.record.versions.iter().filter(|version| digests.contains(&version.digest));
        held.map(|version| version.number).collect()
    }
}

fn look_at_staged(context: &Context, staged: &HeldStaged) -> StagedSecret {
    let string = staged.secret.0.data.iter().flatten().next();
    StagedSecret {
        number: staged.number,
        digest: string.map(|(_, value)| context.pepper.digest_of(&value.0)),
        fresh: staged.minted.clone(),
    }
}
