//! The Lease by which a judging process tells the controller how far it has come.
//!
//! ```text
//!  claim (applied empty) ──► list, watch, apply ──► write applied: within 250 ms of a move, else every 10 s
//!                                                          │ gone, or changed by somebody else
//!                                                          ▼
//!                                   stop answering, release (holderIdentity ""), claim another
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
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::backoff;
use super::permit::Held;
use crate::clock::{now, since_boot};
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
    /// How often the Lease is written while there is nothing new to say.
    pub(super) quiet: Duration,
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

/// Claims a new Lease, trying for ever. Nothing is said to be applied yet.
pub(super) async fn claim(leases: &Api<Lease>, holder: &Holder) -> Claim {
    let mut failures = 0;
    let mut wanted = None;
    loop {
        match Claim::make(leases, holder, &mut wanted).await {
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
pub(super) struct Claim {
    leases: Api<Lease>,
    quiet: Duration,
    /// Time since boot at which the claim was begun.
    pub(super) begun: Duration,
    confirmed: Lease,
    /// Writes that failed, as far as is known. They may yet take place, and are no conflict then.
    doubtful: Vec<Lease>,
}

impl Claim {
    /// `wanted` is what an earlier attempt has sent, of which it is not known whether it took place.
    async fn make(
        leases: &Api<Lease>,
        holder: &Holder,
        wanted: &mut Option<(Duration, Lease)>,
    ) -> Result<Self, LeaseError> {
        let begun = since_boot();
        let (first_begun, lease) = if let Some(wanted) = wanted.take() {
            wanted
        } else {
            let nonce = entropy::nonce(5).map_err(LeaseError::Name)?;
            (begun, content::claimed(&holder.process, &nonce, holder.duration, now()))
        };
        // Until it is clear that it was not sent in vain.
        *wanted = Some((first_begun, lease.clone()));
        let claim = |begun, confirmed| Self {
            leases: leases.clone(),
            quiet: holder.quiet,
            begun,
            confirmed,
            doubtful: Vec::new(),
        };
        let created =
            timeout(WRITE_TIMEOUT, leases.create(&parameters(), &lease)).await.map_err(|_| LeaseError::Timeout)?;
        match created {
            Ok(created) => Ok(claim(begun, created)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = timeout(WRITE_TIMEOUT, leases.get(&lease.name_any())).await;
                let found = found.map_err(|_| LeaseError::Timeout)?.map_err(LeaseError::ReadBack)?;
                let ours = content::says_the_same(&found, &lease).then(|| claim(first_begun, found));
                // Somebody else's by a name that was drawn at random: another one is.
                *wanted = None;
                ours.ok_or(LeaseError::Lost)
            }
            Err(error) => Err(LeaseError::Claim(error)),
        }
    }

    pub(super) fn name(&self) -> String {
        self.confirmed.name_any()
    }

    /// Says how far this process has come, and tells `held` of each write that took place. Returns when the Lease
    /// is lost.
    pub(super) async fn renew_while_held(&mut self, held: &Held) {
        let mut applied = held.progress();
        let mut last_write = Instant::now();
        let mut said = None;
        loop {
            let version = *applied.borrow_and_update();
            match pace::decide(last_write.elapsed(), version != said, self.quiet) {
                Step::Write => {
                    last_write = Instant::now();
                    let begun = since_boot();
                    match self.write(version).await {
                        Ok(()) => {
                            said = version;
                            held.written(begun);
                        }
                        Err(LeaseError::Lost) => return,
                        Err(error) => warn!(error = chain(&error), "the Lease is not renewed; trying again"),
                    }
                }
                Step::Wait(pause) => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        // The sender lives as long as `held`.
                        _ = applied.changed() => {}
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
                self.confirm(written);
                return Ok(());
            }
            Err(error) => error,
        };
        self.doubtful.push(wanted.clone());
        let found = timeout(WRITE_TIMEOUT, self.leases.get_opt(&self.name())).await.map_err(|_| LeaseError::Timeout)?;
        let Some(found) = found.map_err(LeaseError::ReadBack)? else {
            return Err(LeaseError::Lost);
        };
        let seen = Seen { found: &found, wanted: &wanted, confirmed: &self.confirmed, doubtful: &self.doubtful };
        match content::read_back(seen) {
            ReadBack::Written => {
                self.confirm(found);
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

    /// What this replaced cannot be written any more.
    fn confirm(&mut self, written: Lease) {
        self.confirmed = written;
        self.doubtful.clear();
    }

    async fn replace(&self, wanted: &Lease) -> Result<Lease, LeaseError> {
        let (name, parameters) = (wanted.name_any(), parameters());
        let write = self.leases.replace(&name, &parameters, wanted);
        timeout(WRITE_TIMEOUT, write).await.map_err(|_| LeaseError::Timeout)?.map_err(LeaseError::Write)
    }

    /// Tells the controller that this process answers no more: only to be called when that is so.
    pub(super) async fn release(mut self) {
        let goodbye = async {
            // Once more after a conflict: the interrupted write may have taken place.
            let first = self.replace(&content::released(&self.confirmed, now())).await;
            let Err(LeaseError::Write(_)) = first else {
                return first;
            };
            let found = self.leases.get(&self.name()).await.map_err(LeaseError::ReadBack)?;
            if found.metadata.uid != self.confirmed.metadata.uid {
                return Err(LeaseError::Lost);
            }
            self.confirmed = found;
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
