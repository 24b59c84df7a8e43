//! The rate limits of a key and what has been charged to them, in memory.
//!
//! All limits of a request are charged together or none is.

use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::core::policy::{RateLimit, Tier};
use crate::core::ratelimit::{Cells, Rule, Standing};
use crate::core::verdict::LimitState;

/// Whose limit it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Origin {
    Key,
    Tier,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Limit {
    origin: Origin,
    name: Arc<str>,
    rule: Rule,
}

impl Limit {
    /// Whether what was charged to `other` counts here: the limit itself may have been raised or lowered.
    fn continues(&self, other: &Self) -> bool {
        self.origin == other.origin && self.name == other.name && self.rule.shares_window_with(other.rule)
    }

    fn state(&self, standing: Standing) -> LimitState {
        LimitState {
            name: Arc::clone(&self.name),
            limit: self.rule.limit(),
            remaining: standing.remaining,
            reset_after: standing.reset_after,
            window: self.rule.window_seconds(),
        }
    }
}

/// The limits that every request of a key is charged to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Limits(Box<[Limit]>);

impl Limits {
    /// A key's limits and its tier's. In the API's own namespace a key's limit shadows the tier's of the same
    /// name; a key from elsewhere can't lift what the tier sets.
    #[must_use]
    pub fn new(own: &[RateLimit], tier: Option<&Tier>, in_own_namespace: bool) -> Self {
        let tier = tier.map_or(&[][..], |tier| &tier.rate_limits);
        let shadowed = |limit: &RateLimit| in_own_namespace && own.iter().any(|other| other.name == limit.name);
        let inherited = tier.iter().filter(|limit| !shadowed(limit)).map(|limit| (Origin::Tier, limit));
        let all = own.iter().map(|limit| (Origin::Key, limit)).chain(inherited);
        let charged = all.filter(|(_, limit)| limit.auto_apply).map(|(origin, limit)| Limit {
            origin,
            name: Arc::clone(&limit.name),
            rule: Rule::new(limit.limit, limit.window),
        });
        Self(charged.collect())
    }
}

/// What a key has been charged, by limit.
#[derive(Debug)]
pub(super) struct Charged {
    /// The limits that `cells` belong to, in the same order.
    limits: Arc<Limits>,
    cells: SmallVec<[Cells; 2]>,
}

/// The outcome of charging a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Charge {
    /// `Err`: nothing was charged. Seconds until all limits have room, `None` if one never has.
    pub outcome: Result<(), Option<u32>>,
    /// The limit closest to exhaustion afterwards; `None` without limits.
    pub closest: Option<LimitState>,
}

impl Charged {
    /// Nothing charged.
    pub(super) fn new(limits: Arc<Limits>) -> Self {
        let cells = SmallVec::from_elem(Cells::default(), limits.0.len());
        Self { limits, cells }
    }

    /// Charges `cost` to every one of these limits, or to none.
    pub(super) fn charge(&mut self, limits: &Arc<Limits>, now: Timestamp, cost: u32) -> Charge {
        self.follow(limits);
        Charge { outcome: self.try_to_charge(now, cost), closest: self.closest(now) }
    }

    /// Of these limits the one closest to exhaustion, without charging anything.
    pub(super) fn look(&mut self, limits: &Arc<Limits>, now: Timestamp) -> Option<LimitState> {
        self.follow(limits);
        self.closest(now)
    }

    fn follow(&mut self, limits: &Arc<Limits>) {
        if !Arc::ptr_eq(&self.limits, limits) {
            self.lay_out(limits);
        }
    }

    /// Follows a change of limits: what was charged to a limit of the same name and window still counts.
    fn lay_out(&mut self, limits: &Arc<Limits>) {
        if *self.limits != **limits {
            let cells_of = |limit: &Limit| {
                let known = self.limits.0.iter().zip(&self.cells);
                let mut continued = known.filter(|(other, _)| limit.continues(other));
                continued.next().map_or_else(Cells::default, |(_, cells)| *cells)
            };
            self.cells = limits.0.iter().map(cells_of).collect();
        }
        self.limits = Arc::clone(limits);
    }

    fn try_to_charge(&mut self, now: Timestamp, cost: u32) -> Result<(), Option<u32>> {
        let mut outcome = Ok(());
        for (limit, cells) in self.limits.0.iter().zip(&self.cells) {
            if let Err(refusal) = cells.charge(limit.rule, now, cost) {
                let longest = outcome.err().unwrap_or(Some(0));
                outcome = Err(longest.zip(refusal.retry_after).map(|(a, b)| a.max(b)));
            }
        }
        outcome?;
        for (limit, cells) in self.limits.0.iter().zip(&mut self.cells) {
            *cells = cells.charge(limit.rule, now, cost).unwrap_or(*cells);
        }
        Ok(())
    }

    /// The fewest units left; of several the one that takes longest to recover.
    fn closest(&self, now: Timestamp) -> Option<LimitState> {
        let limits = self.limits.0.iter().zip(&self.cells);
        limits
            .map(|(limit, cells)| (limit, cells.standing(limit.rule, now)))
            .min_by_key(|(_, standing)| (standing.remaining, std::cmp::Reverse(standing.reset_after)))
            .map(|(limit, standing)| limit.state(standing))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::counters::Counters;
    use super::*;

    fn limit(name: &str, limit: u32, seconds: u64) -> RateLimit {
        RateLimit { name: name.into(), limit, window: Duration::from_secs(seconds), auto_apply: true }
    }

    fn limits(own: &[RateLimit]) -> Arc<Limits> {
        Arc::new(Limits::new(own, None, true))
    }

    fn tier(rate_limits: Vec<RateLimit>) -> Tier {
        Tier { rate_limits, ..Tier::default() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn remaining(state: Option<LimitState>) -> Option<(String, u32)> {
        state.map(|state| (state.name.to_string(), state.remaining))
    }

    #[test]
    fn a_refused_request_charges_nothing() {
        let limits = limits(&[limit("wide", 10, 60), limit("narrow", 1, 10)]);
        let counters = Counters::new(Arc::clone(&limits));
        assert_eq!(counters.open().charge(&limits, at(0), 1).outcome, Ok(()));
        for _ in 0..5 {
            // The narrow one has room again when the cell after this one has begun to wane.
            assert_eq!(counters.open().charge(&limits, at(0), 1).outcome, Err(Some(20)));
        }
        assert_eq!(counters.open().charge(&limits, at(20), 1).outcome, Ok(()));
        assert_eq!(remaining(counters.open().look(&limits, at(40))), Some(("narrow".into(), 1)));
        let wide = self::limits(&[limit("wide", 10, 60)]);
        assert_eq!(remaining(counters.open().look(&wide, at(40))), Some(("wide".into(), 8)));
    }

    #[test]
    fn the_longest_wait_counts_and_the_limit_closest_to_exhaustion_is_told() {
        let limits = limits(&[limit("a", 1, 10), limit("b", 1, 60), limit("c", 9, 1)]);
        let counters = Counters::new(Arc::clone(&limits));
        let first = counters.open().charge(&limits, at(0), 1);
        let b = LimitState { name: "b".into(), limit: 1, remaining: 0, reset_after: 120, window: 60 };
        assert_eq!(first, Charge { outcome: Ok(()), closest: Some(b.clone()) });
        let second = counters.open().charge(&limits, at(0), 1);
        assert_eq!(second, Charge { outcome: Err(Some(120)), closest: Some(b) });
    }

    #[test]
    fn without_limits_everything_passes() {
        let limits = limits(&[]);
        let counters = Counters::new(Arc::clone(&limits));
        assert_eq!(counters.open().charge(&limits, at(0), 1), Charge { outcome: Ok(()), closest: None });
    }

    #[test]
    fn a_keys_limit_shadows_its_tiers_in_the_apis_own_namespace_only() {
        let tier = tier(vec![limit("requests", 10, 60), limit("burst", 3, 1)]);
        let own = [limit("requests", 99, 60)];
        for (in_own_namespace, expected) in [
            (true, &[(Origin::Key, "requests"), (Origin::Tier, "burst")][..]),
            (false, &[(Origin::Key, "requests"), (Origin::Tier, "requests"), (Origin::Tier, "burst")]),
        ] {
            let limits = Limits::new(&own, Some(&tier), in_own_namespace);
            let names: Vec<_> = limits.0.iter().map(|limit| (limit.origin, &*limit.name)).collect();
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn a_limit_that_does_not_apply_by_itself_is_not_charged() {
        let named = RateLimit { auto_apply: false, ..limit("search", 1, 60) };
        assert_eq!(Limits::new(&[named], None, true), Limits::default());
    }

    #[test]
    fn what_was_charged_survives_a_change_of_limits() {
        let before = limits(&[limit("a", 10, 60), limit("b", 10, 60), limit("c", 10, 60)]);
        let counters = Counters::new(Arc::clone(&before));
        assert_eq!(counters.open().charge(&before, at(0), 4).outcome, Ok(()));
        let raised = limits(&[limit("b", 20, 60), limit("a", 30, 60)]);
        assert_eq!(remaining(counters.open().look(&raised, at(0))), Some(("b".into(), 16)));
        let other_window = limits(&[limit("a", 10, 61)]);
        assert_eq!(remaining(counters.open().look(&other_window, at(0))), Some(("a".into(), 10)));
    }

    #[test]
    fn exactly_the_limit_is_admitted_however_many_threads_ask() {
        let limits = limits(&[limit("a", 500, 3_600), limit("b", 900, 3_600)]);
        let counters = Counters::new(Arc::clone(&limits));
        let admitted: usize = std::thread::scope(|scope| {
            let ask = || (0..250).filter(|_| counters.open().charge(&limits, at(0), 1).outcome.is_ok()).count();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(admitted, 500);
        assert_eq!(remaining(counters.open().look(&limits, at(0))), Some(("a".into(), 0)));
    }

    proptest! {
        #[test]
        fn several_limits_are_charged_all_or_none(
            sizes in prop::collection::vec((1_u32..8, 1_u64..20), 1..4),
            steps in prop::collection::vec((0_i64..5, 0_u32..4), 0..60),
        ) {
            let all: Vec<_> =
                sizes.iter().enumerate().map(|(at, (size, window))| limit(&at.to_string(), *size, *window)).collect();
            let together = limits(&all);
            let counters = Counters::new(Arc::clone(&together));
            // Each limit by itself, charged only when all of them have room.
            let mut apart: Vec<_> =
                all.iter().map(|limit| (Rule::new(limit.limit, limit.window), Cells::default())).collect();
            let mut now = 1_000;
            for (step, cost) in steps {
                now += step;
                let charged: Vec<_> = apart.iter().map(|(rule, cells)| cells.charge(*rule, at(now), cost)).collect();
                let passes = charged.iter().all(Result::is_ok);
                prop_assert_eq!(counters.open().charge(&together, at(now), cost).outcome.is_ok(), passes);
                if passes {
                    apart = apart.iter().zip(charged).map(|((rule, _), cells)| (*rule, cells.unwrap())).collect();
                }
                let fewest = apart.iter().map(|(rule, cells)| cells.standing(*rule, at(now)).remaining).min();
                prop_assert_eq!(counters.open().look(&together, at(now)).map(|state| state.remaining), fewest);
            }
        }
    }
}
