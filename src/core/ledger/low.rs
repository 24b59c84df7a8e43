//! Quotas and credits of which little is left to be handed out, and which of them people were told of.
//!
//! Little is a tenth of what there was. Where something was added since people were told, by a raised limit or a
//! refill, that is what there was then: otherwise a balance that is topped up now and then, whose sums only grow,
//! would seem low for ever.
//!
//! What is handed out is not spent yet. So what is said here may come true a chunk per process later.

use jiff::Timestamp;

use super::{Account, Budget, CreditsLine, Ledger, QuotaAccount, QuotaOf};
use crate::core::budget::calendar::CalendarPeriod;

/// Little is left when it is no more than this part of what there was.
const PART: u64 = 10;

/// What people were told of a line of a ledger, and how it stood then.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    pub account: Account,
    /// The limit of the quota, or the credits that were granted.
    pub limit: u64,
    pub reserved: u64,
    /// What refills had added.
    pub refilled: u64,
    /// That nothing is left; otherwise that it is little.
    pub exhausted: bool,
    /// When there is more by itself: the period's end, or the next refill.
    pub until: Option<Timestamp>,
}

/// A budget of which little or nothing is left, and of which people were not told yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Low {
    /// What will have been told.
    pub told: Told,
    pub left: u64,
    /// Of so many: the limit of a quota, or the credits that there were when some were added last.
    pub of: u64,
    /// To how many credits the next refill sets them.
    pub refill: Option<u64>,
}

/// The first budget to tell of.
#[must_use]
pub fn untold(ledger: &Ledger, budgets: &[Budget], told: &[Told], now: Timestamp) -> Option<Low> {
    budgets.iter().find_map(|budget| look(ledger, budget, told, now))
}

/// What is remembered once that was told. What is over is forgotten, so that there is one for each budget at most.
#[must_use]
pub fn remember(told: &[Told], low: &Low, budgets: &[Budget], now: Timestamp) -> Vec<Told> {
    let is_current = |told: &&Told| budgets.iter().any(|budget| account(budget, now) == told.account);
    let others = told.iter().filter(|other| other.account != low.told.account).filter(is_current);
    others.chain([&low.told]).cloned().collect()
}

/// Whether what was told is still so, as far as can be seen without the ledger: nothing has been added since.
#[must_use]
pub fn lasts(told: &Told, budgets: &[Budget], now: Timestamp) -> bool {
    let is_as_it_was = |budget: &Budget| account(budget, now) == told.account && limit(budget) <= told.limit;
    told.until.is_none_or(|until| now < until) && budgets.iter().any(is_as_it_was)
}

fn look(ledger: &Ledger, budget: &Budget, told: &[Told], now: Timestamp) -> Option<Low> {
    let (line, left, refill) = stand(ledger, budget, now)?;
    let before = told.iter().find(|told| told.account == line.account);
    let added = |before: &Told| line.sum() > before.sum();
    let of = match before {
        Some(before) if !added(before) => {
            // That it is little is known.
            let is_news = left == 0 && !before.exhausted;
            return is_news.then_some(Low { left, of: line.sum(), refill, told: line });
        }
        Some(before) => line.sum().saturating_sub(before.reserved),
        None => line.sum(),
    };
    let of = refill.map_or(of, |amount| of.min(amount));
    let is_low = of > 0 && left.saturating_mul(PART) <= of;
    // A quota is known by its limit.
    let of = if matches!(budget, Budget::Quota { .. }) { line.limit } else { of };
    is_low.then_some(Low { left, of, refill, told: line })
}

/// A line as it stands, how much of it is left, and to what the next refill sets it. `None`: the ledger has a later
/// epoch than the budget.
fn stand(ledger: &Ledger, budget: &Budget, now: Timestamp) -> Option<(Told, u64, Option<u64>)> {
    match budget {
        Budget::Quota { of, quota } => {
            let account = super::account(*of, quota, CalendarPeriod::of(quota.period, now));
            let (reserved, until) = (ledger.reserved(&account), Some(account.period.end()));
            let left = quota.limit.saturating_sub(reserved);
            let account = Account::Quota(account);
            let told = Told { account, limit: quota.limit, reserved, refilled: 0, exhausted: left == 0, until };
            Some((told, left, None))
        }
        Budget::Credits(credits) => {
            let line = ledger.credits_line(credits, now).ok()?;
            let CreditsLine { reserved, refilled, .. } = line;
            let left = line.left(credits);
            let until = credits.refill.map(|refill| refill.next(now));
            let account = Account::Credits { epoch: credits.epoch };
            let told = Told { account, limit: credits.granted, reserved, refilled, exhausted: left == 0, until };
            Some((told, left, credits.refill.map(|refill| refill.amount)))
        }
    }
}

/// The line in which is counted what is spent now.
fn account(budget: &Budget, now: Timestamp) -> Account {
    match budget {
        Budget::Quota { of, quota } => {
            Account::Quota(super::account(*of, quota, CalendarPeriod::of(quota.period, now)))
        }
        Budget::Credits(credits) => Account::Credits { epoch: credits.epoch },
    }
}

fn limit(budget: &Budget) -> u64 {
    match budget {
        Budget::Quota { quota, .. } => quota.limit,
        Budget::Credits(credits) => credits.granted,
    }
}

impl Told {
    /// All that was ever there to be handed out.
    fn sum(&self) -> u64 {
        self.limit.saturating_add(self.refilled)
    }
}

impl Low {
    /// CamelCase, stable.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match (&self.told.account, self.left) {
            (Account::Quota(_), 0) => "QuotaExhausted",
            (Account::Quota(_), _) => "QuotaNearlyExhausted",
            (Account::Credits { .. }, 0) => "CreditsExhausted",
            (Account::Credits { .. }, _) => "CreditsLow",
        }
    }

    /// What is left until when, what becomes of requests then, and which field to raise.
    #[must_use]
    pub fn sentence(&self) -> String {
        match &self.told.account {
            Account::Quota(account) => self.of_quota(account),
            Account::Credits { .. } => self.of_credits(),
        }
    }

    fn of_quota(&self, QuotaAccount { of: whose, name, period }: &QuotaAccount) -> String {
        let (Self { left, of, .. }, until) = (self, period.end());
        let (field, remedy) = match whose {
            QuotaOf::Own => ("spec.quotas", "raise its limit"),
            QuotaOf::Tier => ("spec.quotas of the ApiKeyTier", "raise its limit there, or choose another tier"),
        };
        if *left == 0 {
            return format!(
                "{field}: all {of} requests of {name:?} are handed out, so others are refused with QUOTA_EXCEEDED until {until}; for more, {remedy}"
            );
        }
        format!("{field}: {left} of {of} requests of {name:?} are left until {until}; for more, {remedy}")
    }

    fn of_credits(&self) -> String {
        let Self { told, left, of, refill } = self;
        let refill = told.until.zip(*refill);
        let refill = refill.map(|(until, amount)| format!(" until they are refilled to {amount} at {until}"));
        let refill = refill.unwrap_or_default();
        if *left == 0 {
            return format!(
                "spec.credits: all are handed out, so requests that cost any are refused with CREDITS_EXHAUSTED{refill}; for more, raise granted"
            );
        }
        format!("spec.credits: {left} of {of} are left{refill}; for more, raise granted")
    }
}

#[cfg(test)]
mod tests;
