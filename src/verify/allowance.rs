//! What a key or an owner may use up: rate limits, quotas, credits.
//!
//! In the API's own namespace a key's limit or quota shadows its owner's of the same name, and that shadows the
//! tier's. A key from elsewhere shadows nothing: its own, its owner's and its tier's all count.

use std::sync::Arc;

use crate::core::budget::{Credits, Quota};
use crate::core::ledger::{Budget, budgets};
use crate::core::owner::Owner;
use crate::core::policy::{RateLimit, Tier};
use crate::core::ratelimit::Rule;

/// The rate limits, quotas and credits that one set of counters is kept for.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Allowance {
    pub(super) limits: Box<[Limit]>,
    pub(super) budgets: Box<[Budget]>,
}

/// A rate limit.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Limit {
    pub(super) origin: Origin,
    pub(super) name: Arc<str>,
    pub(super) rule: Rule,
    /// Charged on every request, not only where a route names it.
    pub(super) auto_apply: bool,
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Origin {
    Key,
    Tier,
    Owner,
}

/// What a key has itself, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    pub rate_limits: &'a [RateLimit],
    pub quotas: &'a [Quota],
    pub credits: Option<Credits>,
    /// It is in the API's own namespace.
    pub is_at_home: bool,
}

impl Own<'_> {
    fn shadows_limit(&self, name: &str) -> bool {
        self.is_at_home && self.rate_limits.iter().any(|limit| &*limit.name == name)
    }

    fn shadows_quota(&self, name: &str) -> bool {
        self.is_at_home && self.quotas.iter().any(|quota| &*quota.name == name)
    }
}

impl Allowance {
    /// What counts for a key alone: its own and its tier's.
    #[must_use]
    pub fn of_key(own: &Own<'_>, owner: Option<&Owner>, tier: Option<&Tier>) -> Self {
        let by_owner = |limit: &RateLimit| {
            own.is_at_home && owner.is_some_and(|owner| owner.rate_limits.iter().any(|other| other.name == limit.name))
        };
        let limits = tier.map_or(&[][..], |tier| &tier.rate_limits);
        let limits = limits.iter().filter(|limit| !own.shadows_limit(&limit.name) && !by_owner(limit));
        let limits = limits.map(|limit| Limit::new(Origin::Tier, limit));
        let metered = budgets::Own { quotas: own.quotas, credits: own.credits, is_at_home: own.is_at_home };
        Self {
            limits: own.rate_limits.iter().map(|limit| Limit::new(Origin::Key, limit)).chain(limits).collect(),
            budgets: budgets::of_key(&metered, owner, tier).into(),
        }
    }

    /// What counts for all keys of an owner together.
    #[must_use]
    pub fn of_owner(owner: &Owner) -> Self {
        Self {
            limits: owner.rate_limits.iter().map(|limit| Limit::new(Origin::Owner, limit)).collect(),
            budgets: budgets::of_owner(owner).into(),
        }
    }

    /// Whether there is nothing that could be used up.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.limits.is_empty() && self.budgets.is_empty()
    }
}

impl Limit {
    fn new(origin: Origin, limit: &RateLimit) -> Self {
        Self {
            origin,
            name: Arc::clone(&limit.name),
            rule: Rule::new(limit.limit, limit.window),
            auto_apply: limit.auto_apply,
        }
    }
}

/// Which of an owner's limits and quotas do not count for a key, by their places.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Shadow {
    limits: u64,
    quotas: u64,
}

impl Shadow {
    /// What a key hides of its owner's.
    pub(super) fn of(own: &Own<'_>, owner: &Owner) -> Self {
        Self {
            limits: places(owner.rate_limits.iter().map(|limit| own.shadows_limit(&limit.name))),
            quotas: places(owner.quotas.iter().map(|quota| own.shadows_quota(&quota.name))),
        }
    }

    pub(super) fn hides_limit(self, at: usize) -> bool {
        hides(self.limits, at)
    }

    pub(super) fn hides_budget(self, at: usize) -> bool {
        hides(self.quotas, at)
    }
}

/// The schema admits 50 limits and 8 quotas. One beyond the 64th would count all the same.
fn places(hidden: impl Iterator<Item = bool>) -> u64 {
    hidden.take(64).enumerate().filter(|(_, hidden)| *hidden).fold(0, |places, (at, _)| places | 1 << at)
}

const fn hides(places: u64, at: usize) -> bool {
    at < 64 && places & (1 << at) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::budget::Period;
    use crate::core::fixtures;
    use crate::verify::fixtures::limit;

    fn quota(name: &str) -> Quota {
        Quota { name: name.into(), limit: 9, period: Period::Day }
    }

    fn limits(allowance: &Allowance) -> Vec<(Origin, &str)> {
        allowance.limits.iter().map(|limit| (limit.origin, &*limit.name)).collect()
    }

    fn budgets(allowance: &Allowance) -> Vec<String> {
        let name = |budget: &Budget| match budget {
            Budget::Quota { of, quota } => format!("{of:?} {}", quota.name),
            Budget::Credits(credits) => format!("{} credits", credits.granted),
        };
        allowance.budgets.iter().map(name).collect()
    }

    #[test]
    fn a_key_shadows_its_owner_and_both_its_tier_in_the_apis_own_namespace_only() {
        let tier = Tier {
            rate_limits: vec![limit("a", 1, 1), limit("b", 1, 1), limit("c", 1, 1)],
            quotas: vec![quota("a"), quota("b"), quota("c")],
            ..Tier::default()
        };
        let owner = Owner {
            rate_limits: vec![limit("b", 2, 1), limit("a", 2, 1)],
            quotas: vec![quota("b"), quota("a")],
            ..fixtures::owner()
        };
        let own = Own {
            rate_limits: &[limit("a", 3, 1)],
            quotas: &[quota("a")],
            credits: Some(Credits { granted: 5, epoch: 0, refill: None }),
            is_at_home: true,
        };
        let at_home = Allowance::of_key(&own, Some(&owner), Some(&tier));
        assert_eq!(limits(&at_home), [(Origin::Key, "a"), (Origin::Tier, "c")]);
        assert_eq!(budgets(&at_home), ["Own a", "Tier c", "5 credits"]);
        let shadow = Shadow::of(&own, &owner);
        assert_eq!([0, 1, 63, 64].map(|at| shadow.hides_limit(at)), [false, true, false, false]);
        assert_eq!([0, 1].map(|at| shadow.hides_budget(at)), [false, true]);

        let foreign = Own { is_at_home: false, ..own };
        let elsewhere = Allowance::of_key(&foreign, Some(&owner), Some(&tier));
        let expected = [(Origin::Key, "a"), (Origin::Tier, "a"), (Origin::Tier, "b"), (Origin::Tier, "c")];
        assert_eq!(limits(&elsewhere), expected);
        assert_eq!(budgets(&elsewhere), ["Own a", "Tier a", "Tier b", "Tier c", "5 credits"]);
        assert_eq!(Shadow::of(&foreign, &owner), Shadow::default());
    }

    #[test]
    fn an_owner_has_its_own_and_nothing_of_any_key() {
        let owner = Owner { rate_limits: vec![limit("b", 2, 1)], quotas: vec![quota("b")], ..fixtures::owner() };
        let allowance = Allowance::of_owner(&owner);
        assert_eq!((limits(&allowance), budgets(&allowance)), (vec![(Origin::Owner, "b")], vec!["Own b".to_owned()]));
        assert!(Allowance::of_owner(&fixtures::owner()).is_empty());
    }
}
