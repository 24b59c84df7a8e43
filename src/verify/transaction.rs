//! What a request uses up, of a key's allowance and its owner's: all of it or nothing.
//!
//! Rate limits come first, then quotas, then credits; the first that refuses decides. A budget of which this
//! process holds too little may be refused or reserved: that has to be asked for before anything later is looked at.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::account::Account;
use super::allowance::{Allowance, Shadow};
use super::limits::{Demand, closeness, longest};
use super::purse::{Drawn, Standing, need};
use crate::core::check::Check;
use crate::core::ledger::Budget;
use crate::core::verdict::{Code, Denial, LimitState};

/// One of the accounts that a request is charged to.
pub(super) struct Part<'a> {
    pub(super) account: &'a mut Account,
    pub(super) allowance: &'a Arc<Allowance>,
    /// Uid of the ApiKeyUsage that holds what was reserved, once there is one.
    pub(super) usage: Option<&'a str>,
    pub(super) shadow: Shadow,
}

/// What a request demands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spending<'a> {
    pub(super) demand: Demand<'a>,
    /// Credits that the request spends.
    pub(super) credits: u32,
    /// Rate limits are kept elsewhere: they are neither looked at nor charged here.
    pub(super) limits_elsewhere: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Charged,
    Refused(Denial),
    /// Too little is held of some budget to say; nothing is charged.
    Short,
}

/// Charges all or nothing.
pub(super) fn charge(parts: &mut [Part<'_>], spending: &Spending<'_>) -> Outcome {
    follow(parts);
    let outcome = check(parts, spending);
    if outcome == Outcome::Charged {
        for part in parts {
            part.charge(spending);
        }
    }
    outcome
}

/// Whether a request would be refused, without charging anything.
fn check(parts: &mut [Part<'_>], spending: &Spending<'_>) -> Outcome {
    if !spending.limits_elsewhere
        && let Err(denial) = check_limits(parts, &spending.demand)
    {
        return Outcome::Refused(denial);
    }
    let (mut quotas, mut credits) = (Tally::default(), Tally::default());
    for part in parts {
        part.tally(spending, &mut quotas, &mut credits);
    }
    let now = spending.demand.now;
    match quotas.outcome(Code::QuotaExceeded, "a quota is used up", now) {
        // Credits that are used up decide only once it is known that no quota is.
        Outcome::Charged => credits.outcome(Code::CreditsExhausted, "the credits are used up", now),
        other => other,
    }
}

/// The refusal while it is not known how large this process's part of a limit is.
pub(super) fn unknown_share() -> Denial {
    let cause = "it is not known yet among how many processes limits are shared";
    Denial::new(Code::Unavailable, cause).by(Check::RateLimits)
}

/// The refusal for want of room in a rate limit.
pub(super) fn rate_limited(retry_after: Option<u32>) -> Denial {
    Denial { retry_after, ..Denial::new(Code::RateLimited, "a rate limit has no room for the request") }
}

/// Charges rate limits alone, if `commit`, or only says whether they have room.
pub(super) fn charge_limits(parts: &mut [Part<'_>], demand: &Demand<'_>, commit: bool) -> Result<(), Denial> {
    follow(parts);
    check_limits(parts, demand)?;
    if commit {
        for Part { account, allowance, shadow, .. } in parts {
            account.charged.charge(&allowance.limits, *shadow, demand);
        }
    }
    Ok(())
}

fn check_limits(parts: &[Part<'_>], demand: &Demand<'_>) -> Result<(), Denial> {
    let room = |part: &Part<'_>| part.account.charged.check(&part.allowance.limits, part.shadow, demand);
    parts.iter().map(room).fold(Ok(()), longest).map_err(rate_limited)
}

/// What quotas and credits were charged by the parts, in their order: what [`charge`] has just done, as long as the same lock is held.
pub(super) fn drawn(parts: &[Part<'_>], credits: u32) -> SmallVec<[(usize, Drawn); 2]> {
    let of_part = |(place, part): (usize, &Part<'_>)| -> SmallVec<[(usize, Drawn); 2]> {
        let Some(purse) = &part.account.purse else { return SmallVec::new() };
        let needs = needs(part.allowance, part.shadow, credits);
        needs.filter_map(|(at, need)| Some((place, purse.drawn(at, need)?))).collect()
    };
    parts.iter().enumerate().flat_map(of_part).collect()
}

/// Gives back what was charged to quotas and credits.
pub(super) fn refund(parts: &mut [Part<'_>], drawn: &[(usize, Drawn)]) {
    for (place, drawn) in drawn {
        if let Some(purse) = parts.get_mut(*place).and_then(|part| part.account.purse.as_deref_mut()) {
            purse.refund(drawn);
        }
    }
}

/// Of the limits that the request has to do with, the one closest to exhaustion.
pub(super) fn closest(parts: &mut [Part<'_>], demand: &Demand<'_>) -> Option<LimitState> {
    follow(parts);
    let found = parts.iter().filter_map(|part| {
        let (at, standing) = part.account.charged.closest(&part.allowance.limits, part.shadow, demand)?;
        Some((part.allowance.limits.get(at)?, standing))
    });
    let (limit, standing) = found.min_by_key(|(_, standing)| closeness(*standing))?;
    Some(limit.state(standing))
}

fn follow(parts: &mut [Part<'_>]) {
    for part in parts {
        part.account.follow(part.allowance, part.usage);
    }
}

impl Part<'_> {
    fn tally(&mut self, spending: &Spending<'_>, quotas: &mut Tally, credits: &mut Tally) {
        let Some(purse) = &mut self.account.purse else { return };
        for (at, need) in needs(self.allowance, self.shadow, spending.credits) {
            let (tally, name) = match self.allowance.budgets.get(at) {
                Some(Budget::Quota { quota, .. }) => (&mut *quotas, Some(&quota.name)),
                _ => (&mut *credits, None),
            };
            tally.add(name, purse.standing(at, need, spending.demand.now));
        }
    }

    fn charge(&mut self, spending: &Spending<'_>) {
        if !spending.limits_elsewhere {
            self.account.charged.charge(&self.allowance.limits, self.shadow, &spending.demand);
        }
        if let Some(purse) = &mut self.account.purse {
            let needs = needs(self.allowance, self.shadow, spending.credits);
            needs.for_each(|(at, need)| purse.spend(at, need, spending.demand.now));
        }
    }
}

/// What a request needs of each budget that counts for it, by place.
fn needs(allowance: &Allowance, shadow: Shadow, credits: u32) -> impl Iterator<Item = (usize, u64)> {
    let counting = allowance.budgets.iter().enumerate().filter(move |(at, _)| !shadow.hides_budget(*at));
    counting.map(move |(at, budget)| (at, need(budget, credits)))
}

/// There is no more until then; `None`: for ever.
#[derive(Clone, Copy, Debug)]
struct Exhausted(Option<Timestamp>);

/// How several budgets stand together.
#[derive(Debug, Default)]
struct Tally {
    exhausted: Option<Exhausted>,
    /// The first quota that is.
    quota: Option<Arc<str>>,
    unknown: bool,
    short: bool,
}

impl Tally {
    fn add(&mut self, quota: Option<&Arc<str>>, standing: Standing) {
        match standing {
            Standing::Enough => {}
            Standing::Short(_) => self.short = true,
            Standing::Unknown => self.unknown = true,
            Standing::Exhausted(until) => {
                let Exhausted(longest) = self.exhausted.unwrap_or(Exhausted(until));
                self.quota = self.quota.take().or_else(|| quota.cloned());
                self.exhausted = Some(Exhausted(longest.zip(until).map(|(one, other)| one.max(other))));
            }
        }
    }

    fn outcome(&self, code: Code, cause: &'static str, now: Timestamp) -> Outcome {
        match self {
            Self { exhausted: Some(Exhausted(until)), .. } => {
                let retry_after = until.map(|until| seconds_until(until, now));
                Outcome::Refused(Denial { retry_after, quota: self.quota.clone(), ..Denial::new(code, cause) })
            }
            Self { unknown: true, .. } => {
                let cause = "what was spent of a quota or of the credits is not known";
                Outcome::Refused(Denial::new(Code::Unavailable, cause).by(code.check()))
            }
            Self { short: true, .. } => Outcome::Short,
            _ => Outcome::Charged,
        }
    }
}

/// Whole seconds, rounded up.
fn seconds_until(until: Timestamp, now: Timestamp) -> u32 {
    let left = until.as_millisecond().saturating_sub(now.as_millisecond()).max(0).cast_unsigned();
    u32::try_from(left.div_ceil(1_000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
