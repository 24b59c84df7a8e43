//! The ledger of an ApiKeyUsage as [`core::ledger`](crate::core::ledger) works with it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ApiKeyUsage, LedgerEntry};
use crate::core::budget::calendar;
use crate::core::ledger::{Account, CreditsLine, Ledger, QuotaLine};
use crate::resources::account::StoredAccount;

/// Something that Keyturn does not write. Nothing is handed out on its strength.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error("reading metadata.{0} of an ApiKeyUsage, which has none")]
    Metadata(&'static str),
    #[error("reading status.ledger of an ApiKeyUsage: an entry of quota {name}")]
    Period {
        name: String,
        #[source]
        source: calendar::ParseError,
    },
}

impl ApiKeyUsage {
    /// # Errors
    /// Something that Keyturn does not write.
    pub fn ledger(&self) -> Result<Ledger, LedgerError> {
        let uid = self.metadata.uid.as_deref().ok_or(LedgerError::Metadata("uid"))?;
        let created = self.metadata.creation_timestamp.as_ref();
        let began = created.ok_or(LedgerError::Metadata("creationTimestamp"))?.0;
        let mut ledger = Ledger { uid: Arc::from(uid), began, quotas: vec![], credits: None };
        for entry in self.status.iter().flat_map(|status| &status.ledger) {
            match entry.account()? {
                Account::Credits { epoch } => {
                    // A later epoch has taken the place of an earlier one.
                    if ledger.credits.as_ref().map(|line| line.epoch) <= Some(epoch) {
                        ledger.credits = Some(entry.credits(epoch, began));
                    }
                }
                Account::Quota(account) => ledger.quotas.push(QuotaLine { account, reserved: entry.reserved }),
            }
        }
        Ok(ledger)
    }

    /// Puts a changed ledger in the place of the one that was read; nothing else changes.
    pub fn set_ledger(&mut self, ledger: &Ledger) {
        let entries = ledger.quotas.iter().map(LedgerEntry::from).chain(ledger.credits.as_ref().map(LedgerEntry::from));
        self.status.get_or_insert_default().ledger = entries.collect();
    }
}

impl LedgerEntry {
    fn account(&self) -> Result<Account, LedgerError> {
        let StoredAccount { name, .. } = &self.account;
        self.account.account().map_err(|source| LedgerError::Period { name: name.clone(), source })
    }

    /// A line without refills has had none since its object `began`.
    fn credits(&self, epoch: u64, began: Timestamp) -> CreditsLine {
        CreditsLine {
            epoch,
            reserved: self.reserved,
            refilled: self.refilled.unwrap_or(0),
            refilled_at: self.refilled_at.as_ref().map_or(began, |at| at.0),
        }
    }
}

impl From<&QuotaLine> for LedgerEntry {
    fn from(line: &QuotaLine) -> Self {
        let QuotaLine { account, reserved } = line;
        Self { account: account.into(), reserved: *reserved, refilled: None, refilled_at: None }
    }
}

impl From<&CreditsLine> for LedgerEntry {
    fn from(line: &CreditsLine) -> Self {
        let CreditsLine { epoch, reserved, refilled, refilled_at } = line;
        Self {
            account: (&Account::Credits { epoch: *epoch }).into(),
            reserved: *reserved,
            refilled: Some(*refilled),
            refilled_at: Some(Time(*refilled_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::ledger::{MOST_LINES, QuotaAccount, QuotaOf};

    fn usage(ledger: &Value) -> ApiKeyUsage {
        let metadata = json!({"name": "key-u1", "uid": "u2", "creationTimestamp": "2026-11-20T09:00:00Z"});
        let status = json!({"ledger": ledger, "usage": {"requests": {"today": 1, "thisMonth": 1, "total": 1}}});
        let object = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyUsage", "metadata": metadata, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    fn entries() -> Value {
        json!([
            {"kind": "Quota", "name": "daily", "period": "2026-11-22", "epoch": 0, "reserved": 40},
            {"kind": "TierQuota", "name": "daily", "period": "2026-11", "epoch": 0, "reserved": 300},
            {"kind": "Credits", "name": "", "period": "", "epoch": 2, "reserved": 50, "refilled": 10,
             "refilledAt": "2026-11-22T12:00:00Z"},
        ])
    }

    #[test]
    fn a_ledger_that_cannot_be_read_is_none() {
        let mut nameless = usage(&json!([]));
        nameless.metadata.uid = None;
        let mut ageless = usage(&json!([]));
        ageless.metadata.creation_timestamp = None;
        let other = usage(&json!([{"kind": "Quota", "name": "daily", "period": "2026-W47", "reserved": 1}]));
        for (object, expected) in [
            (nameless, "reading metadata.uid of an ApiKeyUsage, which has none"),
            (ageless, "reading metadata.creationTimestamp of an ApiKeyUsage, which has none"),
            (other, "reading status.ledger of an ApiKeyUsage: an entry of quota daily"),
        ] {
            assert_eq!(object.ledger().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn what_is_stored_is_what_is_read_and_nothing_else_changes() {
        let stored = usage(&entries());
        let ledger = stored.ledger().unwrap();
        let mut written = stored.clone();
        written.set_ledger(&ledger);
        assert_eq!(written, stored);
        assert_eq!(serde_json::to_value(&written.status.unwrap().ledger).unwrap(), entries());
    }

    #[test]
    fn it_is_read_line_by_line() {
        let at = |text: &str| text.parse().unwrap();
        let quota = |of, period: &str, reserved| QuotaLine {
            account: QuotaAccount { of, name: "daily".into(), period: period.parse().unwrap() },
            reserved,
        };
        let expected = Ledger {
            uid: "u2".into(),
            began: at("2026-11-20T09:00:00Z"),
            quotas: vec![quota(QuotaOf::Own, "2026-11-22", 40), quota(QuotaOf::Tier, "2026-11", 300)],
            credits: Some(CreditsLine {
                epoch: 2,
                reserved: 50,
                refilled: 10,
                refilled_at: at("2026-11-22T12:00:00Z"),
            }),
        };
        assert_eq!(usage(&entries()).ledger().unwrap(), expected);
    }

    #[test]
    fn of_several_epochs_the_latest_counts_and_a_line_without_refills_begins_with_the_object() {
        let epoch = |epoch: u64| json!({"kind": "Credits", "epoch": epoch, "reserved": epoch});
        let ledger = usage(&json!([epoch(3), epoch(4), epoch(0)])).ledger().unwrap();
        let began = ledger.began;
        assert_eq!(ledger.credits, Some(CreditsLine { epoch: 4, reserved: 4, refilled: 0, refilled_at: began }));
    }

    #[test]
    fn the_schema_has_room_for_every_line() {
        let crd = serde_json::to_value(<ApiKeyUsage as kube::CustomResourceExt>::crd()).unwrap();
        let most = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/ledger/maxItems");
        assert_eq!(most, Some(&json!(MOST_LINES + 1)));
    }
}
