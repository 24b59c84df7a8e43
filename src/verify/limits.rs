//! What has been charged to rate limits, in memory.

use std::cmp::Reverse;
use std::num::NonZeroU32;
use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use super::allowance::{Limit, Shadow};
use crate::core::ratelimit::{Cells, Rule, Standing};
use crate::core::route::RouteCharge;
use crate::core::verdict::LimitState;

/// Units that a request is charged by limits that apply to every request.
const COST: u32 = 1;

/// What a request demands of rate limits, and how large a part of each this process may give away.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    pub now: Timestamp,
    /// What the route charges to limits of these names.
    pub charges: &'a [RouteCharge],
    /// Processes among which every limit is shared.
    pub processes: NonZeroU32,
}

impl Demand<'_> {
    /// What the request is charged to that limit; `None`: it has nothing to do with it.
    pub(super) fn cost(&self, limit: &Limit) -> Option<u32> {
        let named = self.charges.iter().find(|charge| charge.limit == limit.name);
        named.map(|charge| charge.cost).or_else(|| limit.auto_apply.then_some(COST))
    }

    fn share(&self, limit: &Limit) -> Rule {
        limit.rule.shared_among(self.processes)
    }
}

impl Limit {
    /// Whether what was charged to `other` counts here: the limit itself may have been raised or lowered.
    fn continues(&self, other: &Self) -> bool {
        self.origin == other.origin && self.name == other.name && self.rule.shares_window_with(other.rule)
    }

    pub(super) fn state(&self, standing: Standing) -> LimitState {
        LimitState {
            name: Arc::clone(&self.name),
            limit: self.rule.limit(),
            remaining: standing.remaining,
            reset_after: standing.reset_after,
            window: self.rule.window_seconds(),
        }
    }
}

/// What has been charged to limits, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Charged(SmallVec<[Cells; 2]>);

impl Charged {
    /// Nothing charged.
    pub(super) fn new(limits: &[Limit]) -> Self {
        Self(SmallVec::from_elem(Cells::default(), limits.len()))
    }

    /// Follows a change of limits: what was charged to a limit of the same name and window still counts.
    pub(super) fn follow(&mut self, before: &[Limit], now: &[Limit]) {
        let cells_of = |limit: &Limit| {
            let known = before.iter().zip(&self.0);
            let mut continued = known.filter(|(other, _)| limit.continues(other));
            continued.next().map_or_else(Cells::default, |(_, cells)| *cells)
        };
        self.0 = now.iter().map(cells_of).collect();
    }

    /// Whether all of the limits have room. `Err`: seconds until they have, `None` if one never has.
    pub(super) fn check(&self, limits: &[Limit], shadow: Shadow, demand: &Demand<'_>) -> Result<(), Option<u32>> {
        let mut outcome = Ok(());
        for (at, (limit, cells)) in limits.iter().zip(&self.0).enumerate() {
            let Some(cost) = demand.cost(limit).filter(|_| !shadow.hides_limit(at)) else { continue };
            if let Err(refusal) = cells.charge(demand.share(limit), demand.now, cost) {
                outcome = longest(outcome, Err(refusal.retry_after));
            }
        }
        outcome
    }

    /// Charges the limits, which were found to have room.
    pub(super) fn charge(&mut self, limits: &[Limit], shadow: Shadow, demand: &Demand<'_>) {
        for (at, (limit, cells)) in limits.iter().zip(&mut self.0).enumerate() {
            let Some(cost) = demand.cost(limit).filter(|_| !shadow.hides_limit(at)) else { continue };
            *cells = cells.charge(demand.share(limit), demand.now, cost).unwrap_or(*cells);
        }
    }

    /// Of those that the request has to do with, the place of the one closest to exhaustion, and how it stands.
    pub(super) fn closest(&self, limits: &[Limit], shadow: Shadow, demand: &Demand<'_>) -> Option<(usize, Standing)> {
        let all = limits.iter().zip(&self.0).enumerate();
        let concerned = all.filter(|(at, (limit, _))| demand.cost(limit).is_some() && !shadow.hides_limit(*at));
        concerned
            .map(|(at, (limit, cells))| (at, cells.standing(demand.share(limit), demand.now)))
            .min_by_key(|(_, standing)| closeness(*standing))
    }
}

/// Of two refusals the one that lasts longer.
pub(super) fn longest(one: Result<(), Option<u32>>, other: Result<(), Option<u32>>) -> Result<(), Option<u32>> {
    match (one, other) {
        (Ok(()), other) => other,
        (one, Ok(())) => one,
        (Err(one), Err(other)) => Err(one.zip(other).map(|(one, other)| one.max(other))),
    }
}

/// The fewest units left come first; of equally few those that take longest to recover.
pub(super) const fn closeness(standing: Standing) -> (u32, Reverse<u32>) {
    (standing.remaining, Reverse(standing.reset_after))
}
