use proptest::prelude::*;

use super::super::{CreditsLine, QuotaLine};
use super::*;
use crate::core::budget::{Credits, Interval, Period, Quota, Refill};

const NOON: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn empty() -> Ledger {
    Ledger { uid: "u1".into(), began: at("2026-11-20T09:00:00Z"), quotas: vec![], credits: None }
}

fn quota(of: QuotaOf, limit: u64, period: Period) -> Budget {
    Budget::Quota { of, quota: Quota { name: "requests".into(), limit, period } }
}

fn daily(limit: u64) -> Budget {
    quota(QuotaOf::Own, limit, Period::Day)
}

fn credits(granted: u64, epoch: u64, refill: Option<u64>) -> Budget {
    let refill = refill.map(|amount| Refill { interval: Interval::Daily, amount });
    Budget::Credits(Credits { granted, epoch, refill })
}

/// A ledger in which so much of the budget is handed out.
fn reserved(budget: &Budget, reserved: u64, now: &str) -> Ledger {
    match account(budget, at(now)) {
        Account::Quota(account) => Ledger { quotas: vec![QuotaLine { account, reserved }], ..empty() },
        Account::Credits { epoch } => {
            let line = CreditsLine { epoch, reserved, refilled: 0, refilled_at: at(now) };
            Ledger { credits: Some(line), ..empty() }
        }
    }
}

/// What is told of one budget: reason, what is left, of how many.
fn told(ledger: &Ledger, budget: &Budget, before: &[Told], now: &str) -> Option<(&'static str, u64, u64)> {
    let low = untold(ledger, std::slice::from_ref(budget), before, at(now))?;
    Some((low.reason(), low.left, low.of))
}

/// What is remembered after it was told.
fn after(ledger: &Ledger, budget: &Budget, now: &str) -> Vec<Told> {
    let budgets = std::slice::from_ref(budget);
    let low = untold(ledger, budgets, &[], at(now)).unwrap();
    remember(&[], &low, budgets, at(now))
}

#[test]
fn it_is_told_when_a_tenth_is_left_and_when_nothing_is() {
    for (limit, taken, quotas, balance) in [
        (0, 0, None, None),
        (1_000, 0, None, None),
        (1_000, 890, None, None),
        (1_000, 899, None, None),
        (1_000, 900, Some("QuotaNearlyExhausted"), Some("CreditsLow")),
        (1_000, 999, Some("QuotaNearlyExhausted"), Some("CreditsLow")),
        (1_000, 1_000, Some("QuotaExhausted"), Some("CreditsExhausted")),
        (1_000, 2_000, Some("QuotaExhausted"), Some("CreditsExhausted")),
        (9, 8, None, None),
        (10, 9, Some("QuotaNearlyExhausted"), Some("CreditsLow")),
        (1, 1, Some("QuotaExhausted"), Some("CreditsExhausted")),
    ] {
        let budgets = [daily(limit), quota(QuotaOf::Tier, limit, Period::Month)];
        for (budget, expected) in budgets.iter().map(|it| (it, quotas)).chain([(&credits(limit, 7, None), balance)]) {
            let expected = expected.map(|reason| (reason, limit.saturating_sub(taken), limit));
            assert_eq!(told(&reserved(budget, taken, NOON), budget, &[], NOON), expected, "{taken} of {budget:?}");
        }
    }
}

#[test]
fn it_is_told_once_that_little_is_left_and_once_that_nothing_is() {
    for budget in [daily(1_000), credits(1_000, 0, None)] {
        let at_900 = reserved(&budget, 900, NOON);
        let little = after(&at_900, &budget, NOON);
        for (taken, expected) in [(0, None), (900, None), (999, None), (1_000, Some((0, 1_000)))] {
            let found = told(&reserved(&budget, taken, NOON), &budget, &little, NOON);
            assert_eq!(found.map(|(_, left, of)| (left, of)), expected, "{taken} of {budget:?}");
        }
        let nothing = after(&reserved(&budget, 1_000, NOON), &budget, NOON);
        for taken in [0, 900, 1_000] {
            assert_eq!(told(&reserved(&budget, taken, NOON), &budget, &nothing, NOON), None, "{taken} of {budget:?}");
        }
    }
}

#[test]
fn a_new_period_or_epoch_and_another_quota_are_told_of_anew() {
    let next = "2026-11-23T00:00:00Z";
    let yesterday = after(&reserved(&daily(100), 95, NOON), &daily(100), NOON);
    let low = Some(("QuotaNearlyExhausted", 5, 100));
    assert_eq!(told(&reserved(&daily(100), 95, NOON), &daily(100), &yesterday, next), None, "the day is another");
    assert_eq!(told(&reserved(&daily(100), 95, next), &daily(100), &yesterday, next), low);
    let other = quota(QuotaOf::Tier, 100, Period::Day);
    assert_eq!(told(&reserved(&other, 95, NOON), &other, &yesterday, NOON), low);

    let (old, new) = (credits(100, 0, None), credits(100, 1, None));
    let before = after(&reserved(&old, 95, NOON), &old, NOON);
    assert_eq!(told(&reserved(&old, 95, NOON), &new, &before, NOON), None, "nothing is handed out of it yet");
    assert_eq!(told(&reserved(&new, 95, NOON), &new, &before, NOON), Some(("CreditsLow", 5, 100)));
    assert_eq!(told(&reserved(&new, 95, NOON), &old, &[], NOON), None, "the ledger is further than who asks");
}

#[test]
fn what_is_added_counts_from_what_was_left_when_it_was_told() {
    let base = credits(1_000, 0, None);
    let before = after(&reserved(&base, 920, NOON), &base, NOON);
    for (granted, taken, expected) in [
        // Lowered: it is known.
        (950, 930, None),
        // 80 were left, and 10 came: 9 is little.
        (1_010, 1_000, None),
        (1_010, 1_001, Some(("CreditsLow", 9, 90))),
        (1_010, 1_010, Some(("CreditsExhausted", 0, 90))),
        (50_000, 45_000, None),
        (50_000, 45_092, Some(("CreditsLow", 4_908, 49_080))),
    ] {
        let budget = credits(granted, 0, None);
        let found = told(&reserved(&budget, taken, NOON), &budget, &before, NOON);
        assert_eq!(found, expected, "{taken} of {granted}");
    }
    let before = after(&reserved(&daily(100), 100, NOON), &daily(100), NOON);
    for (taken, expected) in [(100, None), (189, None), (190, Some(("QuotaNearlyExhausted", 10, 200)))] {
        assert_eq!(told(&reserved(&daily(200), taken, NOON), &daily(200), &before, NOON), expected, "{taken}");
    }
}

#[test]
fn a_refill_that_is_due_counts_though_nobody_has_written_it() {
    let next = "2026-11-23T00:00:00Z";
    let budget = credits(10, 0, Some(100));
    let ledger = |taken, refilled_at: &str| Ledger {
        credits: Some(CreditsLine { epoch: 0, reserved: taken, refilled: 490, refilled_at: at(refilled_at) }),
        ..empty()
    };
    let low = Some(("CreditsLow", 7, 100));
    assert_eq!(told(&ledger(400, NOON), &budget, &[], NOON), None, "100 are left of what a refill sets them to");
    assert_eq!(told(&ledger(493, NOON), &budget, &[], NOON), low);
    assert_eq!(told(&ledger(493, NOON), &budget, &[], next), None, "they are 100 again");
    let before = {
        let low = untold(&ledger(493, NOON), std::slice::from_ref(&budget), &[], at(NOON)).unwrap();
        remember(&[], &low, std::slice::from_ref(&budget), at(NOON))
    };
    assert_eq!(told(&ledger(493, NOON), &budget, &before, NOON), None);
    let mut refilled = ledger(493 + 93, next);
    refilled.credits.as_mut().unwrap().refilled = 583;
    assert_eq!(told(&refilled, &budget, &before, next), low, "used up again after it");
}

#[test]
fn what_was_told_lasts_until_something_is_added_or_the_time_is_over() {
    let next = "2026-11-23T00:00:00Z";
    for (budget, now, expected) in [
        (daily(100), NOON, true),
        (daily(99), NOON, true),
        (daily(101), NOON, false),
        (daily(100), next, false),
        (quota(QuotaOf::Tier, 100, Period::Day), NOON, false),
        (quota(QuotaOf::Own, 100, Period::Month), NOON, false),
    ] {
        let told = after(&reserved(&daily(100), 95, NOON), &daily(100), NOON).remove(0);
        assert_eq!(lasts(&told, std::slice::from_ref(&budget), at(now)), expected, "{budget:?} {now}");
    }
    for (refill, budget, now, expected) in [
        (None, credits(100, 0, None), next, true),
        (None, credits(101, 0, None), NOON, false),
        (None, credits(100, 1, None), NOON, false),
        (Some(100), credits(100, 0, Some(100)), NOON, true),
        (Some(100), credits(100, 0, Some(100)), next, false),
    ] {
        let base = credits(100, 0, refill);
        let told = after(&reserved(&base, 95, NOON), &base, NOON).remove(0);
        assert_eq!(lasts(&told, std::slice::from_ref(&budget), at(now)), expected, "{budget:?} {now}");
    }
}

#[test]
fn what_is_over_is_forgotten_with_the_next_that_is_told() {
    let next = "2026-11-23T00:00:00Z";
    let budgets = [daily(100), credits(100, 0, None)];
    let yesterday = after(&reserved(&budgets[0], 95, NOON), &budgets[0], NOON);
    let low = untold(&reserved(&budgets[1], 95, NOON), &budgets, &yesterday, at(NOON)).unwrap();
    let both = remember(&yesterday, &low, &budgets, at(NOON));
    assert_eq!(both, [yesterday[0].clone(), low.told.clone()]);
    assert_eq!(remember(&both, &low, &budgets, at(next)), std::slice::from_ref(&low.told));
    assert_eq!(remember(&both, &low, &budgets[1..], at(NOON)), [low.told]);
}

#[test]
fn the_sentence_says_what_is_left_until_when_and_what_to_raise() {
    for (budget, taken, expected) in [
        (
            daily(500),
            452,
            r#"spec.quotas: 48 of 500 requests of "requests" are left until 2026-11-23T00:00:00Z; for more, raise its limit"#,
        ),
        (
            quota(QuotaOf::Tier, 500, Period::Month),
            500,
            r#"spec.quotas of the ApiKeyTier: all 500 requests of "requests" are handed out, so others are refused with QUOTA_EXCEEDED until 2026-12-01T00:00:00Z; for more, raise its limit there, or choose another tier"#,
        ),
        (credits(1_000, 0, None), 910, "spec.credits: 90 of 1000 are left; for more, raise granted"),
        (
            credits(1_000, 0, Some(100)),
            1_000,
            "spec.credits: all are handed out, so requests that cost any are refused with CREDITS_EXHAUSTED until they are refilled to 100 at 2026-11-23T00:00:00Z; for more, raise granted",
        ),
    ] {
        let low = untold(&reserved(&budget, taken, NOON), &[budget], &[], at(NOON)).unwrap();
        assert_eq!(low.sentence(), expected);
    }
}

#[derive(Clone, Debug)]
enum Act {
    Reserve { budget: usize, need: u64 },
    GiveBack(usize),
    Grant(u64),
    Raise(u64),
    RaiseEpoch,
    Advance(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..2_usize, 1_u64..15).prop_map(|(budget, need)| Act::Reserve { budget, need }),
        2 => any::<prop::sample::Index>().prop_map(|at| Act::GiveBack(at.index(64))),
        2 => (0_u64..60).prop_map(Act::Grant),
        1 => (0_u64..60).prop_map(Act::Raise),
        1 => Just(Act::RaiseEpoch),
        2 => (1_i64..20).prop_map(Act::Advance),
    ];
    prop::collection::vec(act, 1..120)
}

proptest! {
    /// Whatever is handed out, given back and added.
    #[test]
    fn each_budget_is_told_of_at_most_twice_for_each_addition_and_none_is_missed(
        acts in acts(), refill in prop::option::of(1_u64..50)
    ) {
        let (mut ledger, mut now) = (empty(), at(NOON));
        let (mut limit, mut granted, mut epoch) = (50, 40, 0);
        let (mut told, mut chunks) = (Vec::<Told>::new(), Vec::new());
        // How often it was told since the sum of an account was another.
        let mut often: Vec<(Account, u64, u32)> = Vec::new();
        for act in acts {
            let budgets = [daily(limit), credits(granted, epoch, refill)];
            match act {
                Act::Reserve { budget, need } => chunks.extend(ledger.reserve(&budgets[budget], need, 1, now)),
                Act::GiveBack(place) if place < chunks.len() => {
                    let chunk = chunks.remove(place);
                    let _ = ledger.give_back(&chunk, now);
                }
                Act::GiveBack(_) => {}
                Act::Grant(more) => granted += more,
                Act::Raise(more) => limit += more,
                Act::RaiseEpoch => (epoch, granted) = (epoch + 1, 30),
                Act::Advance(hours) => now += jiff::SignedDuration::from_hours(hours),
            }
            let budgets = [daily(limit), credits(granted, epoch, refill)];
            for round in 0.. {
                let Some(low) = untold(&ledger, &budgets, &told, now) else { break };
                prop_assert!(round < 2, "both were told of: {low:?}");
                prop_assert!(low.left * PART <= low.of, "{low:?}");
                prop_assert_eq!(low.told.exhausted, low.left == 0);
                told = remember(&told, &low, &budgets, now);
                prop_assert!(told.len() <= budgets.len() && told.contains(&low.told));
                prop_assert!(lasts(&low.told, &budgets, now));
                let sum = low.told.sum();
                let at = often.iter().position(|(account, before, _)| *account == low.told.account && *before == sum);
                let at = at.unwrap_or_else(|| {
                    often.push((low.told.account.clone(), sum, 0));
                    often.len() - 1
                });
                often[at].2 += 1;
                prop_assert!(often[at].2 <= 2, "{:?}", often[at]);
            }
            for budget in &budgets {
                let Some((line, left, _)) = stand(&ledger, budget, now) else { continue };
                let known = told.iter().any(|told| told.account == line.account && told.exhausted);
                prop_assert!(left > 0 || line.sum() == 0 || known, "{line:?} of {told:?}");
            }
        }
    }
}
