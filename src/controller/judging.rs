//! How far the processes that judge keys have come, as their Leases tell.
//!
//! A process lives as long as its Lease is held and was seen to change in the last 30 s. Changes are timed by
//! this process's own clock since boot: what another machine's clock says proves nothing.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    waiting: Mutex<HashSet<KeyRef>>,
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
    fn new(leases: Api<Lease>) -> Self {
        Self {
            leases,
            known: Mutex::default(),
            waiting: Mutex::default(),
            listed: tokio::sync::Mutex::default(),
            read: watch::Sender::new(false),
        }
    }

    /// Whether every living process has applied the ApiKey of this resourceVersion; if not, the key is woken when
    /// one of them has come further. Asks the API server, so that a process that has only just started counts as
    /// well; callers that ask at the same time share one list.
    ///
    /// # Errors
    /// When the Leases cannot be listed.
    pub(super) async fn have_applied(&self, resource_version: u64, key: KeyRef) -> Result<bool, kube::Error> {
        // Before asking: progress that is made between the answer and here must not be missed.
        self.waiting().insert(key.clone());
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
        let mut living = known.values().filter(|process| process.lives(now));
        let have = living.all(|process| process.applied.is_some_and(|applied| applied >= resource_version));
        if have {
            self.waiting().remove(&key);
        }
        Ok(have)
    }

    fn waiting(&self) -> MutexGuard<'_, HashSet<KeyRef>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
    let judging = Arc::new(Judging::new(leases));
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
            let waiting = std::mem::take(&mut *followed.waiting());
            for key in waiting {
                // Nobody listens any more once the controller stops.
                let _ = wake.send(key);
            }
        }
    }));
    judging
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{OnceLock, Weak};

    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    fn leases(applied: &str) -> Vec<u8> {
        let lease = json!({
            "metadata": {"name": "verifier", "resourceVersion": applied, "annotations": {APPLIED_ANNOTATION: applied}},
            "spec": {"holderIdentity": "verifier"},
        });
        let list =
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {}, "items": [lease]});
        serde_json::to_vec(&list).unwrap()
    }

    /// Progress that is made while the answer is on its way would otherwise wake nobody.
    #[tokio::test]
    async fn a_key_waits_from_before_the_leases_are_asked_for_until_it_is_known() {
        let judging: Arc<OnceLock<Weak<Judging>>> = Arc::default();
        let (asked, applied) = (Arc::clone(&judging), Arc::new(Mutex::new("6")));
        let answer = Arc::clone(&applied);
        let service = tower::service_fn(move |_: Request<Body>| {
            let judging = asked.get().and_then(Weak::upgrade).expect("the test holds it");
            assert_eq!(judging.waiting().len(), 1, "the key waits already");
            let response = Response::new(Full::from(leases(&answer.lock().unwrap())));
            async { Ok::<_, Infallible>(response) }
        });
        let leases = Api::namespaced(Client::new(service, "keyturn-system"), "keyturn-system");
        let asking = Arc::new(Judging::new(leases));
        judging.set(Arc::downgrade(&asking)).unwrap();
        let key = KeyRef::new("ci").within("speech");

        assert!(!asking.have_applied(7, key.clone()).await.unwrap());
        assert_eq!(asking.waiting().iter().collect::<Vec<_>>(), [&key]);
        *applied.lock().unwrap() = "7";
        assert!(asking.have_applied(7, key).await.unwrap());
        assert!(asking.waiting().is_empty(), "nothing is left to wait for");
    }
}
