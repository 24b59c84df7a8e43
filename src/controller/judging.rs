//! How far the processes that judge keys have come, as their Leases tell: `core::enforced::judgement` with a watch,
//! lists, and keys that wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, ListParams, Preconditions};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::KeyRef;
use crate::clock::since_boot;
use crate::core::enforced::judgement::{Expendable, Judgement, Processes};
use crate::resources::judging;
use crate::resources::names::JUDGING_LABEL;
use crate::telemetry::chain;

/// How often Leases that stand for nobody any more are looked for.
const TIDY: Duration = Duration::from_secs(10);

/// What is known of the judging processes.
pub(super) struct Judging {
    leases: Api<Lease>,
    processes: Mutex<Processes>,
    /// Keys to look at again when a process has come further.
    waiting: Mutex<HashMap<KeyRef, Wait>>,
    /// When the last consistent list was begun.
    listed: tokio::sync::Mutex<Option<Duration>>,
    read: watch::Sender<bool>,
}

/// What a key waits for: that its resourceVersion is applied.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wait {
    ByTheLiving(u64),
    ByAll(u64),
}

impl Wait {
    fn is_over(self, processes: &Processes, now: Duration) -> bool {
        match self {
            Self::ByTheLiving(version) => processes.living_have_applied(version, now),
            Self::ByAll(version) => processes.judge(version, now) == Judgement::Enforced,
        }
    }
}

impl Judging {
    fn new(leases: Api<Lease>) -> Self {
        Self {
            leases,
            processes: Mutex::default(),
            waiting: Mutex::default(),
            listed: tokio::sync::Mutex::default(),
            read: watch::Sender::new(false),
        }
    }

    /// Whether every living process has applied the ApiKey of this resourceVersion; if not, the key is woken when
    /// they have.
    ///
    /// # Errors
    /// When the Leases cannot be listed.
    pub(super) async fn have_applied(&self, version: u64, key: KeyRef) -> Result<bool, kube::Error> {
        // Before asking: progress that is made between the answer and here must not be missed.
        self.waiting().insert(key.clone(), Wait::ByTheLiving(version));
        self.list().await?;
        let have = self.processes().living_have_applied(version, since_boot());
        if have {
            self.waiting().remove(&key);
        }
        Ok(have)
    }

    /// Whether the ApiKey of this resourceVersion, which has been written already, is enforced; if not, the key is
    /// woken when processes have come so far that it is.
    ///
    /// # Errors
    /// When the Leases cannot be listed.
    pub(super) async fn judge(&self, version: u64, key: KeyRef) -> Result<Judgement, kube::Error> {
        self.waiting().insert(key.clone(), Wait::ByAll(version));
        let as_of = self.list().await?;
        let judgement = self.processes().judge(version, as_of);
        if judgement == Judgement::Enforced {
            self.waiting().remove(&key);
        }
        Ok(judgement)
    }

    /// Takes in a consistent list that is begun after this is called, and answers when it was begun: a process that
    /// has only just started counts as well. Callers that ask at the same time share one list.
    async fn list(&self) -> Result<Duration, kube::Error> {
        let asked = since_boot();
        let mut listed = self.listed.lock().await;
        if let Some(begun) = listed.filter(|begun| *begun >= asked) {
            return Ok(begun);
        }
        let begun = since_boot();
        // No resourceVersion: the answer is as of now, never from a cache that lags.
        let leases = self.leases.list(&ListParams::default().labels(JUDGING_LABEL)).await?;
        self.processes().listed(judging::list(&leases, begun), since_boot());
        *listed = Some(begun);
        Ok(begun)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<KeyRef, Wait>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the Leases have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.read.subscribe().wait_for(|read| *read).await;
    }

    fn hear(&self, event: watcher::Event<Lease>) {
        let now = since_boot();
        match event {
            watcher::Event::Init => {}
            watcher::Event::InitDone => {
                self.read.send_replace(true);
            }
            watcher::Event::InitApply(lease) | watcher::Event::Apply(lease) => {
                self.processes().saw(lease.name_any().into(), judging::read(&lease), now);
            }
            watcher::Event::Delete(lease) => {
                self.processes().saw_vanish(&lease.name_any(), &judging::read(&lease), now);
            }
        }
    }

    /// The keys that need not wait any more, as far as is known without asking.
    fn take_woken(&self) -> Vec<KeyRef> {
        let (processes, now) = (self.processes(), since_boot());
        self.waiting().extract_if(|_, wait| wait.is_over(&processes, now)).map(|(key, _)| key).collect()
    }

    /// Deletes Leases that are released, or of processes that cannot answer any more.
    async fn tidy(&self) {
        if self.processes().expendable(since_boot()).is_empty() {
            return;
        }
        let as_of = match self.list().await {
            Ok(as_of) => as_of,
            Err(error) => {
                warn!(error = chain(&error), "Leases that nobody holds are not deleted; it is tried again");
                return;
            }
        };
        let expendable = self.processes().expendable(as_of);
        for lease in expendable {
            match self.delete(&lease).await {
                Ok(()) => {
                    info!(lease = %lease.name, "the Lease of a process that judges no more is deleted");
                    self.processes().deleted(&lease);
                }
                Err(error) => {
                    warn!(lease = %lease.name, error = chain(&error), "a Lease that nobody holds is not deleted");
                }
            }
        }
    }

    async fn delete(&self, lease: &Expendable) -> Result<(), kube::Error> {
        let preconditions = Preconditions { uid: Some(lease.uid.to_string()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.leases.delete(&lease.name, &params).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
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
        let mut tidy = interval(TIDY);
        tidy.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    None => return,
                    Some(Ok(event)) => followed.hear(event),
                    Some(Err(error)) => warn!(error = chain(&error), "watching Leases failed; it is tried again"),
                },
                _ = tidy.tick() => followed.tidy().await,
            }
            for key in followed.take_woken() {
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
    use crate::resources::names::APPLIED_ANNOTATION;

    fn leases(applied: &str) -> Vec<u8> {
        let lease = json!({
            "metadata": {"name": "verifier", "uid": "u1", "resourceVersion": applied, "annotations": {APPLIED_ANNOTATION: applied}},
            "spec": {"holderIdentity": "verifier"},
        });
        let list = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {"resourceVersion": "9"}, "items": [lease]});
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
        assert_eq!(asking.waiting().keys().collect::<Vec<_>>(), [&key]);
        *applied.lock().unwrap() = "7";
        assert!(asking.have_applied(7, key).await.unwrap());
        assert!(asking.waiting().is_empty(), "nothing is left to wait for");
    }
}
