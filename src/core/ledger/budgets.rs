//! Which quotas and credits count in whose ledger.

use super::{Budget, QuotaOf};
use crate::core::acceptance::{Accepted, Claim};
use crate::core::budget::{Credits, Quota};
use crate::core::owner::Owner;
use crate::core::policy::{Key, Tier};

/// What a key has itself, and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Own<'a> {
    pub quotas: &'a [Quota],
    pub credits: Option<Credits>,
    /// It is in the API's own namespace, where a quota shadows its owner's of the same name, and that the tier's.
    pub is_at_home: bool,
}

/// What counts for a key alone: its own and its tier's.
#[must_use]
pub fn of_key(own: &Own<'_>, owner: Option<&Owner>, tier: Option<&Tier>) -> Vec<Budget> {
    let nearer = owner.iter().flat_map(|owner| &owner.quotas).chain(own.quotas).filter(|_| own.is_at_home);
    let is_shadowed = |quota: &&Quota| nearer.clone().any(|nearer| nearer.name == quota.name);
    let tiers = tier.into_iter().flat_map(|tier| &tier.quotas).filter(|quota| !is_shadowed(quota));
    let budget = |of| move |quota: &Quota| Budget::Quota { of, quota: quota.clone() };
    let quotas = own.quotas.iter().map(budget(QuotaOf::Own)).chain(tiers.map(budget(QuotaOf::Tier)));
    quotas.chain(own.credits.map(Budget::Credits)).collect()
}

/// What counts for a key alone, by its manifest and what was made of it.
#[must_use]
pub fn of_accepted(key: &Key, accepted: &Accepted) -> Vec<Budget> {
    let is_at_home = Claim::from(key).foreign.is_none();
    let own = Own { quotas: &key.quotas, credits: key.credits, is_at_home };
    of_key(&own, accepted.owner.as_deref(), accepted.tier.as_deref())
}

/// What counts for all keys of an owner together.
#[must_use]
pub fn of_owner(owner: &Owner) -> Vec<Budget> {
    owner.quotas.iter().map(|quota| Budget::Quota { of: QuotaOf::Own, quota: quota.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::budget::Period;
    use crate::core::fixtures;

    fn quotas(names: &[&str]) -> Vec<Quota> {
        names.iter().map(|name| Quota { name: (*name).into(), limit: 9, period: Period::Day }).collect()
    }

    fn names(budgets: Vec<Budget>) -> Vec<String> {
        let name = |budget| match budget {
            Budget::Quota { of, quota } => format!("{of:?} {}", quota.name),
            Budget::Credits(credits) => format!("{} credits", credits.granted),
        };
        budgets.into_iter().map(name).collect()
    }

    #[test]
    fn a_key_shadows_its_owner_and_both_its_tier_in_the_apis_own_namespace_only() {
        let tier = Tier { quotas: quotas(&["a", "b", "c"]), ..Tier::default() };
        let owner = Owner { quotas: quotas(&["b"]), ..fixtures::owner() };
        let credits = Some(Credits { granted: 5, epoch: 0, refill: None });
        for (is_at_home, owner, tier, expected) in [
            (true, None, None, &["Own a", "5 credits"][..]),
            (true, Some(&owner), None, &["Own a", "5 credits"]),
            (true, None, Some(&tier), &["Own a", "Tier b", "Tier c", "5 credits"]),
            (true, Some(&owner), Some(&tier), &["Own a", "Tier c", "5 credits"]),
            (false, Some(&owner), Some(&tier), &["Own a", "Tier a", "Tier b", "Tier c", "5 credits"]),
        ] {
            let own = Own { quotas: &quotas(&["a"]), credits, is_at_home };
            assert_eq!(names(of_key(&own, owner, tier)), expected, "{is_at_home} {owner:?} {tier:?}");
        }
        assert_eq!(names(of_owner(&owner)), ["Own b"]);
    }
}
