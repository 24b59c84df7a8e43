//! What events have told of quotas and credits, so that they tell it once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::account::StoredAccount;
use crate::core::ledger::low::Told;

/// A quota in one period, or the credits of one epoch, of which was told that little or nothing is left; as it was then.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetNotice {
    /// What is low.
    #[serde(flatten)]
    pub account: StoredAccount,
    /// Limit of the quota, or credits that were granted.
    #[schemars(range(min = 0, max = 9_000_000_000_000_000_i64))]
    pub limit: u64,
    /// Sum that was handed out to verifiers.
    #[schemars(range(min = 0, max = 9_000_000_000_000_000_i64))]
    pub reserved: u64,
    /// Sum that was added to the credits by refills.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 9_000_000_000_000_000_i64))]
    pub refilled: u64,
    /// Whether it was told that nothing is left; otherwise that it is little.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exhausted: bool,
    /// When there is more by itself: the end of the period, or the next refill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Time>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What was told. An entry that Keyturn does not write tells of nothing: it is told again.
#[must_use]
pub fn told(stored: &[BudgetNotice]) -> Vec<Told> {
    stored.iter().filter_map(BudgetNotice::told).collect()
}

impl BudgetNotice {
    fn told(&self) -> Option<Told> {
        Some(Told {
            account: self.account.account().ok()?,
            limit: self.limit,
            reserved: self.reserved,
            refilled: self.refilled,
            exhausted: self.exhausted,
            until: self.until.as_ref().map(|until| until.0),
        })
    }
}

impl From<&Told> for BudgetNotice {
    fn from(told: &Told) -> Self {
        let Told { account, limit, reserved, refilled, exhausted, until } = told;
        Self {
            account: account.into(),
            limit: *limit,
            reserved: *reserved,
            refilled: *refilled,
            exhausted: *exhausted,
            until: until.map(Time),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::ledger::{Account, QuotaAccount, QuotaOf};

    #[test]
    fn what_is_stored_is_what_is_read_and_what_keyturn_does_not_write_is_nothing() {
        let written = json!([
            {"kind": "Quota", "name": "daily", "period": "2026-11-22", "epoch": 0, "limit": 500, "reserved": 460,
             "until": "2026-11-23T00:00:00Z"},
            {"kind": "TierQuota", "name": "daily", "period": "2026-11", "epoch": 0, "limit": 500, "reserved": 500,
             "exhausted": true, "until": "2026-12-01T00:00:00Z"},
            {"kind": "Credits", "name": "", "period": "", "epoch": 2, "limit": 100, "reserved": 390, "refilled": 300},
        ]);
        let stored: Vec<BudgetNotice> = serde_json::from_value(written.clone()).unwrap();
        let read = told(&stored);
        assert_eq!(serde_json::to_value(read.iter().map(BudgetNotice::from).collect::<Vec<_>>()).unwrap(), written);
        let quota = |of, period: &str| QuotaAccount { of, name: "daily".into(), period: period.parse().unwrap() };
        let of = |account, limit, reserved, refilled, exhausted, until: Option<&str>| Told {
            account,
            limit,
            reserved,
            refilled,
            exhausted,
            until: until.map(|until| until.parse().unwrap()),
        };
        let expected = [
            of(Account::Quota(quota(QuotaOf::Own, "2026-11-22")), 500, 460, 0, false, Some("2026-11-23T00:00:00Z")),
            of(Account::Quota(quota(QuotaOf::Tier, "2026-11")), 500, 500, 0, true, Some("2026-12-01T00:00:00Z")),
            of(Account::Credits { epoch: 2 }, 100, 390, 300, false, None),
        ];
        assert_eq!(read, expected);
        let account = StoredAccount { period: "2026-W47".into(), ..stored[0].account.clone() };
        let other = BudgetNotice { account, ..stored[0].clone() };
        assert_eq!(told(&[other]), []);
    }
}
