//! How far the processes that judge keys have come, as their Leases tell.
//!
//! A process lives as long as its Lease is held and was seen to change in the last 30 s. Changes are timed by
//! this process's own clock since boot: what another machine's clock says proves nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::KeyRef;
use crate::clock;
use crate::resources::names::{APPLIED_ANNOTATION, JUDGING_LABEL};
use crate::telemetry::chain;

/// Unchanged for longer, a Lease tells of no living process.
const LIVING: Duration = Duration::from_secs(30);

/// What is known of the judging processes.
pub(super) struct Judging {
    leases: Api<Lease>,
    known: Mutex<HashMap<String, Process>>,
    /// Keys to look at again when a process has come further.
    waiting: Mutex<Vec<KeyRef>>,
    /// When the last consistent list was begun.
    listed: tokio::sync::Mutex<Option<Duration>>,
    read: watch::Sender<bool>,
}

/// One process as its Lease tells.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Process {
    resource_version: Option<u64>,
    held: bool,
    /// Highest resourceVersion of an ApiKey that it has applied.
    applied: Option<u64>,
    changed_at: Duration,
}

impl Process {
    fn of(lease: &Lease, now: Duration) -> Self {
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        Self {
            resource_version: lease.resource_version().and_then(|version| version.parse().ok()),
            held: holder.is_some_and(|holder| !holder.is_empty()),
            applied: lease.annotations().get(APPLIED_ANNOTATION).and_then(|applied| applied.parse().ok()),
            changed_at: now,
        }
    }

    fn lives(&self, now: Duration) -> bool {
        self.held && now.saturating_sub(self.changed_at) < LIVING
    }
}

impl Judging {
    /// Whether every living process has applied the ApiKey of this resourceVersion. Asks the API server, so that
    /// a process that has only just started counts as well; callers that ask at the same time share one list.
    ///
    /// # Errors
    /// When the Leases cannot be listed.
    pub(super) async fn have_applied(&self, resource_version: u64) -> Result<bool, kube::Error> {
        let asked = clock::since_boot();
        let mut listed = self.listed.lock().await;
        if listed.is_none_or(|begun| begun < asked) {
            let begun = clock::since_boot();
            // No resourceVersion: the answer is consistent, never from a cache that lags.
            let leases = self.leases.list(&ListParams::default().labels(JUDGING_LABEL)).await?;
            self.replace(&leases.items);
            *listed = Some(begun);
        }
        drop(listed);
        let now = clock::since_boot();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known
            .values()
            .filter(|process| process.lives(now))
            .all(|process| process.applied.is_some_and(|applied| applied >= resource_version)))
    }

    /// Wakes this key when some process has come further.
    pub(super) fn wake_on_progress(&self, key: KeyRef) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(key);
    }

    /// Waits until the Leases have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.read.subscribe().wait_for(|read| *read).await;
    }

    fn observe(&self, lease: &Lease) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = Process::of(lease, clock::since_boot());
        match known.entry(lease.name_any()) {
            // Lists and the watch may tell of one Lease in any order.
            Entry::Occupied(entry) if entry.get().resource_version >= seen.resource_version => {}
            Entry::Occupied(mut entry) => {
                entry.insert(seen);
            }
            Entry::Vacant(entry) => {
                entry.insert(seen);
            }
        }
    }

    fn replace(&self, leases: &[Lease]) {
        let names: Vec<String> = leases.iter().map(kube::ResourceExt::name_any).collect();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|name, _| names.contains(name));
        leases.iter().for_each(|lease| self.observe(lease));
    }

    fn forget(&self, lease: &Lease) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&lease.name_any());
    }
}

/// Follows the Leases of the judging processes.
pub(super) fn follow(
    client: &Client,
    operator_namespace: &str,
    wake: &mpsc::UnboundedSender<KeyRef>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Judging> {
    let leases = Api::<Lease>::namespaced(client.clone(), operator_namespace);
    let events = watcher(leases.clone(), watcher::Config::default().labels(JUDGING_LABEL)).default_backoff();
    let judging = Arc::new(Judging {
        leases,
        known: Mutex::default(),
        waiting: Mutex::default(),
        listed: tokio::sync::Mutex::default(),
        read: watch::Sender::new(false),
    });
    let (followed, wake) = (Arc::clone(&judging), wake.clone());
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {}
                Ok(watcher::Event::InitDone) => {
                    followed.read.send_replace(true);
                }
                Ok(watcher::Event::InitApply(lease) | watcher::Event::Apply(lease)) => followed.observe(&lease),
                Ok(watcher::Event::Delete(lease)) => followed.forget(&lease),
                Err(error) => warn!(error = chain(&error), "watching Leases failed; it is tried again"),
            }
            let waiting = std::mem::take(&mut *followed.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for key in waiting {
                // Nobody listens any more once the controller stops.
                let _ = wake.send(key);
            }
        }
    }));
    judging
}
