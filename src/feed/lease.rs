//! The Lease by which a judging process tells the controller how far it has come.
//!
//! ```text
//!  claim (applied empty) ──► list, watch, apply ──► write applied: within 250 ms of a move, else every 10 s
//!                                                          │ gone, or changed by somebody else: claim another
//!                                                          └─ stopped: release (holderIdentity "")
//! ```
//!
//! The Lease belongs to no Pod: it must outlive a process that vanished, for until it has lain unchanged for its
//! whole duration the controller cannot know that the process no longer answers.

mod content;
mod pace;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::backoff;
use crate::clock::now;
use crate::entropy::{self, EntropyError};
use crate::resources::names::VERIFIER_MANAGER;
use crate::telemetry::chain;

use content::{ReadBack, Seen};
use pace::Step;

/// How long one write, or one look at what became of it, may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the goodbye may take; without it the controller waits for the Lease to lapse.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// What a process claims its Leases with.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    /// Pod or host; Leases are named after it.
    pub(super) process: String,
    /// `leaseDurationSeconds`: unchanged for longer, the process is known not to answer any more.
    pub(super) duration: Duration,
}

/// A Lease could not be claimed or written.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("naming a Lease")]
    Name(#[source] EntropyError),
    #[error("claiming a Lease")]
    Claim(#[source] kube::Error),
    #[error("writing the Lease")]
    Write(#[source] kube::Error),
    #[error("reading the Lease back")]
    ReadBack(#[source] kube::Error),
    #[error("the API server took longer than {} s to answer", WRITE_TIMEOUT.as_secs())]
    Timeout,
    #[error("the Lease is gone, or somebody else has changed it")]
    Lost,
}

/// Holds a Lease from now until `stop`, then releases it. `applied` is the highest ApiKey resourceVersion that
/// this process has applied; `held` hears whether there is a Lease, at the latest before the first `applied`.
pub(super) async fn keep(
    leases: Api<Lease>,
    holder: Holder,
    mut applied: watch::Receiver<Option<u64>>,
    held: watch::Sender<bool>,
    stop: CancellationToken,
) {
    loop {
        let Some(mut claim) = stop.run_until_cancelled(claim(&leases, &holder)).await else {
            return;
        };
        held.send_replace(true);
        info!(lease = claim.name(), "the Lease is held");
        let lost = stop.run_until_cancelled(claim.renew_while_held(&mut applied)).await.is_some();
        held.send_replace(false);
        if !lost {
            claim.release().await;
            return;
        }
        warn!(lease = claim.name(), "the Lease is lost; claiming another");
    }
}

/// Claims a new Lease, trying for ever. Nothing is said to be applied yet.
async fn claim(leases: &Api<Lease>, holder: &Holder) -> Claim {
    let mut failures = 0;
    loop {
        match Claim::make(leases, holder).await {
            Ok(claim) => return claim,
            Err(error) => {
                failures += 1;
                let pause = backoff::pause(failures, entropy::fraction().unwrap_or(1.0));
                warn!(error = chain(&error), ?pause, "there is no Lease yet; trying again");
                sleep(pause).await;
            }
        }
    }
}

/// A Lease as the API server last confirmed it.
struct Claim {
    leases: Api<Lease>,
    confirmed: Lease,
}

impl Claim {
    async fn make(leases: &Api<Lease>, holder: &Holder) -> Result<Self, LeaseError> {
        let nonce = entropy::nonce(5).map_err(LeaseError::Name)?;
        let lease = content::claimed(&holder.process, &nonce, holder.duration, now());
        let created =
            timeout(WRITE_TIMEOUT, leases.create(&parameters(), &lease)).await.map_err(|_| LeaseError::Timeout)?;
        Ok(Self { leases: leases.clone(), confirmed: created.map_err(LeaseError::Claim)? })
    }

    fn name(&self) -> String {
        self.confirmed.name_any()
    }

    /// Returns when the Lease is lost.
    async fn renew_while_held(&mut self, applied: &mut watch::Receiver<Option<u64>>) {
        let mut last_write = Instant::now();
        let mut said = None;
        loop {
            let version = *applied.borrow_and_update();
            match pace::decide(last_write.elapsed(), version != said) {
                Step::Write => {
                    last_write = Instant::now();
                    match self.write(version).await {
                        Ok(()) => said = version,
                        Err(LeaseError::Lost) => return,
                        Err(error) => warn!(error = chain(&error), "the Lease is not renewed; trying again"),
                    }
                }
                Step::Wait(pause) => {
                    // A sender that is gone says nothing new; the Lease is renewed all the same.
                    let moved = async {
                        if applied.changed().await.is_err() {
                            std::future::pending::<()>().await;
                        }
                    };
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = moved => {}
                    }
                }
            }
        }
    }

    /// Writes how far this process has come. A write whose answer is lost or refused is read back: it may well
    /// have taken place.
    async fn write(&mut self, applied: Option<u64>) -> Result<(), LeaseError> {
        let wanted = content::renewed(&self.confirmed, applied, now());
        let error = match self.replace(&wanted).await {
            Ok(written) => {
                debug!(?applied, "the Lease is renewed");
                self.confirmed = written;
                return Ok(());
            }
            Err(error) => error,
        };
        let found = timeout(WRITE_TIMEOUT, self.leases.get_opt(&self.name())).await.map_err(|_| LeaseError::Timeout)?;
        let Some(found) = found.map_err(LeaseError::ReadBack)? else {
            return Err(LeaseError::Lost);
        };
        match content::read_back(Seen { found: &found, wanted: &wanted, confirmed: &self.confirmed }) {
            ReadBack::Written => {
                self.confirmed = found;
                Ok(())
            }
            // Carries the resourceVersion that the next write needs.
            ReadBack::Unwritten => {
                self.confirmed = found;
                Err(error)
            }
            ReadBack::Lost => Err(LeaseError::Lost),
        }
    }

    async fn replace(&self, wanted: &Lease) -> Result<Lease, LeaseError> {
        let (name, parameters) = (wanted.name_any(), parameters());
        let write = self.leases.replace(&name, &parameters, wanted);
        timeout(WRITE_TIMEOUT, write).await.map_err(|_| LeaseError::Timeout)?.map_err(LeaseError::Write)
    }

    /// Tells the controller that this process answers no more.
    async fn release(mut self) {
        let goodbye = async {
            // Once more after a conflict: the interrupted write may have taken place.
            let first = self.replace(&content::released(&self.confirmed, now())).await;
            let Err(LeaseError::Write(_)) = first else {
                return first;
            };
            self.confirmed = self.leases.get(&self.name()).await.map_err(LeaseError::ReadBack)?;
            self.replace(&content::released(&self.confirmed, now())).await
        };
        match timeout(RELEASE_TIMEOUT, goodbye).await {
            Ok(Ok(released)) => info!(lease = released.name_any(), "the Lease is released"),
            Ok(Err(error)) => warn!(error = chain(&error), "the Lease is not released; it lapses by itself"),
            Err(_) => warn!("releasing the Lease took too long; it lapses by itself"),
        }
    }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(VERIFIER_MANAGER.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests;
