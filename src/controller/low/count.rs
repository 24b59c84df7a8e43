//! Counts the keys and owners of which was told that little is left: gauges beside the events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use tokio::time::sleep;

use super::metered::Metered;
use crate::clock::now;
use crate::controller::policies::Policies;
use crate::core::ledger::Account;
use crate::core::ledger::low::lasts;
use crate::core::policy;
use crate::metrics::{BudgetKind, Holder, Metrics};
use crate::resources::{ApiKey, ApiKeyOwner};

/// How often they are counted.
const PERIOD: Duration = Duration::from_secs(15);

/// Counts again and again. What was counted is taken back when it is dropped: another controller leads then.
pub(in crate::controller) async fn count(
    keys: Store<DeserializeGuard<ApiKey>>,
    owners: Store<DeserializeGuard<ApiKeyOwner>>,
    policies: Arc<Policies>,
    metrics: Arc<Metrics>,
) {
    let counted = Counted(metrics);
    loop {
        let (policies, mut counts) = (policies.current(), Counts::default());
        for key in keys.state() {
            counts.add_key(key.0.as_ref().ok(), &policies.policies, now());
        }
        for owner in owners.state() {
            counts.add_owner(owner.0.as_ref().ok(), &policies.policies, now());
        }
        counted.tell(&counts);
        sleep(PERIOD).await;
    }
}

struct Counted(Arc<Metrics>);

impl Counted {
    fn tell(&self, counts: &Counts) {
        let Counts { key_quotas, key_credits, owner_quotas } = *counts;
        self.0.low().set(Holder::Key, BudgetKind::Quota, key_quotas);
        self.0.low().set(Holder::Key, BudgetKind::Credits, key_credits);
        self.0.low().set(Holder::Owner, BudgetKind::Quota, owner_quotas);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.tell(&Counts::default());
    }
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Counts {
    key_quotas: usize,
    key_credits: usize,
    owner_quotas: usize,
}

impl Counts {
    fn add_key(&mut self, key: Option<&ApiKey>, policies: &policy::Policies, now: jiff::Timestamp) {
        // Of most there is nothing to tell, which is cheaper to see than what they have.
        let notices =
            |key: &&ApiKey| key.status.as_ref()?.notices.as_ref().filter(|it| !it.budgets.is_empty()).map(drop);
        let metered = key.filter(|key| notices(key).is_some()).and_then(|key| Metered::of_key(key, policies));
        let low = metered.map(|metered| low(&metered, now)).unwrap_or_default();
        self.key_quotas += usize::from(low.contains(&BudgetKind::Quota));
        self.key_credits += usize::from(low.contains(&BudgetKind::Credits));
    }

    fn add_owner(&mut self, owner: Option<&ApiKeyOwner>, policies: &policy::Policies, now: jiff::Timestamp) {
        let low = owner.and_then(|owner| Metered::of_owner(owner, policies)).map(|metered| low(&metered, now));
        self.owner_quotas += usize::from(low.is_some_and(|low| !low.is_empty()));
    }
}

/// Of what little is left.
fn low(metered: &Metered, now: jiff::Timestamp) -> BTreeSet<BudgetKind> {
    let last = metered.told.iter().filter(|told| lasts(told, &metered.budgets, now));
    let kind = last.map(|told| match told.account {
        Account::Quota(_) => BudgetKind::Quota,
        Account::Credits { .. } => BudgetKind::Credits,
    });
    kind.collect()
}
