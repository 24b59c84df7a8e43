//! Reads what the next step depends on. Judges nothing.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};
use zeroize::Zeroize as _;

use super::{Context, build, delivery, record, restored, source, usage};
use crate::clock;
use crate::controller::usages::Whose;
use crate::controller::{key_ref, peppers};
use crate::core::acceptance::{self, Accepted, Rejection};
use crate::core::digest::StringHash;
use crate::core::key::{self, PlainKey};
use crate::core::ledger::Ledger;
use crate::core::lifecycle::{
    self, Minted, MovedSecret, Obstacle, Record, Redigested, Restored, SealedString, StagedSecret, World,
};
use crate::core::policy::{Key, Policies};
use crate::core::rotation::{Version, VersionState};
use crate::core::source::Source;
use crate::core::usage::VersionUse;
use crate::entropy::{self, EntropyError};
use crate::resources::ApiKey;
use crate::resources::names::staged_secret;

#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum Error {
    #[error("reading Secret {name}")]
    Secret { name: String, source: kube::Error },
    #[error("reading the ApiKeyUsage")]
    Usage(#[source] kube::Error),
    #[error("reading the status")]
    Status(#[from] record::DigestError),
    #[error("drawing an id")]
    Entropy(#[from] EntropyError),
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
    /// The refusal of a key whose string an older one has.
    pub(super) duplicate: Option<Result<Accepted, Rejection>>,
    /// The refusal of a key whose owner has as many as it may have.
    pub(super) limit_reached: Option<Result<Accepted, Rejection>>,
    pub(super) policies_revision: u64,
    pub(super) peppers: Arc<peppers::Revision>,
    pub(super) record: Record,
    pub(super) secret: Option<HeldSecret>,
    pub(super) moved: Vec<HeldSecret>,
    pub(super) staged: Vec<HeldStaged>,
    /// Uid of the ApiKeyUsage that is there.
    pub(super) usage: Option<Arc<str>>,
    pub(super) last_uses: Vec<VersionUse>,
    /// Where something was found in it that may have to be told.
    pub(super) ledger: Option<Arc<Ledger>>,
    /// What this very run has sealed.
    pub(super) sealed: Option<SealedString>,
    obstacle: Option<Obstacle>,
    reversible_revocation: bool,
    /// The string to take over, while the key has no version.
    pub(super) imported: Option<PlainKey>,
    /// What the hash to take over amounts to, while the key has no version.
    pub(super) import: Option<Minted>,
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
        duplicate: None,
        limit_reached: None,
        policies_revision: revision.number,
        peppers: context.peppers.current(),
        secret: None,
        moved: Vec::new(),
        staged: Vec::new(),
        usage: None,
        last_uses: Vec::new(),
        ledger: context.ledgers.found(&Whose::Key(key_ref(object))),
        sealed: None,
        obstacle: key.as_ref().ok().and_then(|key| delivery::obstacle(object, key.delivery)),
        reversible_revocation: key.as_ref().is_ok_and(|key| is_reversible(key, &revision.policies)),
        imported: None,
        import: None,
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
    observed.usage = usage::find(context, &observed).await.map_err(Error::Usage)?;
    if lifecycle::concerns_last_use(&observed.record, clock::now()) {
        observed.last_uses = usage::last_uses(context, &observed).await.map_err(Error::Usage)?;
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
    observed.find_source(&secrets).await?;
    Ok(observed)
}

/// What the API says, also while it says something else that cannot be honoured about this key.
fn is_reversible(key: &Key, policies: &Policies) -> bool {
    matches!(policies.apis.get(&key.api), Some(Ok(api)) if api.reversible_revocation)
}

pub(super) async fn read(secrets: &Api<Secret>, name: &str) -> Result<Option<HeldSecret>, Error> {
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

    /// Looks for what the first version is to be taken from; without it nothing is minted in its stead.
    async fn find_source(&mut self, secrets: &Api<Secret>) -> Result<(), Error> {
        let begins = self.record.last_rotated_at.is_none() && self.record.versions.staged().is_none();
        let (Ok(key), Ok(_)) = (&self.key, &self.acceptance) else { return Ok(()) };
        if !begins || self.restored(key).is_some() {
            return Ok(());
        }
        match &key.source {
            None => {}
            Some(Source::Secret { name, key }) => match source::read(secrets, name, key).await? {
                Ok(string) => self.imported = Some(string),
                Err(rejection) => self.acceptance = Err(rejection),
            },
            Some(Source::Digest(hash)) => {
                let pepper = self.peppers.all.active();
                self.import = Some(Minted {
                    digest: pepper.digest_of_hash(*hash),
                    pepper: pepper.name().into(),
                    start: "".into(),
                    at: clock::now(),
                    id: key::mint_id(entropy::fill)?.into(),
                });
            }
        }
        Ok(())
    }

    /// What a key without status takes over from a Secret that came back from a backup.
    fn restored(&self, key: &Key) -> Option<Restored> {
        let secret = self.secret.as_ref()?;
        let is_new = self.record.id.is_none() && self.record.versions.iter().next().is_none();
        is_new.then(|| restored::of_new_key(&secret.0, &self.object.spec.secret.key, key, &self.peppers.all))?
    }

    /// What is made of the key, but for the place that it needs among its owner's.
    pub(super) fn judged(&self) -> &Result<Accepted, Rejection> {
        self.acceptance.as_ref().ok().and(self.duplicate.as_ref()).unwrap_or(&self.acceptance)
    }

    /// What the plan is made from; `None` where the manifest cannot be parsed.
    pub(super) fn world(&self) -> Option<World<'_>> {
        let key = self.key.as_ref().ok()?;
        let judged = self.judged();
        Some(World {
            key,
            acceptance: judged.as_ref().ok().and(self.limit_reached.as_ref()).unwrap_or(judged),
            record: self.record.clone(),
            secret: self.look_at_secret(key),
            moved_secrets: self
                .moved
                .iter()
                .map(|moved| MovedSecret { name: moved.0.name_any().into(), holds: self.held_by(moved) })
                .collect(),
            staged: self.staged.iter().map(|staged| self.look_at_staged(staged)).collect(),
            import: self.import.clone(),
            redigested: self.redigested(key),
            lost_pepper: self.lost_pepper(),
            usage: usage::look(self),
            last_uses: self.last_uses.clone(),
            ledger: self.ledger.clone(),
            sealed: self.sealed.clone(),
            obstacle: self.obstacle.clone(),
            acknowledged: delivery::acknowledged(&self.object, self.own_secret()),
            reversible_revocation: self.reversible_revocation,
            known_to_verifiers: self.known_to_verifiers,
            waited: self.waited,
        })
    }

    fn look_at_secret(&self, key: &Key) -> lifecycle::Secret {
        let Some(secret) = &self.secret else { return lifecycle::Secret::Absent };
        let data_key = &self.object.spec.secret.key;
        if !is_ours(&secret.0, self) && !restored::is_of(&secret.0, data_key, key, &self.record, &self.peppers.all) {
            return self.restored(key).map_or(lifecycle::Secret::Foreign, lifecycle::Secret::Restored);
        }
        let holds = self.held_by(secret);
        let in_order_for = holds.iter().copied().find(|number| {
            self.wanted_secret(key, *number).is_some_and(|wanted| build::is_in_order(&secret.0, &wanted.0))
        });
        let comes = self.record.versions.staged().or_else(|| self.record.versions.current());
        let wanted = comes.and_then(|version| self.wanted_secret(key, version.number));
        let fixed = wanted.is_some_and(|wanted| build::is_fixed(&secret.0, &wanted.0));
        lifecycle::Secret::Ours { holds, in_order_for, fixed }
    }

    /// The Secret of the manifest's name, where it is this key's.
    pub(super) fn own_secret(&self) -> Option<&Secret> {
        self.secret.as_ref().map(|secret| &secret.0).filter(|secret| is_ours(secret, self))
    }

    /// The Secret as it has to be for this version, if its string is anywhere.
    pub(super) fn wanted_secret(&self, key: &Key, number: u32) -> Option<HeldSecret> {
        let version = self.record.versions.by_number(number)?;
        let previous = match version.state {
            // Its successor is about to take its place, and it is about to begin its grace.
            VersionState::Staged => self.record.versions.current(),
            _ => self.record.versions.in_grace(),
        };
        let string = self.string_of(version)?;
        // What is delivered once is not repeated.
        let previous = previous.filter(|version| version.handover.is_none());
        let previous = previous.and_then(|version| self.string_of(version));
        let (id, start) = (self.record.id.as_deref()?, &*version.start);
        let contents = build::Contents { id, start, number, string: &string, previous: previous.as_ref() };
        let pepper = self.peppers.all.by_name(&version.pepper)?;
        Some(HeldSecret(build::secret(&self.object, key, pepper, &contents)))
    }

    pub(super) fn string_of(&self, version: &Version) -> Option<PlainKey> {
        let secrets = self.secret.iter().chain(&self.moved).chain(self.staged.iter().map(|staged| &staged.secret));
        let values = secrets.flat_map(|secret| secret.0.data.iter().flatten());
        let (_, value) = values.into_iter().find(|(_, value)| self.is_string_of(version, &value.0))?;
        Some(PlainKey::new(std::str::from_utf8(&value.0).ok()?.to_owned()))
    }

    /// Versions whose strings stand in this Secret, under whatever data key.
    fn held_by(&self, secret: &HeldSecret) -> Vec<u32> {
        let holds =
            |version: &&Version| secret.0.data.iter().flatten().any(|(_, value)| self.is_string_of(version, &value.0));
        self.record.versions.iter().filter(holds).map(|version| version.number).collect()
    }

    /// Nobody can tell what was digested under a pepper that is lost.
    fn is_string_of(&self, version: &Version, value: &[u8]) -> bool {
        let pepper = self.peppers.all.by_name(&version.pepper);
        pepper.is_some_and(|pepper| pepper.digest_of(value) == version.digest)
    }

    fn look_at_staged(&self, staged: &HeldStaged) -> StagedSecret {
        let string = staged.secret.0.data.iter().flatten().next();
        let version = self.record.versions.by_number(staged.number);
        let pepper = version.and_then(|version| self.peppers.all.by_name(&version.pepper));
        let pepper = pepper.unwrap_or_else(|| self.peppers.all.active());
        StagedSecret {
            number: staged.number,
            digest: string.map(|(_, value)| pepper.digest_of(&value.0)),
            fresh: staged.minted.clone(),
        }
    }

    /// What the active pepper makes of strings that are at hand, and of a hash that the manifest says.
    fn redigested(&self, key: &Key) -> Vec<Redigested> {
        let active = self.peppers.all.active();
        let others = self.record.versions.iter().filter(|version| *version.pepper != *active.name());
        let anew = others.filter_map(|version| {
            let string = self.string_of(version).map(|string| StringHash::of(string.expose().as_bytes()));
            let hash = string.or(match key.source {
                Some(Source::Digest(hash)) if version.number == lifecycle::IMPORTED => Some(hash),
                _ => None,
            })?;
            let digest = active.digest_of_hash(hash);
            Some(Redigested { number: version.number, digest, pepper: active.name().into() })
        });
        anew.collect()
    }

    /// The pepper of the current version, if nobody has it any more.
    fn lost_pepper(&self) -> Option<Arc<str>> {
        let current = self.record.versions.current()?;
        self.peppers.all.by_name(&current.pepper).is_none().then(|| Arc::clone(&current.pepper))
    }
}
