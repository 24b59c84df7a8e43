//! What events have told of quotas and credits, so that they tell it once.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::apikeyusage::LedgerKind;
use crate::core::ledger::low::Told;
use crate::core::ledger::{Account, QuotaAccount, QuotaOf};

/// A quota in one period, or the credits of one epoch, of which was told that little or nothing is left; as it was then.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetNotice {
    /// What is low: a key's own quota and one of its tier may have the same name.
    pub kind: LedgerKind,
    /// Name of the quota; empty for credits.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub name: String,
    /// Day (2026-11-22) or month (2026-11) of a quota, in UTC; empty for credits.
    #[serde(default)]
    #[schemars(length(max = 253))]
    pub period: String,
    /// Epoch of the credits; 0 for quotas.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000_000_000_i64))]
    pub epoch: u64,
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
        let quota = |of| {
            let account = QuotaAccount { of, name: Arc::from(&*self.name), period: self.period.parse().ok()? };
            Some(Account::Quota(account))
        };
        let account = match self.kind {
            LedgerKind::Credits => Some(Account::Credits { epoch: self.epoch }),
            LedgerKind::Quota => quota(QuotaOf::Own),
            LedgerKind::TierQuota => quota(QuotaOf::Tier),
        };
        Some(Told {
            account: account?,
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
        let stored = match account {
            Account::Credits { epoch } => Self { kind: LedgerKind::Credits, epoch: *epoch, ..Self::default() },
            Account::Quota(QuotaAccount { of, name, period }) => {
                Self { kind: (*of).into(), name: name.to_string(), period: period.to_string(), ..Self::default() }
            }
        };
        Self {
            limit: *limit,
            reserved: *reserved,
            refilled: *refilled,
            exhausted: *exhausted,
            until: until.map(Time),
            ..stored
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let other = BudgetNotice { kind: LedgerKind::Quota, period: "2026-W47".into(), ..stored[0].clone() };
        assert_eq!(told(&[other]), []);
    }
}
