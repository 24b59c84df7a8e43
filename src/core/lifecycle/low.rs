//! Tells that little is left of a key's quotas or credits.

use jiff::Timestamp;

use super::has_expired;
use super::notice::Notices;
use super::outcome::Event;
use super::world::World;
use crate::core::ledger::{budgets, low};

/// What to tell, and what is remembered of it.
pub(super) fn tell(world: &World<'_>, now: Timestamp) -> Option<(Notices, Event)> {
    let accepted = world.acceptance.as_ref().ok().filter(|accepted| !has_expired(accepted, now))?;
    // What another ApiKeyUsage holds is not believed by anybody.
    let ledger = world.ledger.as_ref().filter(|ledger| world.record.usage.as_ref() == Some(&ledger.uid))?;
    let (told, budgets) = (&world.record.notices, budgets::of_accepted(world.key, accepted));
    let low = low::untold(ledger, &budgets, &told.budgets, now)?;
    let remembered = low::remember(&told.budgets, &low, &budgets, now);
    Some((Notices { budgets: remembered.into(), ..told.clone() }, Event::LowBudget(low)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Plan, Record, Revocation, Secret, Step, plan};
    use super::*;
    use crate::core::acceptance::accept;
    use crate::core::budget::{Credits, Period, Quota};
    use crate::core::fixtures::{self, version};
    use crate::core::ledger::{CreditsLine, Ledger, QuotaAccount, QuotaLine, QuotaOf};
    use crate::core::policy::{Key, ObjectName, Policies};
    use crate::core::rotation::{VersionState, Versions};

    const NOON: &str = "2026-11-22T12:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn key() -> Key {
        let quota = Quota { name: "daily".into(), limit: 100, period: Period::Day };
        Key { quotas: vec![quota], credits: Some(Credits { granted: 100, epoch: 0, refill: None }), ..fixtures::key() }
    }

    /// Of the quota and of the credits so much is handed out.
    fn ledger(quota: u64, credits: u64) -> Ledger {
        let account = QuotaAccount { of: QuotaOf::Own, name: "daily".into(), period: "2026-11-22".parse().unwrap() };
        Ledger {
            uid: "usage".into(),
            began: at("2026-11-20T09:00:00Z"),
            quotas: vec![QuotaLine { account, reserved: quota }],
            credits: Some(CreditsLine { epoch: 0, reserved: credits, refilled: 0, refilled_at: at(NOON) }),
        }
    }

    fn record() -> Record {
        Record {
            versions: Versions::new(vec![version(1, VersionState::Current)]),
            last_rotated_at: Some(at("2026-11-20T09:00:00Z")),
            secret_name: Some("ci".into()),
            usage: Some("usage".into()),
            ..Record::default()
        }
    }

    fn planned(key: &Key, record: Record, ledger: Ledger, now: &str) -> Plan {
        let api = ObjectName::new("speech", "transcripts");
        let policies = Policies { apis: [(api, Ok(Arc::new(fixtures::api())))].into(), ..Policies::default() };
        let acceptance = accept(key, &policies);
        let secret = Secret::Ours { holds: vec![1], in_order_for: Some(1), fixed: false };
        let world = World { record, secret, ledger: Some(Arc::new(ledger)), ..fixtures::world(key, &acceptance) };
        plan(&world, at(now))
    }

    /// Why something is told, and the record that says so.
    fn told(plan: &Plan) -> Option<(&'static str, Record)> {
        match &plan.step {
            Some(Step::Record { record, event: Some(Event::LowBudget(low)) }) => Some((low.reason(), record.clone())),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_that_nobody_is_let_in_with_or_whose_ledger_is_another_is_not_told_of() {
        let low = || ledger(95, 95);
        let revoked = Record { revocation: Some(Revocation { at: at(NOON), reversible: true }), ..record() };
        let expired = Key { expires_at: Some(at("2026-11-22T11:00:00Z")), ..key() };
        let free = Key { quotas: vec![], credits: None, ..key() };
        for (key, record, ledger) in [
            (Key { revoked: true, ..key() }, revoked, low()),
            (expired, record(), low()),
            (free, record(), low()),
            (key(), record(), ledger(80, 80)),
            (key(), record(), Ledger { uid: "another".into(), ..low() }),
        ] {
            assert_eq!(told(&planned(&key, record, ledger, NOON)), None);
        }
    }

    #[test]
    fn what_is_low_is_told_one_after_the_other_and_once() {
        let (first, noted) = told(&planned(&key(), record(), ledger(95, 95), NOON)).unwrap();
        let (second, noted) = told(&planned(&key(), noted, ledger(95, 95), NOON)).unwrap();
        assert_eq!((first, second), ("QuotaNearlyExhausted", "CreditsLow"));
        assert_eq!(told(&planned(&key(), noted.clone(), ledger(99, 99), NOON)), None);
        let (third, noted) = told(&planned(&key(), noted, ledger(99, 100), NOON)).unwrap();
        assert_eq!((third, noted.notices.budgets.len()), ("CreditsExhausted", 2));
        // A new day has begun since the ledger was read.
        assert_eq!(told(&planned(&key(), noted, ledger(100, 100), "2026-11-23T00:00:00Z")), None);
    }

    #[test]
    fn a_ledger_that_begins_anew_is_told_of_anew() {
        let (_, noted) = told(&planned(&key(), record(), ledger(0, 95), NOON)).unwrap();
        let api = ObjectName::new("speech", "transcripts");
        let policies = Policies { apis: [(api, Ok(Arc::new(fixtures::api())))].into(), ..Policies::default() };
        let (key, acceptance) = (key(), accept(&key(), &policies));
        let mut world = World { record: noted, ..fixtures::world(&key, &acceptance) };
        world.secret = Secret::Ours { holds: vec![1], in_order_for: Some(1), fixed: false };
        world.usage.found = Some("another".into());
        let Some(Step::Record { record, event: None }) = plan(&world, at(NOON)).step else { panic!("it is not named") };
        assert_eq!((record.usage.as_deref(), record.notices), (Some("another"), Notices::default()));
    }
}
