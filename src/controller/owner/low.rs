//! Notes of which of an owner's quotas little is left.

use jiff::Timestamp;

use crate::core::ledger::low::{Low, remember, untold};
use crate::core::ledger::{Ledger, budgets};
use crate::core::owner::Owner;
use crate::resources::apikeyowner::{OwnerNotices, OwnerStatus};
use crate::resources::notices::{BudgetNotice, told};

/// Notes all that is to be told by the ledger, and answers it. What another ApiKeyUsage holds than the status names is
/// not believed by anybody.
pub(super) fn note(status: &mut OwnerStatus, owner: &Owner, ledger: &Ledger, now: Timestamp) -> Vec<Low> {
    if status.usage.as_ref().is_none_or(|usage| *usage.uid != *ledger.uid) {
        return Vec::new();
    }
    let stored = status.notices.as_ref().map(|notices| told(&notices.budgets));
    let (mut known, budgets, mut lows) = (stored.unwrap_or_default(), budgets::of_owner(owner), Vec::new());
    while let Some(low) = untold(ledger, &budgets, &known, now) {
        known = remember(&known, &low, &budgets, now);
        lows.push(low);
    }
    if !lows.is_empty() {
        status.notices = Some(OwnerNotices { budgets: known.iter().map(BudgetNotice::from).collect() });
    }
    lows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::budget::{Period, Quota};
    use crate::core::fixtures;
    use crate::core::ledger::{QuotaAccount, QuotaLine, QuotaOf};
    use crate::resources::references::UsageRef;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn each_quota_that_is_low_is_told_of_once_and_the_ledger_of_another_is_not_believed() {
        let quota = |name: &str, period| Quota { name: name.into(), limit: 100, period };
        let quotas = vec![quota("daily", Period::Day), quota("monthly", Period::Month), quota("free", Period::Day)];
        let owner = Owner { quotas, ..fixtures::owner() };
        let line = |name: &str, period: &str, reserved| QuotaLine {
            account: QuotaAccount { of: QuotaOf::Own, name: name.into(), period: period.parse().unwrap() },
            reserved,
        };
        let quotas =
            vec![line("daily", "2026-11-22", 95), line("monthly", "2026-11", 100), line("free", "2026-11-22", 50)];
        let ledger = Ledger { uid: "u1".into(), began: at("2026-11-01T00:00:00Z"), quotas, credits: None };
        let named = |uid: &str| OwnerStatus {
            usage: Some(UsageRef { name: "owner-u".to_owned(), uid: uid.to_owned() }),
            ..OwnerStatus::default()
        };
        let now = at("2026-11-22T12:00:00Z");
        for mut other in [OwnerStatus::default(), named("u2")] {
            let before = other.clone();
            assert_eq!((note(&mut other, &owner, &ledger, now), other), (vec![], before));
        }
        let mut status = named("u1");
        let lows = note(&mut status, &owner, &ledger, now);
        assert_eq!(lows.iter().map(Low::reason).collect::<Vec<_>>(), ["QuotaNearlyExhausted", "QuotaExhausted"]);
        let noted = status.clone();
        assert_eq!(noted.notices.as_ref().map(|notices| notices.budgets.len()), Some(2));
        assert_eq!((note(&mut status, &owner, &ledger, now), status), (vec![], noted));
    }
}
