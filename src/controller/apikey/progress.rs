//! What this process remembers of keys between two looks: nothing that matters is lost with it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::runtime::controller::Action;

use super::Context;
use super::gather::Observed;
use crate::controller::key_ref;
use crate::controller::secrets::{SecretMeta, SecretsOfKey};
use crate::controller::usages::Whose;
use crate::core::policy::ObjectName;
use crate::resources::ApiKey;

/// By namespace and name.
#[derive(Debug, Default)]
pub(in crate::controller) struct Progress(Mutex<HashMap<(String, String), Memory>>);

#[derive(Debug, Default)]
struct Memory {
    /// Of the object that this is about; its name may be used again.
    uid: Option<String>,
    /// Highest resourceVersion of the ApiKey that this process has written or come to rest with.
    written: Option<u64>,
    rest: Option<Rest>,
    /// The staged version for whose sake it waits, and since when since boot.
    waiting: Option<(u32, Duration)>,
    /// A write failed, and what became of it is not known.
    in_doubt: bool,
}

/// Nothing was left to be done, as long as nothing of this changes.
#[derive(Debug)]
struct Rest {
    policies_revision: u64,
    peppers_revision: u64,
    secrets: SecretsOfKey,
    /// Uid of its ApiKeyUsage.
    usage: Option<Arc<str>>,
    settled: Settled,
    enforcement: Enforcement,
}

/// A key at which nothing is left to be done for now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Settled {
    /// The resourceVersion as of which its status tells all that comes of its generation.
    pub(super) version: Option<u64>,
    /// When time alone will change that.
    pub(super) next_look: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
enum Enforcement {
    Done,
    Open,
    /// Since this time since boot processes are waited for.
    WaitedFor(Duration),
}

/// What is known of a key without looking any further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Rests {
    /// It lies as it was left.
    Enforced { next_look: Option<Timestamp> },
    /// It lies as it was left, and somebody may not honour it yet.
    Unenforced(Settled),
    /// This is older than what this process has written itself.
    Outdated,
}

impl Progress {
    /// What there is to do about a key that nothing has happened to.
    pub(super) fn rests(&self, key: &ApiKey, context: &Context, now: Timestamp) -> Option<Rests> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = known.get(&name_of(key)).filter(|memory| memory.uid == key.metadata.uid)?;
        let version = version_of(key);
        if version < memory.written {
            return Some(Rests::Outdated);
        }
        let rest = memory.rest.as_ref().filter(|_| version == memory.written)?;
        let unchanged = rest.policies_revision == context.policies.current().number
            && rest.peppers_revision == context.peppers.current().number
            && rest.secrets == context.secrets.of(key.metadata.namespace.as_deref()?, key.metadata.uid.as_deref()?)
            && rest.usage == context.usages.of(key.metadata.uid.as_deref()?);
        let name = ObjectName::new(key.metadata.namespace.as_deref()?, key.metadata.name.as_deref()?);
        let unchanged = unchanged && context.ledgers.found(&Whose::Key(key_ref(key))).is_none();
        let unchanged = unchanged && !context.strings.is_disturbed(&name) && !context.places.is_called(&name);
        let Settled { next_look, .. } = rest.settled;
        let due = next_look.is_some_and(|next_look| next_look <= now);
        (unchanged && !due).then_some(match rest.enforcement {
            Enforcement::Done => Rests::Enforced { next_look },
            Enforcement::Open | Enforcement::WaitedFor(_) => Rests::Unenforced(rest.settled),
        })
    }

    /// Remembers that nothing is left to be done but to see that the key is honoured everywhere.
    pub(super) fn rest(&self, observed: &Observed, next_look: Option<Timestamp>) -> Settled {
        let secrets = observed.secret.iter().chain(&observed.moved).filter_map(|secret| {
            let meta = SecretMeta { resource_version: secret.0.resource_version()?, staged: false };
            Some((secret.0.name_any(), meta))
        });
        let settled = Settled { version: observed.resource_version(), next_look };
        let rest = Rest {
            policies_revision: observed.policies_revision,
            peppers_revision: observed.peppers.number,
            secrets: secrets.collect(),
            usage: observed.usage.clone(),
            settled,
            enforcement: Enforcement::Open,
        };
        self.remember(&observed.object, |memory| {
            memory.rest = Some(rest);
            memory.waiting = None;
        });
        settled
    }

    /// Remembers that the key is honoured everywhere.
    pub(super) fn enforced(&self, key: &ApiKey) {
        self.remember(key, |memory| {
            memory.rest.iter_mut().for_each(|rest| rest.enforcement = Enforcement::Done);
        });
    }

    /// For how long this process has waited for others to honour the key.
    pub(super) fn unenforced_for(&self, key: &ApiKey, since_boot: Duration) -> Duration {
        let mut waited = Duration::ZERO;
        self.remember(key, |memory| {
            let Some(rest) = &mut memory.rest else { return };
            match rest.enforcement {
                Enforcement::WaitedFor(since) => waited = since_boot.saturating_sub(since),
                Enforcement::Open | Enforcement::Done => rest.enforcement = Enforcement::WaitedFor(since_boot),
            }
        });
        waited
    }

    /// What was written tells of the wait, and changes nothing else.
    pub(super) fn told(&self, key: &ApiKey) {
        self.remember(key, |_| {});
    }

    /// Remembers since when the staged version waits for verifiers.
    pub(super) fn wait(&self, observed: &Observed, since_boot: Duration) {
        let Some(staged) = observed.record.versions.staged() else { return };
        self.remember(&observed.object, |memory| {
            memory.rest = None;
            if memory.waiting.is_none_or(|(number, _)| number != staged.number) {
                memory.waiting = Some((staged.number, since_boot));
            }
        });
    }

    /// How long this process has waited for verifiers to learn of this key's staged version.
    pub(super) fn waited(&self, key: &ApiKey, since_boot: Duration) -> Duration {
        let staged = key.status.iter().flat_map(|status| &status.versions).map(|version| version.number).max();
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = known.get(&name_of(key)).filter(|memory| memory.uid == key.metadata.uid);
        match memory.and_then(|memory| memory.waiting) {
            Some((number, since)) if Some(number) == staged => since_boot.saturating_sub(since),
            _ => Duration::ZERO,
        }
    }

    /// What has been heard of a key must be at least as new as what this process last wrote.
    pub(super) fn wrote(&self, observed: &Observed) {
        self.remember(&observed.object, |memory| memory.rest = None);
    }

    /// Looking after the key has failed: it may not lie as the watch tells.
    pub(super) fn doubt(&self, key: &ApiKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name_of(key)).or_default().in_doubt = true;
    }

    /// Whether it had failed; asked once for each failure.
    pub(super) fn take_doubt(&self, key: &ApiKey) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_mut(&name_of(key)).is_some_and(|memory| std::mem::take(&mut memory.in_doubt))
    }

    /// The key is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        let name = (namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    }

    fn remember(&self, key: &ApiKey, change: impl FnOnce(&mut Memory)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = known.entry(name_of(key)).or_default();
        if memory.uid != key.metadata.uid {
            *memory = Memory { uid: key.uid(), ..Memory::default() };
        }
        memory.written = version_of(key);
        change(memory);
    }
}

fn version_of(key: &ApiKey) -> Option<u64> {
    key.resource_version().and_then(|version| version.parse().ok())
}

fn name_of(key: &ApiKey) -> (String, String) {
    (key.namespace().unwrap_or_default(), key.name_any())
}

/// When to look at a key again.
pub(super) fn wake_at(next_look: Option<Timestamp>, now: Timestamp) -> Action {
    next_look.map_or_else(Action::await_change, |at| {
        Action::requeue(at.duration_since(now).try_into().unwrap_or(Duration::ZERO))
    })
}
