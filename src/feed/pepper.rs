//! The peppers that strings are recognised by, as their Secret holds them now.
//!
//! A key's digest may be made under a new pepper as soon as the Secret has it, and the two are watched apart. So
//! whoever applies keys asks for peppers that are not known yet before a key needs them. The other way round, a
//! pepper that is taken away is kept for a while: the keys that left it may not have been heard of yet.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, ResourceExt as _};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::watch::Change;
use crate::core::digest::Pepper;
use crate::core::pepper::Peppers;
use crate::resources::ApiKey;
use crate::resources::apikey::VersionState;
use crate::resources::names::PEPPER_SECRET;
use crate::resources::pepper::{self, PepperError};
use crate::telemetry::chain;

/// How long keys are held back to learn of a new pepper.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why there is no pepper to use.
#[derive(Debug, thiserror::Error)]
enum MissingPepper {
    #[error("Secret {PEPPER_SECRET} does not exist; the controller makes it when it starts")]
    Absent,
    #[error("reading Secret {PEPPER_SECRET}")]
    Read(#[source] watcher::Error),
    #[error(transparent)]
    Unusable(#[from] PepperError),
}

/// What happened to the peppers.
pub(super) enum News {
    /// Strings are to be recognised by these.
    Use(Peppers),
    /// There have never been any yet, for this reason.
    Missing(String),
}

/// Hears of every change.
pub(super) type Tell<'a> = Box<dyn Fn(News) + Send + Sync + 'a>;

/// Keeps up with the Secret.
pub(super) struct Keeper<'a> {
    secrets: Api<Secret>,
    /// How long a pepper is used after it is gone: for as long as changes of keys may be on their way.
    linger: Duration,
    tell: Tell<'a>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// As they stand in the Secret.
    now: Option<Peppers>,
    /// resourceVersion of the Secret that they are from.
    version: Option<u64>,
    /// Names that keys mentioned before anything was read.
    mentioned: HashSet<String>,
    /// Names that keys mention and the Secret does not have.
    lost: HashSet<String>,
    /// When those that are gone are forgotten.
    linger_until: Option<Instant>,
    /// The last reason why there was none.
    said: String,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(secrets: Api<Secret>, linger: Duration, tell: Tell<'a>) -> Self {
        Self { secrets, linger, tell, known: Mutex::default() }
    }

    /// Follows the Secret for ever.
    pub(super) async fn keep(&self) {
        let events = watcher::watch_object(self.secrets.clone(), PEPPER_SECRET).default_backoff();
        pin_mut!(events);
        loop {
            let linger_until = self.known().linger_until;
            let forget = async {
                match linger_until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(secret)) => self.take(secret),
                    Some(Err(unread)) => self.complain(&MissingPepper::Read(unread)),
                    None => return,
                },
                () = forget => self.forget_former(),
            }
        }
    }

    /// Makes sure that the peppers are known which these keys mention, or that they are lost.
    pub(super) async fn know(&self, change: &Change<DeserializeGuard<ApiKey>>) {
        let unknown = self.unknown(change);
        if unknown.is_empty() {
            return;
        }
        match timeout(PATIENCE, self.secrets.get_opt(PEPPER_SECRET)).await {
            Ok(Ok(secret)) => {
                self.take(secret);
                let still = self.unknown(change);
                still.iter().for_each(|name| warn_lost(name));
                self.known().lost.extend(still);
            }
            Ok(Err(unread)) => warn!(error = chain(&unread), "a new pepper could not be read"),
            Err(_) => warn!("a new pepper could not be read in {} s", PATIENCE.as_secs()),
        }
    }

    fn unknown(&self, change: &Change<DeserializeGuard<ApiKey>>) -> HashSet<String> {
        let mut known = self.known();
        let Some(now) = &known.now else {
            // Without any there is nothing to be judged yet.
            known.mentioned.extend(pepper_names(change).map(str::to_owned));
            return HashSet::new();
        };
        let names = pepper_names(change).filter(|name| now.by_name(name).is_none() && !known.lost.contains(*name));
        names.map(str::to_owned).collect()
    }

    fn take(&self, secret: Option<Secret>) {
        let Some(mut secret) = secret else { return self.complain(&MissingPepper::Absent) };
        let version = secret.resource_version().and_then(|version| version.parse().ok());
        let parsed = pepper::parse(&mut secret);
        let mut known = self.known();
        // Lists, the watch and reads on demand tell of one Secret in any order.
        if known.version >= version {
            return;
        }
        let now = match parsed {
            Ok(now) => now,
            Err(unusable) => {
                drop(known);
                return self.complain(&unusable.into());
            }
        };
        let used = known.now.as_ref().map_or_else(|| now.clone(), |former| now.with(former));
        let names: Vec<_> = now.iter().map(Pepper::name).collect();
        info!(active = names[0], ?names, "the peppers are read");
        known.linger_until = (used.iter().len() > now.iter().len()).then(|| Instant::now() + self.linger);
        known.lost.clear();
        let mentioned = std::mem::take(&mut known.mentioned);
        // Not noted as lost: these keys may be newer than what was read.
        mentioned.iter().filter(|name| now.by_name(name).is_none()).for_each(|name| warn_lost(name));
        (known.now, known.version) = (Some(now), version);
        (self.tell)(News::Use(used));
    }

    fn forget_former(&self) {
        let mut known = self.known();
        known.linger_until = None;
        if let Some(now) = &known.now {
            (self.tell)(News::Use(now.clone()));
        }
    }

    /// What cannot be used changes nothing about the peppers that are known.
    fn complain(&self, missing: &MissingPepper) {
        let reason = chain(missing);
        let mut known = self.known();
        if known.said == reason {
            return;
        }
        known.said.clone_from(&reason);
        if known.now.is_some() {
            error!(reason, "the peppers are used as they were last read");
        } else {
            warn!(reason, "there is no pepper yet");
            (self.tell)(News::Missing(reason));
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn warn_lost(pepper: &str) {
    warn!(pepper, "keys are refused, for Secret {PEPPER_SECRET} does not have their pepper");
}

/// The peppers of versions that may be accepted.
fn pepper_names(change: &Change<DeserializeGuard<ApiKey>>) -> impl Iterator<Item = &str> {
    let keys = match change {
        Change::Listed(keys) => keys.as_slice(),
        Change::Applied(key) => std::slice::from_ref(key),
        Change::Deleted(_) | Change::Bookmark => &[],
    };
    let keys = keys.iter().filter_map(|DeserializeGuard(key)| key.as_ref().ok());
    let versions = keys.flat_map(|key| key.status.iter().flat_map(|status| &status.versions));
    let living = versions.filter(|version| version.state != VersionState::Retired);
    living.map(|version| version.pepper.as_str())
}

#[cfg(test)]
mod tests;
