//! What a line of a ledger is about, as it is stored there and where events have told of it.

use std::sync::Arc;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::budget::calendar::ParseError;
use crate::core::ledger::{Account, QuotaAccount, QuotaOf};

/// One quota in one period, or the credits in one epoch.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredAccount {
    /// What it is about: a key's own quota and one of its tier may have the same name.
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
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LedgerKind {
    /// The credits of the key.
    #[default]
    Credits,
    /// A quota of the object that owns the ledger.
    Quota,
    /// A quota of the key's tier.
    TierQuota,
}

impl StoredAccount {
    /// # Errors
    /// A period that Keyturn does not write.
    pub fn account(&self) -> Result<Account, ParseError> {
        let quota = |of| {
            let period = self.period.parse()?;
            Ok(Account::Quota(QuotaAccount { of, name: Arc::from(&*self.name), period }))
        };
        match self.kind {
            LedgerKind::Credits => Ok(Account::Credits { epoch: self.epoch }),
            LedgerKind::Quota => quota(QuotaOf::Own),
            LedgerKind::TierQuota => quota(QuotaOf::Tier),
        }
    }
}

impl From<&Account> for StoredAccount {
    fn from(account: &Account) -> Self {
        match account {
            Account::Credits { epoch } => Self { kind: LedgerKind::Credits, epoch: *epoch, ..Self::default() },
            Account::Quota(account) => account.into(),
        }
    }
}

impl From<&QuotaAccount> for StoredAccount {
    fn from(account: &QuotaAccount) -> Self {
        let QuotaAccount { of, name, period } = account;
        let kind = match of {
            QuotaOf::Own => LedgerKind::Quota,
            QuotaOf::Tier => LedgerKind::TierQuota,
        };
        Self { kind, name: name.to_string(), period: period.to_string(), epoch: 0 }
    }
}
