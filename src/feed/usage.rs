//! Writes what keys were used for into their ApiKeyUsages: at a bounded rate, what has waited longest first.
//!
//! Nothing of this is in the way of a request. What cannot be written waits in the counters of its key, so that
//! memory is bounded by the number of keys. A process that is killed loses what it has not written; one that is
//! told to go writes it first.

mod pace;
mod write;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use kube::Client;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::backoff;
use crate::clock::since_boot;
use crate::entropy;
use crate::metrics::{Metrics, UsageWrite};
use crate::telemetry::chain;
use crate::verify::index::Index;

use pace::Step;
use write::{Outcome, Pending};

/// How often keys that were used are looked for.
const POLL: Duration = Duration::from_millis(500);

/// How long writing may take once the process is told to go.
const GOODBYE: Duration = Duration::from_secs(10);

/// Writes at the same time then; the rate does not hold any more, for what is not written is lost.
const GOODBYE_PARALLEL: usize = 8;

/// Attempts that each key has then.
const GOODBYE_ATTEMPTS: usize = 10;

/// The longest pause after a conflict, of which a random part is waited: whoever caused it has the same to write again.
const CONFLICT_PAUSE: Duration = Duration::from_millis(50);

/// What is written, and how.
pub(super) struct Options {
    pub(super) client: Client,
    pub(super) index: Arc<Index>,
    pub(super) metrics: Arc<Metrics>,
    /// For how long a key's usage is collected before it is written.
    pub(super) interval: Duration,
}

/// The one writer of a process.
pub(super) struct Writer {
    options: Options,
    /// By when they are due.
    pending: VecDeque<Pending>,
    /// Time since boot before which nothing is written.
    allowed: Duration,
    /// Failures in a row.
    failures: u32,
}

impl Writer {
    pub(super) fn new(options: Options) -> Self {
        Self { options, pending: VecDeque::new(), allowed: Duration::ZERO, failures: 0 }
    }

    /// Writes until `stop`, when nothing is counted any more, and then what is left.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        while stop.run_until_cancelled(self.step()).await.is_some() {}
        self.say_goodbye().await;
    }

    async fn step(&mut self) {
        self.look_for_used();
        let due = self.pending.front().map(|first| first.due);
        match pace::decide(due, self.allowed, since_boot(), POLL) {
            Step::Wait(pause) => sleep(pause).await,
            Step::Write => self.write_first().await,
        }
    }

    fn look_for_used(&mut self) {
        let used = self.options.index.used().take();
        let pending = used.into_iter().map(|key| {
            let due = key.since + self.options.interval;
            Pending::new(key, due)
        });
        self.pending.extend(pending);
        let oldest = self.pending.iter().map(|pending| pending.key.since).min();
        let age = oldest.map_or(Duration::ZERO, |since| since_boot().saturating_sub(since));
        self.options.metrics.set_usage_backlog(self.pending.len(), age);
    }

    /// The first stays in its place until the outcome is known: this may be dropped at any time.
    async fn write_first(&mut self) {
        let Some(first) = self.pending.front_mut() else { return };
        self.allowed = since_boot() + pace::gap(self.options.index.processes());
        let outcome = first.write(&self.options.client).await;
        match outcome {
            Ok(outcome) => {
                self.failures = 0;
                self.settle(outcome);
            }
            Err(error) if error.is_about_the_object() => {
                self.options.metrics.usage_write(UsageWrite::Failed);
                let uid = self.pending.front().map(|first| first.key.uid());
                warn!(key = uid, error = chain(&error), "the usage of a key is not written; trying again");
                self.put_off();
            }
            Err(error) => {
                self.options.metrics.usage_write(UsageWrite::Failed);
                self.failures += 1;
                let pause = backoff::pause(self.failures, entropy::fraction().unwrap_or(1.0));
                self.allowed = self.allowed.max(since_boot() + pause);
                warn!(error = chain(&error), ?pause, "the usage of keys is not written; trying again");
            }
        }
    }

    fn settle(&mut self, outcome: Outcome) {
        count(&self.options.metrics, outcome);
        match outcome {
            Outcome::Written | Outcome::GivenUp => {
                let Some(Pending { mut key, .. }) = self.pending.pop_front() else { return };
                if key.settle() {
                    key.since = since_boot();
                    let due = key.since + self.options.interval;
                    self.pending.push_back(Pending::new(key, due));
                }
            }
            Outcome::Conflict => self.allowed += jitter(),
            // It comes with the next look of the controller, or the key is gone.
            Outcome::Missing => self.put_off(),
        }
    }

    /// Tries the first again when all others have had their turn, unless its key is gone.
    fn put_off(&mut self) {
        let Some(mut first) = self.pending.pop_front() else { return };
        if !self.options.index.knows(first.key.uid()) {
            debug!(key = first.key.uid(), "the usage of a key that is gone is forgotten");
            return;
        }
        first.due = since_boot() + self.options.interval;
        self.pending.push_back(first);
    }

    async fn say_goodbye(mut self) {
        self.look_for_used();
        let Self { options: Options { client, metrics, .. }, pending, .. } = self;
        let (waiting, mut written) = (pending.len(), 0);
        let all = stream::iter(pending).map(|pending| write_at_last(pending, client.clone(), Arc::clone(&metrics)));
        let all = all.buffer_unordered(GOODBYE_PARALLEL).for_each(|done| {
            written += usize::from(done);
            std::future::ready(())
        });
        // Whoever has told the process to go does not wait for ever.
        let _ = timeout(GOODBYE, all).await;
        match waiting - written {
            0 => info!(keys = written, "the usage of keys is written"),
            lost => warn!(keys = written, lost, "the usage of some keys is not written, and lost with this process"),
        }
    }
}

/// Answers whether nothing of it is lost.
async fn write_at_last(mut pending: Pending, client: Client, metrics: Arc<Metrics>) -> bool {
    let mut whole = true;
    for attempt in 1..=GOODBYE_ATTEMPTS {
        match pending.write(&client).await {
            Ok(outcome) => {
                count(&metrics, outcome);
                whole &= outcome != Outcome::GivenUp;
                match outcome {
                    // There may be more than what a lost answer was about.
                    Outcome::Written | Outcome::GivenUp if pending.key.settle() => {}
                    Outcome::Written | Outcome::GivenUp => return whole,
                    Outcome::Missing => return false,
                    Outcome::Conflict => sleep(jitter()).await,
                }
            }
            Err(error) => {
                metrics.usage_write(UsageWrite::Failed);
                debug!(key = pending.key.uid(), error = chain(&error), "the usage of a key is not written");
                let failures = u32::try_from(attempt).unwrap_or(u32::MAX);
                sleep(backoff::pause(failures, entropy::fraction().unwrap_or(1.0))).await;
            }
        }
    }
    false
}

fn count(metrics: &Metrics, outcome: Outcome) {
    metrics.usage_write(match outcome {
        Outcome::Written => UsageWrite::Written,
        Outcome::Conflict => UsageWrite::Conflict,
        Outcome::Missing => UsageWrite::Missing,
        Outcome::GivenUp => UsageWrite::GivenUp,
    });
}

fn jitter() -> Duration {
    CONFLICT_PAUSE.mul_f64(entropy::fraction().unwrap_or(1.0))
}
