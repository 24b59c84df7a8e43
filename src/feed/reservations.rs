//! Has quotas and credits handed out to this process, and gives back what nobody spends: the only writer of ledgers in
//! a process, up to 200 times a second.
//!
//! ```text
//!  requests that wait ──► flights: one per ledger ─┐
//!  schedule: first chunks of periods to come ──────┼──► pace ──► write: read, decide, write ──► purse
//!  idle and homeless chunks ──► returning ─────────┘
//! ```
//!
//! A process that is killed loses what it holds: it was handed out and is spent by nobody. One that is told to go
//! gives it back.

mod flights;
mod pace;
mod schedule;
mod write;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use smallvec::SmallVec;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::clock::{self, since_boot};
use crate::core::budget::Period;
use crate::core::budget::calendar::CalendarPeriod;
use crate::core::instant::AtomicInstant;
use crate::entropy;
use crate::metrics::Metrics;
use crate::metrics::reservations::{Purpose, Reservation};
use crate::telemetry::chain;
use crate::verify::index::Index;
use crate::verify::spender::{Shortage, Spender, Supplier};

use flights::{Flights, Landing};
use pace::{Pace, Patient};
use schedule::Schedule;
use write::{Chunks, Error, Outcome, Returning};

/// How long a request waits at most.
const PATIENCE: Duration = Duration::from_millis(250);

/// The longest pause after a conflict, of which a random part is waited.
const CONFLICT_PAUSE: Duration = Duration::from_millis(20);

/// What nobody has spent from for so long is given back.
const IDLE: SignedDuration = SignedDuration::from_mins(10);

/// How often idle chunks are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// How often it is looked whether something is due.
const POLL: Duration = Duration::from_millis(200);

/// When a period's first chunk is tried again that nobody seemed to need, or that could not be had.
const AGAIN: SignedDuration = SignedDuration::from_mins(2);

/// Reservations at the same time for requests that wait. A server that can't keep up is asked for no more than it answers
/// in time: it works on what is given up, too, and all of it would be given up.
const AT_ONCE: usize = 16;

/// Writes at the same time for which nobody waits.
const WORKERS: usize = 4;

/// How long giving back may take once the process is told to go, and how much of it at the same time; the pace does
/// not hold any more, for what is not given back is lost.
const GOODBYE: Duration = Duration::from_secs(10);
const GOODBYE_PARALLEL: usize = 16;

/// Attempts to give something back.
const ATTEMPTS: usize = 10;

/// At most so often it is told that ledgers can't be written.
const TELL: Duration = Duration::from_secs(10);

/// The reservations of a process.
#[derive(Clone)]
pub(super) struct Reservations(Arc<Inner>);

struct Inner {
    client: Client,
    index: Arc<Index>,
    metrics: Arc<Metrics>,
    flights: Flights,
    /// To be held while something is reserved for requests that wait.
    places: Semaphore,
    pace: Mutex<Pace>,
    schedule: Mutex<Schedule>,
    /// Who holds chunks, by uid.
    holders: Mutex<HashMap<Arc<str>, Spender>>,
    returning: Mutex<VecDeque<Returning>>,
    /// Everything that writes.
    tasks: TaskTracker,
    told: AtomicInstant,
}

impl Supplier for Reservations {
    fn supply(&self, shortage: Shortage) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let wait = |spender| self.board(spender, shortage.credits);
            let boarded: SmallVec<[_; 2]> = shortage.spenders.into_iter().map(wait).collect();
            let mut supplied = true;
            for seat in boarded {
                supplied &= seat.landed().await;
            }
            supplied
        })
    }
}

impl Reservations {
    pub(super) fn new(client: Client, index: Arc<Index>, metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Inner {
            client,
            index,
            metrics,
            flights: Flights::default(),
            places: Semaphore::new(AT_ONCE),
            pace: Mutex::default(),
            schedule: Mutex::default(),
            holders: Mutex::default(),
            returning: Mutex::default(),
            tasks: TaskTracker::new(),
            told: AtomicInstant::default(),
        }))
    }

    /// Joins the reservation that is under way, or begins one. It goes on when nobody waits any more: an answer that
    /// nobody takes would be lost.
    fn board(&self, spender: Spender, credits: u32) -> flights::Seat {
        let (seat, first) = self.0.flights.board(spender.uid(), credits);
        if let Some(landing) = first {
            let inner = Arc::clone(&self.0);
            self.0.metrics.reservations.set_waiting(inner.flights.len());
            self.0.tasks.spawn(async move {
                let supplied = inner.supply(&spender, credits, &landing).await;
                landing.land(supplied);
                inner.metrics.reservations.set_waiting(inner.flights.len());
            });
        }
        seat
    }

    /// Reserves ahead and gives back until `stop`, when no request waits any more, and then gives everything back.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        for _ in 0..WORKERS {
            let (inner, stop) = (Arc::clone(&self.0), stop.clone());
            self.0.tasks.spawn(async move { inner.work(&stop).await });
        }
        while stop.run_until_cancelled(sleep(SWEEP)).await.is_some() {
            self.0.sweep(clock::now().saturating_sub(IDLE).unwrap_or(Timestamp::MIN)).await;
        }
        self.0.tasks.close();
        let left = AtomicUsize::new(lock(&self.0.holders).len());
        // Whoever has told the process to go does not wait for ever.
        let _ = timeout(GOODBYE, self.0.say_goodbye(&left)).await;
        match left.into_inner() {
            0 => info!("quotas and credits that were not spent are given back"),
            lost => warn!(lost, "what some keys and owners hold of quotas and credits is not given back, and lost"),
        }
    }
}

impl Inner {
    /// Reserves for requests that wait, as long as any does.
    async fn supply(&self, spender: &Spender, credits: u32, landing: &Landing) -> bool {
        let Ok(Ok(_place)) = timeout(PATIENCE, self.places.acquire()).await else {
            self.metrics.reservations.attempt(Purpose::Request, Reservation::Busy);
            return false;
        };
        while landing.is_awaited() {
            let Some(wait) = lock(&self.pace).urgent(since_boot(), PATIENCE) else {
                self.metrics.reservations.attempt(Purpose::Request, Reservation::Busy);
                return false;
            };
            sleep(wait).await;
            let outcome = write::reserve(&self.client, spender, credits, || landing.waiting(), self.living()).await;
            match self.note(Purpose::Request, spender, outcome) {
                Some(Outcome::Done { homeless, periods }) => {
                    self.send_back(spender, homeless);
                    self.hold(spender, &periods);
                    return true;
                }
                Some(Outcome::Nothing) => return true,
                Some(Outcome::Conflict) => sleep(jitter()).await,
                Some(Outcome::Missing | Outcome::Lost | Outcome::GivenUp) | None => return false,
            }
        }
        false
    }

    /// Does what nobody waits for, one thing after the other.
    async fn work(&self, stop: &CancellationToken) {
        loop {
            let done = self.work_once(stop).await;
            let pause = if done { Duration::ZERO } else { POLL };
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Answers whether there was anything to do.
    async fn work_once(&self, stop: &CancellationToken) -> bool {
        let due = lock(&self.schedule).pop(clock::now());
        if let Some((uid, period)) = due {
            let again = match stop.run_until_cancelled(self.turn(Patient::Next)).await {
                Some(()) => self.reserve_next(&uid, period).await,
                None => return false,
            };
            again.into_iter().for_each(|at| lock(&self.schedule).plan_at(&uid, period, at));
            return true;
        }
        let returning = lock(&self.returning).pop_front();
        let Some(returning) = returning else { return false };
        if stop.run_until_cancelled(self.turn(Patient::GiveBack)).await.is_none() {
            // It is given back before the process goes.
            lock(&self.returning).push_back(returning);
            return false;
        }
        self.give_back(returning).await;
        true
    }

    async fn turn(&self, purpose: Patient) {
        loop {
            let turn = lock(&self.pace).patient(purpose, since_boot());
            match turn {
                Ok(()) => return,
                Err(left) => sleep(left).await,
            }
        }
    }

    /// Answers when to try again, if ever.
    async fn reserve_next(&self, uid: &Arc<str>, period: Period) -> Option<Timestamp> {
        let spender = lock(&self.holders).get(uid).cloned()?;
        let now = clock::now();
        let since = now.saturating_sub(IDLE).unwrap_or(now);
        let outcome = write::reserve_next(&self.client, &spender, since, self.living()).await;
        let again = now.saturating_add(AGAIN).unwrap_or(now);
        let following = CalendarPeriod::of(period, now).next();
        match self.note(Purpose::NextPeriod, &spender, outcome) {
            Some(Outcome::Done { homeless, .. }) => self.send_back(&spender, homeless),
            Some(Outcome::Missing | Outcome::Lost) => {}
            // It may be needed yet.
            _ if again < following.begin() => return Some(again),
            _ => {}
        }
        Some(following.late(now, fraction()))
    }

    async fn give_back(&self, mut returning: Returning) {
        for _ in 0..ATTEMPTS {
            let outcome = returning.write(&self.client).await;
            match self.note(Purpose::GiveBack, &returning.spender, outcome) {
                Some(Outcome::Conflict) => sleep(jitter()).await,
                None => sleep(jitter() * 10).await,
                Some(Outcome::Done { .. }) => return,
                Some(_) => break,
            }
        }
        self.metrics.reservations.lost(returning.amount());
    }

    /// Keeps in mind who has something to give back, and to reserve ahead of the periods after these.
    fn hold(&self, spender: &Spender, periods: &[CalendarPeriod]) {
        let uid: Arc<str> = spender.uid().into();
        lock(&self.holders).insert(Arc::clone(&uid), spender.clone());
        let now = clock::now();
        let mut schedule = lock(&self.schedule);
        periods.iter().for_each(|period| schedule.plan(&uid, *period, now, fraction()));
    }

    fn send_back(&self, spender: &Spender, chunks: Chunks) {
        if !chunks.is_empty() {
            lock(&self.returning).push_back(Returning::new(spender.clone(), chunks));
        }
    }

    /// Takes back what nobody has spent from since then.
    async fn sweep(&self, since: Timestamp) {
        let holders: Vec<_> = lock(&self.holders).values().cloned().collect();
        let now = clock::now();
        for spender in holders {
            let idle = spender.take_idle(since, now).into_iter().map(|(_, chunk)| chunk);
            self.send_back(&spender, idle.filter(|chunk| !chunk.is_forfeited(now)).collect());
            self.forget_if_empty(&spender);
            tokio::task::consume_budget().await;
        }
    }

    fn forget_if_empty(&self, spender: &Spender) {
        let mut holders = lock(&self.holders);
        // Looked at under the lock: whoever puts something in comes here afterwards.
        if !spender.holds_something() {
            holders.remove(spender.uid());
        }
    }

    /// Gives everything back; `left` is how many keys and owners wait for it.
    async fn say_goodbye(&self, left: &AtomicUsize) {
        self.tasks.wait().await;
        self.sweep(Timestamp::MAX).await;
        let returning = std::mem::take(&mut *lock(&self.returning));
        left.store(returning.len(), Ordering::Relaxed);
        let give_back = async |returning| {
            self.give_back(returning).await;
            left.fetch_sub(1, Ordering::Relaxed);
        };
        stream::iter(returning).for_each_concurrent(GOODBYE_PARALLEL, give_back).await;
    }

    /// Counts an outcome, and tells of what went wrong now and then.
    fn note(&self, purpose: Purpose, spender: &Spender, outcome: Result<Outcome, Error>) -> Option<Outcome> {
        let (counted, outcome) = match outcome {
            Ok(outcome) => (outcome.counted(), Some(outcome)),
            Err(error) => {
                if let Error::Doubtful { units, .. } = &error {
                    self.metrics.reservations.lost(*units);
                }
                debug!(spender = spender.uid(), ?purpose, error = chain(&error), "a ledger is not written");
                let now = since_boot();
                if !self.told.is_after(now) {
                    self.told.store(Some(now + TELL));
                    warn!(spender = spender.uid(), error = chain(&error), "no quotas and credits can be reserved");
                }
                (Reservation::Failed, None)
            }
        };
        self.metrics.reservations.attempt(purpose, counted);
        outcome
    }

    fn living(&self) -> usize {
        self.index.processes().map_or(1, |processes| usize::try_from(processes.get()).unwrap_or(usize::MAX))
    }
}

impl Outcome {
    const fn counted(&self) -> Reservation {
        match self {
            Self::Done { .. } => Reservation::Written,
            Self::Nothing => Reservation::Nothing,
            Self::Conflict => Reservation::Conflict,
            Self::Missing => Reservation::Missing,
            Self::Lost => Reservation::Replaced,
            Self::GivenUp => Reservation::GivenUp,
        }
    }
}

fn jitter() -> Duration {
    CONFLICT_PAUSE.mul_f64(fraction())
}

fn fraction() -> f64 {
    entropy::fraction().unwrap_or(0.5)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
