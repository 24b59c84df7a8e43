//! A key as the verifier holds it: small, since there may be a hundred thousand of them.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::counters::Counters;
use super::index::{KeyRecord, KeyVersion};
use super::terms::{Granted, Terms};
use crate::core::acceptance::{self, Reason, Rejection};
use crate::core::address::AddressSet;
use crate::core::digest::Digest;
use crate::core::key::Environment;
use crate::core::policy::{Api, ObjectName};
use crate::core::rotation::VersionState;

/// For how long a version's string is accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Validity {
    Open,
    Until(Timestamp),
    Over,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Version {
    digest: Digest,
    number: u32,
    validity: Validity,
}

impl From<&KeyVersion> for Version {
    fn from(version: &KeyVersion) -> Self {
        let validity = match (version.state, version.not_after) {
            (VersionState::Staged | VersionState::Current, _) => Validity::Open,
            (VersionState::Grace, Some(end)) => Validity::Until(end),
            // A grace period without an end is a mistake that must not make a key immortal.
            (VersionState::Grace, None) | (VersionState::Retired, _) => Validity::Over,
        };
        Self { digest: version.digest, number: version.number, validity }
    }
}

/// One ApiKey with everything that judging needs.
#[derive(Clone, Debug)]
pub struct Entry {
    versions: SmallVec<[Version; 1]>,
    enabled: bool,
    revoked: bool,
    imported: bool,
    environment: Environment,
    /// Ends of id, name, owner and the ApiKeyUsage's uid in `text`; the key's uid is the rest.
    ends: [u16; 4],
    ip_allowlist: AddressSet,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    /// `None`: nothing is known of the key but that it can't be honoured.
    terms: Option<Arc<Terms>>,
    /// Why it can't be honoured, besides what its terms say.
    rejection: Option<Box<Rejection>>,
    pub(super) counters: Arc<Counters>,
    namespace: Arc<str>,
    /// Id, name, owner and both uids, in one piece of memory.
    text: Box<str>,
}

/// The parts of an entry that others own.
pub(super) struct Shared {
    pub(super) namespace: Arc<str>,
    pub(super) terms: Option<Arc<Terms>>,
    pub(super) counters: Arc<Counters>,
}

impl Entry {
    pub(super) fn new(record: KeyRecord, shared: Shared) -> Self {
        let KeyRecord { key, name, uid, created_at, id, versions, usage, revoked_for_good, refused_by_controller } =
            record;
        let (key, malformed) = match key {
            Ok(key) => (Some(key), None),
            Err(rejection) => (None, Some(rejection)),
        };
        let owner = key.as_ref().and_then(|key| key.owner.as_deref()).unwrap_or("");
        let mut text = String::with_capacity(128);
        let usage = usage.as_deref().unwrap_or("");
        let ends = [id.as_deref().unwrap_or(""), &*name.name, owner, usage].map(|part| {
            text.extend(part.chars().map(visible));
            u16::try_from(text.len()).unwrap_or(u16::MAX)
        });
        text.push_str(&uid);
        Self {
            versions: versions.iter().map(Version::from).collect(),
            enabled: key.as_ref().is_some_and(|key| key.enabled),
            revoked: revoked_for_good || key.as_ref().is_some_and(|key| key.revoked),
            imported: key.as_ref().is_some_and(|key| key.source.is_some()),
            environment: key.as_ref().map_or_else(Environment::default, |key| key.environment),
            ends,
            expires_at: key.as_ref().and_then(|key| key.expires_at),
            ip_allowlist: key.map_or_else(AddressSet::default, |key| key.ip_allowlist),
            created_at,
            terms: shared.terms,
            rejection: malformed.or(refused_by_controller).map(Box::new),
            counters: shared.counters,
            namespace: shared.namespace,
            text: text.into(),
        }
    }

    /// The public, random id; empty if the key has none yet.
    #[must_use]
    pub fn id(&self) -> &str {
        self.part(0, self.ends[0])
    }

    /// metadata.name
    #[must_use]
    pub fn name(&self) -> &str {
        self.part(self.ends[0], self.ends[1])
    }

    /// metadata.namespace
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whom the key was issued to; empty if nobody is named.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.part(self.ends[1], self.ends[2])
    }

    #[must_use]
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// metadata.uid
    #[must_use]
    pub fn uid(&self) -> &str {
        self.text.get(self.ends[3].into()..).unwrap_or("")
    }

    /// Uid of the key's ApiKeyUsage, once there is one.
    pub(super) fn usage(&self) -> Option<&str> {
        Some(self.part(self.ends[2], self.ends[3])).filter(|uid| !uid.is_empty())
    }

    fn part(&self, from: u16, to: u16) -> &str {
        self.text.get(from.into()..to.into()).unwrap_or("")
    }

    /// Of two keys with the same string the older one counts; the uid decides between equally old ones.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        (self.created_at, self.uid()) < (other.created_at, other.uid())
    }

    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> {
        self.versions.iter().map(|version| version.digest)
    }

    /// The number of the version with that digest.
    pub(super) fn version(&self, digest: &Digest) -> Option<u32> {
        self.find(digest).map(|version| version.number)
    }

    fn find(&self, digest: &Digest) -> Option<&Version> {
        self.versions.iter().find(|version| version.digest == *digest)
    }

    /// Whether the key is one of that API's. One that says nothing intelligible passes, to be refused by name.
    pub(super) fn belongs_to(&self, api: &Api) -> bool {
        self.terms.as_ref().is_none_or(|terms| *terms.api() == api.name)
    }

    /// The API that has to look up strings of any form for this key's sake.
    pub(super) fn imported_into(&self) -> Option<&ObjectName> {
        self.terms.as_ref().filter(|_| self.imported).map(|terms| terms.api())
    }

    pub(super) fn terms(&self) -> Option<&Arc<Terms>> {
        self.terms.as_ref()
    }

    /// The same key after a change of policy.
    pub(super) fn with_terms(&self, terms: Arc<Terms>) -> Self {
        Self { terms: Some(terms), ..self.clone() }
    }

    /// What the key is granted, or why it can't be honoured.
    pub(super) fn granted(&self) -> Result<&Granted, Reason> {
        match (&self.rejection, self.terms.as_deref()) {
            (Some(rejection), _) => Err(rejection.reason),
            (None, Some(terms)) => terms.judged.as_ref().map_err(|rejection| rejection.reason),
            (None, None) => Err(Reason::Invalid),
        }
    }

    /// Why the key can't be honoured.
    #[cfg(test)]
    pub(crate) fn refusal(&self) -> Option<Reason> {
        self.granted().err()
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether the key, or the version of it with that digest, is past its time.
    pub(super) fn is_expired(&self, digest: &Digest, api: &Api, now: Timestamp) -> bool {
        let tier = self.granted().ok().and_then(|granted| granted.tier.as_deref());
        let expiry = acceptance::expiry(self.expires_at, self.created_at, api, tier);
        let version_is_over = match self.find(digest).map(|version| version.validity) {
            Some(Validity::Open) => false,
            Some(Validity::Until(end)) => end <= now,
            Some(Validity::Over) | None => true,
        };
        version_is_over || expiry.is_some_and(|expiry| expiry <= now)
    }

    /// Where the key may be used from; nothing: everywhere.
    pub fn ip_allowlist(&self) -> impl Iterator<Item = String> {
        self.ip_allowlist.entries()
    }

    /// Whether the key may be used from there. An address that nobody knows is in no list.
    pub(super) fn admits(&self, client: Option<IpAddr>) -> bool {
        self.ip_allowlist.is_empty() || client.is_some_and(|client| self.ip_allowlist.admits(client))
    }
}

/// Header values are visible ASCII; whatever else an object was made to contain must not end a header line.
fn visible(character: char) -> char {
    if character.is_ascii_graphic() { character } else { '?' }
}

/// Who is let in: what proxies tell backends about the key. All values are visible ASCII.
#[derive(Clone, Debug)]
pub struct Identity {
    pub(super) entry: Arc<Entry>,
    pub(super) version: u32,
}

impl Identity {
    /// The key itself.
    #[must_use]
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The number of the version that was presented.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Name of the tier; empty if there is none.
    #[must_use]
    pub fn tier(&self) -> &str {
        let tier = self.entry.granted().ok().and_then(|granted| granted.tier.as_deref());
        tier.map_or("", |tier| &*tier.name)
    }

    /// Every scope that the key holds; none if it can't be honoured.
    pub fn held_scopes(&self) -> impl Iterator<Item = &str> {
        self.entry.granted().into_iter().flat_map(|granted| granted.scopes.iter())
    }

    /// Scopes separated by spaces, at most 2 KiB of whole ones; empty unless the API asks for them.
    #[must_use]
    pub fn scopes(&self) -> &str {
        self.entry.granted().map_or("", |granted| &*granted.scopes_text)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixtures::{api, at, index, name, pepper, record, string};
    use super::*;
    use crate::core::policy::Tier;

    #[test]
    fn the_tiers_lifetime_ends_a_key_at_the_latest() {
        let api = api(|_| {});
        let digest = pepper().digest(&string(1));
        for (own, lifetime, last) in [(None, 100, 99), (Some(at(50)), 100, 49), (Some(at(500)), 100, 99)] {
            let of_tier = record(|key| (key.tier, key.expires_at) = (Some("pro".into()), own));
            let index = index(Arc::clone(&api), vec![of_tier]);
            index.change_policies(|policies| {
                let max_lifetime = Some(Duration::from_secs(lifetime));
                let tier = Tier { name: "pro".into(), max_lifetime, ..Tier::default() };
                policies.tiers.insert(name("pro"), Ok(Arc::new(tier)));
            });
            let entry = index.view().key(&digest, &api).unwrap();
            let expired = [last, last + 1].map(|second| entry.is_expired(&digest, &api, at(second)));
            assert_eq!(expired, [false, true], "{own:?} {lifetime}");
        }
    }
}
