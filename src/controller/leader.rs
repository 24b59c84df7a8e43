//! Which of several controllers works: `core::leadership` with a Lease of the operator's namespace.
//!
//! It keeps two controllers from doing the same work and telling people the same twice. That nothing is overwritten
//! does not rest on it: every write carries the version that it is based on.

use std::sync::Arc;
use std::time::Duration;

use jiff::{Timestamp, Unit};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::{Api, Client, ResourceExt as _};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::post_params;
use crate::clock::{now, since_boot};
use crate::core::instant::AtomicInstant;
use crate::core::leadership::{self, Candidate, Step};
use crate::resources::names::{LEADER_LEASE, MANAGED_BY, MANAGED_BY_LABEL};
use crate::telemetry::chain;

/// Until when this process leads, for those who work in its name.
#[derive(Clone, Debug, Default)]
pub(super) struct Term(Arc<AtomicInstant>);

impl Term {
    /// Whether it leads now. Asked before every step: a process that was paused must not go on.
    pub(super) fn holds(&self, now: Duration) -> bool {
        self.0.is_after(now)
    }

    fn set(&self, until: Option<Duration>) {
        self.0.store(until);
    }
}

/// The Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("reading Lease {LEADER_LEASE}")]
    Read(#[source] kube::Error),
    #[error("writing Lease {LEADER_LEASE}")]
    Write(#[source] kube::Error),
    #[error("the API server took longer than {} s to answer", .0.as_secs_f32())]
    Timeout(Duration),
}

/// A process that takes part.
pub(super) struct Election {
    leases: Api<Lease>,
    me: Arc<str>,
    duration: Duration,
    candidate: Candidate,
    /// As last seen, to be written over.
    found: Option<Lease>,
    term: Term,
}

impl Election {
    /// `me` is a name that no other process ever has.
    pub(super) fn new(client: &Client, operator_namespace: &str, me: &str, duration: Duration) -> Self {
        let me: Arc<str> = me.into();
        Self {
            leases: Api::namespaced(client.clone(), operator_namespace),
            candidate: Candidate::new(Arc::clone(&me), duration),
            me,
            duration,
            found: None,
            term: Term::default(),
        }
    }

    pub(super) fn term(&self) -> Term {
        self.term.clone()
    }

    /// Waits until this process leads. `stands_by` hears that another one does.
    pub(super) async fn win(&mut self, stands_by: impl Fn()) {
        let mut said = None;
        while self.candidate.leads_until().is_none() {
            self.step().await;
            if let Some(leader) = self.candidate.leader().filter(|leader| **leader != self.me) {
                stands_by();
                if said.as_ref() != Some(leader) {
                    info!(%leader, "another controller leads; this one stands by");
                    said = Some(Arc::clone(leader));
                }
            }
        }
        info!(process = &*self.me, "this controller leads");
    }

    /// Renews the Lease; returns when this process must not lead any more.
    pub(super) async fn keep(&mut self) {
        while self.candidate.leads_until().is_some() {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let step = self.candidate.step(since_boot());
        let outcome = match step {
            Step::Wait(pause) => {
                sleep(pause).await;
                Ok(())
            }
            Step::Resign => {
                self.candidate.resign();
                Ok(())
            }
            Step::Look => self.look().await,
            Step::Create | Step::Take | Step::Renew => self.write(step).await,
        };
        self.term.set(self.candidate.leads_until());
        if let Err(error) = outcome {
            warn!(error = chain(&error), "electing a leader failed; it is tried again");
            if self.candidate.leads_until().is_none() {
                sleep(self.patience()).await;
            }
        }
    }

    async fn look(&mut self) -> Result<(), LeaseError> {
        let found = self.within(self.leases.get_opt(LEADER_LEASE), LeaseError::Read).await?;
        self.candidate.saw(found.as_ref().map(read), since_boot());
        self.found = found;
        Ok(())
    }

    async fn write(&mut self, step: Step) -> Result<(), LeaseError> {
        let begun = since_boot();
        self.candidate.tries(begun);
        let wanted = held(self.found.clone(), &self.me, self.duration, now());
        let params = post_params();
        let written = if step == Step::Create {
            self.within(self.leases.create(&params, &wanted), LeaseError::Write).await
        } else {
            self.within(self.leases.replace(LEADER_LEASE, &params, &wanted), LeaseError::Write).await
        };
        match written {
            Ok(written) => {
                self.candidate.holds(read(&written), begun);
                self.found = Some(written);
                Ok(())
            }
            // It may have taken place, or somebody else was faster.
            Err(error) => {
                self.look().await?;
                match error {
                    LeaseError::Write(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    error => Err(error),
                }
            }
        }
    }

    /// Lets another controller lead at once.
    pub(super) async fn release(mut self) {
        self.term.set(None);
        let mut released = self.write_release().await;
        if matches!(&released, Err(LeaseError::Write(kube::Error::Api(status))) if status.code == 409) {
            // The renewal that was interrupted has taken place.
            released = match self.look().await {
                Ok(()) => self.write_release().await,
                Err(error) => Err(error),
            };
        }
        match released {
            Ok(true) => info!("another controller may lead"),
            Ok(false) => {}
            Err(error) => warn!(error = chain(&error), "the Lease is not released; it lapses by itself"),
        }
    }

    /// Whether there was something to be released.
    async fn write_release(&self) -> Result<bool, LeaseError> {
        let Some(found) = self.found.clone().filter(|_| self.candidate.leader() == Some(&self.me)) else {
            return Ok(false);
        };
        let (params, released) = (post_params(), released(found, now()));
        self.within(self.leases.replace(LEADER_LEASE, &params, &released), LeaseError::Write).await.map(|_| true)
    }

    /// How long an answer may take, and for how long nothing is tried after a failure.
    fn patience(&self) -> Duration {
        self.duration / 4
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<T, kube::Error>>,
        wrap: fn(kube::Error) -> LeaseError,
    ) -> Result<T, LeaseError> {
        let patience = self.patience();
        timeout(patience, call).await.map_err(|_| LeaseError::Timeout(patience))?.map_err(wrap)
    }
}

fn read(lease: &Lease) -> leadership::Lease {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).filter(|holder| !holder.is_empty());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    leadership::Lease {
        version: lease.resource_version().unwrap_or_default().into(),
        holder: holder.map(Into::into),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
    }
}

/// The Lease as `me` holds it. What is not Keyturn's stays.
fn held(found: Option<Lease>, me: &str, duration: Duration, now: Timestamp) -> Lease {
    let mut lease = found.unwrap_or_else(|| Lease {
        metadata: ObjectMeta { name: Some(LEADER_LEASE.to_owned()), ..ObjectMeta::default() },
        spec: None,
    });
    let labels = lease.metadata.labels.get_or_insert_default();
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    let now = micros(now);
    let spec = lease.spec.get_or_insert_default();
    if spec.holder_identity.as_deref() != Some(me) {
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |transitions| transitions.saturating_add(1)));
        spec.acquire_time = Some(now.clone());
    }
    *spec = LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)),
        renew_time: Some(now),
        ..std::mem::take(spec)
    };
    lease
}

fn released(mut lease: Lease, now: Timestamp) -> Lease {
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.renew_time = Some(micros(now));
    lease
}

/// The API server keeps microseconds.
fn micros(time: Timestamp) -> MicroTime {
    MicroTime(time.round((Unit::Microsecond, 1)).unwrap_or(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_lease_changes_hands_with_everything_else_of_it_kept() {
        let mut lease = held(None, "a", Duration::from_secs(15), at(0));
        lease.metadata.resource_version = Some("7".to_owned());
        lease.metadata.annotations.get_or_insert_default().insert("team".to_owned(), "a".to_owned());
        let taken = held(Some(released(lease, at(5))), "b", Duration::from_secs(30), at(10));
        let expected = serde_json::json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": "keyturn-controller", "resourceVersion": "7", "annotations": {"team": "a"},
                "labels": {"app.kubernetes.io/managed-by": "keyturn"},
            },
            "spec": {
                "holderIdentity": "b", "leaseDurationSeconds": 30, "leaseTransitions": 1,
                "acquireTime": "2023-11-14T22:13:30.000000Z", "renewTime": "2023-11-14T22:13:30.000000Z",
            },
        });
        assert_eq!(serde_json::to_value(&taken).unwrap(), expected);
        let renewed = held(Some(taken), "b", Duration::from_secs(30), at(11)).spec.unwrap();
        assert_eq!((renewed.acquire_time, renewed.renew_time), (Some(micros(at(10))), Some(micros(at(11)))));
    }

    #[test]
    fn a_term_ends_at_its_instant() {
        let (term, at) = (Term::default(), Duration::from_secs);
        assert!(!term.holds(at(0)));
        term.set(Some(at(10)));
        assert!(term.holds(at(9)) && !term.holds(at(10)));
        term.set(None);
        assert!(!term.holds(at(0)));
    }

    #[test]
    fn a_released_lease_is_nobodys() {
        let lease = released(held(None, "a", Duration::from_secs(15), at(0)), at(1));
        assert_eq!(read(&lease).holder, None);
    }
}
