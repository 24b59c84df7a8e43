//! Keys and owners that have quotas or credits.

use kube::ResourceExt as _;

use crate::core::acceptance::accept;
use crate::core::ledger::low::Told;
use crate::core::ledger::{Budget, budgets};
use crate::core::policy::{ObjectName, Policies};
use crate::resources::notices::told;
use crate::resources::references::UsageRef;
use crate::resources::{ApiKey, ApiKeyOwner};

/// What is known of one without its ledger.
#[derive(Debug)]
pub(super) struct Metered {
    pub(super) namespace: String,
    /// The ApiKeyUsage with its ledger.
    pub(super) usage: UsageRef,
    /// At least one.
    pub(super) budgets: Vec<Budget>,
    pub(super) told: Vec<Told>,
}

impl Metered {
    /// `None`: it has none that count, or no ledger yet.
    pub(super) fn of_key(key: &ApiKey, policies: &Policies) -> Option<Self> {
        let usage = key.status.as_ref()?.usage.clone()?;
        let parsed = key.parse().ok()?;
        let budgets = budgets::of_accepted(&parsed, &accept(&parsed, policies).ok()?);
        let notices = key.status.as_ref().and_then(|status| status.notices.as_ref());
        let told = notices.map(|notices| told(&notices.budgets)).unwrap_or_default();
        let namespace = key.namespace().unwrap_or_default();
        (!budgets.is_empty()).then_some(Self { namespace, usage, budgets, told })
    }

    /// As [`Metered::of_key`]; one that does not speak for its external id has none that count.
    pub(super) fn of_owner(owner: &ApiKeyOwner, policies: &Policies) -> Option<Self> {
        let usage = owner.status.as_ref()?.usage.clone()?;
        let (namespace, claim) = (owner.namespace().unwrap_or_default(), owner.claim());
        policies.owners.judge(&ObjectName::new(&namespace, &owner.name_any()), &claim).ok()?;
        let budgets = budgets::of_owner(&*claim.owner.ok()?);
        let notices = owner.status.as_ref().and_then(|status| status.notices.as_ref());
        let told = notices.map(|notices| told(&notices.budgets)).unwrap_or_default();
        (!budgets.is_empty()).then_some(Self { namespace, usage, budgets, told })
    }
}
