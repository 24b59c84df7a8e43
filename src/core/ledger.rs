//! The durable truth about quotas and credits: how much of each was handed out to the processes that judge keys.
//!
//! ```text
//! left = limit − reserved                   of a quota, in one period
//! left = granted + refilled − reserved      of credits, in one epoch; never below 0
//! ```
//!
//! A process takes a [`Chunk`] out of what is left, and spends it from its memory. So what is spent is never more
//! than what was handed out, and that never more than there was, whatever becomes of the process. What it loses
//! with its memory is spent by nobody.
//!
//! Refills are written by whoever reserves next. They count from the making of the ledger on, each once: what was
//! due meanwhile, however often, is one refill.

pub mod budgets;
mod credits;
pub mod low;
mod quota;

use std::sync::Arc;

use jiff::Timestamp;

use super::budget::calendar::CalendarPeriod;
use super::budget::{Credits, Quota};

pub use credits::CreditsLine;
pub use quota::{MOST_LINES, QuotaLine};

/// What anything that adds up stays below: the schema's bound.
pub const MOST: u64 = 9_000_000_000_000_000;

/// Of what is left, a chunk is this part, divided among all living processes: 5 %.
const PARTS: u64 = 20;

/// A quota or credits, as the spec has them.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Budget {
    Quota { of: QuotaOf, quota: Quota },
    Credits(Credits),
}

/// Who has a quota: a key's own and one of its tier may have the same name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum QuotaOf {
    /// The key or owner that has the ledger.
    Own,
    /// The key's tier.
    Tier,
}

/// A line of a ledger.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Account {
    Quota(QuotaAccount),
    Credits { epoch: u64 },
}

/// One quota in one period.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct QuotaAccount {
    pub of: QuotaOf,
    pub name: Arc<str>,
    pub period: CalendarPeriod,
}

/// What was handed out to one process, to be spent once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chunk {
    pub account: Account,
    /// Requests of a quota, or credits.
    pub amount: u64,
    /// From when on it is spent; `None`: at once.
    pub begins: Option<Timestamp>,
    /// From when on it is not spent any more: the end of the period, or the next refill.
    pub lapses: Option<Timestamp>,
    /// uid of the object that holds the ledger.
    pub ledger: Arc<str>,
    /// What refills had added to the credits when it was taken.
    pub refilled: u64,
}

impl Chunk {
    /// The period whose quota it is of.
    #[must_use]
    pub fn period(&self) -> Option<CalendarPeriod> {
        match &self.account {
            Account::Quota(account) => Some(account.period),
            Account::Credits { .. } => None,
        }
    }

    /// Whether nobody would take it back at `now`, since its period is over. What becomes of credits only their
    /// ledger can tell.
    #[must_use]
    pub fn is_forfeited(&self, now: Timestamp) -> bool {
        self.period().is_some_and(|period| period.end() <= now)
    }

    /// Whether it may be spent at `now`.
    #[must_use]
    pub fn covers(&self, now: Timestamp) -> bool {
        self.begins.is_none_or(|begins| begins <= now) && self.lapses.is_none_or(|lapses| now < lapses)
    }
}

/// How much is asked for; from a number: that much for one request. Nobody asks for nothing: 0 counts as 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Need {
    /// Less than this would help nobody.
    pub least: u64,
    /// For all requests that wait.
    pub wanted: u64,
}

impl From<u64> for Need {
    fn from(need: u64) -> Self {
        Self { least: need, wanted: need }
    }
}

/// Why nothing is handed out.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Refusal {
    /// There is not enough left. There will be more at that instant at the latest; `None`: not by itself.
    Exhausted { until: Option<Timestamp> },
    /// The ledger is further than the one who asks: it has a later epoch, or two later periods. Or it has no room
    /// for another line.
    Behind,
}

/// All quotas and credits of a key or an owner.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ledger {
    /// uid of the object that holds it.
    pub uid: Arc<str>,
    /// When that was made.
    pub began: Timestamp,
    /// At most two periods of each quota, the newest, in the order in which they were begun.
    pub quotas: Vec<QuotaLine>,
    pub credits: Option<CreditsLine>,
}

impl Ledger {
    /// Hands out what is wanted, as a rule 5 % of what is left divided by the number of `living` processes, and never
    /// more than is left.
    ///
    /// # Errors
    /// There is less than that left, or it can't be told. Nothing has changed then.
    pub fn reserve(
        &mut self,
        budget: &Budget,
        need: impl Into<Need>,
        living: usize,
        now: Timestamp,
    ) -> Result<Chunk, Refusal> {
        let need = need.into();
        match budget {
            Budget::Quota { of, quota } => {
                let account = account(*of, quota, CalendarPeriod::of(quota.period, now));
                self.reserve_quota(account, quota.limit, need, living)
            }
            Budget::Credits(credits) => self.reserve_credits(credits, need, living, now),
        }
    }

    /// Hands out the first chunk of a quota's next period, in the last tenth of the one before. There is nothing to
    /// be had ahead of credits.
    pub fn reserve_next(&mut self, budget: &Budget, living: usize, now: Timestamp) -> Option<Chunk> {
        let Budget::Quota { of, quota } = budget else { return None };
        let period = CalendarPeriod::of(quota.period, now);
        if now < period.last_tenth() {
            return None;
        }
        self.reserve_quota(account(*of, quota, period.next()), quota.limit, Need::from(1), living).ok()
    }

    /// Takes the rest of a chunk back. Answers whether that has changed anything: what was lost with a period, an
    /// epoch, a refill or a ledger stays lost.
    #[must_use]
    pub fn give_back(&mut self, chunk: &Chunk, now: Timestamp) -> bool {
        if chunk.ledger != self.uid || chunk.amount == 0 {
            return false;
        }
        match &chunk.account {
            Account::Quota(account) => self.give_back_quota(account, chunk.amount, now),
            Account::Credits { epoch } => {
                let line = self.credits.as_mut().filter(|line| line.epoch == *epoch);
                line.is_some_and(|line| line.give_back(chunk))
            }
        }
    }
}

fn account(of: QuotaOf, quota: &Quota, period: CalendarPeriod) -> QuotaAccount {
    QuotaAccount { of, name: Arc::clone(&quota.name), period }
}

/// How much of `left` is handed out; `None`: there is less than the least that is needed.
fn share(left: u64, need: Need, living: usize) -> Option<u64> {
    let living = u64::try_from(living.max(1)).unwrap_or(u64::MAX);
    let usual = left.div_ceil(PARTS.saturating_mul(living));
    let least = need.least.max(1);
    (least <= left).then(|| least.max(need.wanted).max(usual).min(left))
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
