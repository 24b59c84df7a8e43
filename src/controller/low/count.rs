//! Counts the keys and owners of which was told that little is left: gauges beside the events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
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
    fn add_key(&mut self, key: Option<&ApiKey>, policies: &policy::Policies, now: Timestamp) {
        // Of most there is nothing to tell, which is cheaper to see than what they have.
        let notices =
            |key: &&ApiKey| key.status.as_ref()?.notices.as_ref().filter(|it| !it.budgets.is_empty()).map(drop);
        let metered = key.filter(|key| notices(key).is_some()).and_then(|key| Metered::of_key(key, policies));
        let low = metered.map(|metered| low(&metered, now)).unwrap_or_default();
        self.key_quotas += usize::from(low.contains(&BudgetKind::Quota));
        self.key_credits += usize::from(low.contains(&BudgetKind::Credits));
    }

    fn add_owner(&mut self, owner: Option<&ApiKeyOwner>, policies: &policy::Policies, now: Timestamp) {
        let low = owner.and_then(|owner| Metered::of_owner(owner, policies)).map(|metered| low(&metered, now));
        self.owner_quotas += usize::from(low.is_some_and(|low| !low.is_empty()));
    }
}

/// Of what little is left.
fn low(metered: &Metered, now: Timestamp) -> BTreeSet<BudgetKind> {
    let last = metered.told.iter().filter(|told| lasts(told, &metered.budgets, now));
    let kind = last.map(|told| match told.account {
        Account::Quota(_) => BudgetKind::Quota,
        Account::Credits { .. } => BudgetKind::Credits,
    });
    kind.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::fixtures;
    use crate::core::policy::{ObjectName, Policies};

    fn told(kind: &str, name: &str, period: &str, until: Option<&str>) -> Value {
        let mut told = json!({"kind": kind, "name": name, "period": period, "limit": 100, "reserved": 95});
        told["until"] = json!(until);
        told
    }

    fn credits() -> Value {
        told("Credits", "", "", None)
    }

    fn daily(day: &str, until: &str) -> Value {
        told("Quota", "daily", day, Some(until))
    }

    fn object(kind: &str, spec: Value, notices: &[Value]) -> Value {
        let usage = json!({"name": "usage", "uid": "u2"});
        let metadata =
            json!({"name": "ci", "namespace": "speech", "uid": "u1", "creationTimestamp": "2026-11-01T00:00:00Z"});
        json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec,
            "status": {"usage": usage, "notices": {"budgets": notices}},
        })
    }

    #[test]
    fn those_are_counted_of_which_was_told_and_that_got_no_more_since() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let api = ObjectName::new("speech", "transcripts");
        let policies = Policies { apis: [(api, Ok(Arc::new(fixtures::api())))].into(), ..Policies::default() };
        let quotas = json!([{"name": "daily", "limit": 100, "period": "Day"}]);
        let key = |granted: u64| json!({"apiRef": {"name": "transcripts"}, "quotas": quotas, "credits": {"granted": granted}});
        let (today, yesterday) =
            (daily("2026-11-22", "2026-11-23T00:00:00Z"), daily("2026-11-21", "2026-11-22T00:00:00Z"));
        let mut counts = Counts::default();
        for (granted, notices) in [
            (100, &[][..]),
            (100, &[credits(), today.clone()]),
            (100, &[credits(), yesterday.clone()]),
            (101, &[credits(), yesterday.clone()]),
        ] {
            let key: ApiKey = serde_json::from_value(object("ApiKey", key(granted), notices)).unwrap();
            counts.add_key(Some(&key), &policies, now);
        }
        counts.add_key(None, &policies, now);
        for notices in [[today], [yesterday]] {
            let owner = object("ApiKeyOwner", json!({"quotas": quotas}), &notices);
            let owner: ApiKeyOwner = serde_json::from_value(owner).unwrap();
            counts.add_owner(Some(&owner), &policies, now);
        }
        assert_eq!(counts, Counts { key_quotas: 1, key_credits: 2, owner_quotas: 1 });
    }
}
