use super::*;
use crate::core::budget::{Interval, Period, Refill};

const NOON: &str = "2026-11-22T12:00:00Z";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn empty() -> Ledger {
    Ledger { uid: "u1".into(), began: at("2026-11-20T09:00:00Z"), quotas: vec![], credits: None }
}

fn quota(limit: u64, period: Period) -> Budget {
    named("requests", QuotaOf::Own, limit, period)
}

fn named(name: &str, of: QuotaOf, limit: u64, period: Period) -> Budget {
    Budget::Quota { of, quota: Quota { name: name.into(), limit, period } }
}

fn credits(granted: u64, epoch: u64, refill: Option<(Interval, u64)>) -> Budget {
    Budget::Credits(Credits { granted, epoch, refill: refill.map(|(interval, amount)| Refill { interval, amount }) })
}

fn daily(granted: u64, amount: u64) -> Budget {
    credits(granted, 0, Some((Interval::Daily, amount)))
}

fn exhausted<T>(until: &str) -> Result<T, Refusal> {
    Err(Refusal::Exhausted { until: Some(at(until)) })
}

/// Reserves for the only process there is; the amount.
fn take(ledger: &mut Ledger, budget: &Budget, need: u64, now: &str) -> Result<u64, Refusal> {
    ledger.reserve(budget, need, 1, at(now)).map(|chunk| chunk.amount)
}

/// Reserves one unit after the other until there is nothing left; how many there were.
fn empty_out(ledger: &mut Ledger, budget: &Budget, now: &str) -> (u64, Refusal) {
    let mut sum = 0;
    loop {
        match take(ledger, budget, 1, now) {
            Ok(amount) => sum += amount,
            Err(refusal) => return (sum, refusal),
        }
    }
}

/// What the credits' line says: epoch, reserved, refilled.
fn balance(ledger: &Ledger) -> Option<(u64, u64, u64)> {
    ledger.credits.as_ref().map(|line| (line.epoch, line.reserved, line.refilled))
}

fn periods(ledger: &Ledger) -> Vec<String> {
    ledger.quotas.iter().map(|line| line.account.period.to_string()).collect()
}

#[test]
fn what_is_not_there_is_not_handed_out_and_a_refusal_changes_nothing() {
    for (budget, need, refused) in [
        (quota(100, Period::Day), 101, exhausted("2026-11-23T00:00:00Z")),
        (quota(100, Period::Month), 101, exhausted("2026-12-01T00:00:00Z")),
        (credits(100, 0, None), 101, Err(Refusal::Exhausted { until: None })),
        (credits(0, 0, None), 0, Err(Refusal::Exhausted { until: None })),
        (daily(100, 100), 101, exhausted("2026-11-23T00:00:00Z")),
        (credits(0, 0, Some((Interval::Monthly { day: 31 }, 5))), 6, exhausted("2026-11-30T00:00:00Z")),
    ] {
        let mut ledger = empty();
        assert_eq!(take(&mut ledger, &budget, need, NOON), refused, "{budget:?}");
        assert_eq!(ledger, empty(), "{budget:?}");
    }
}

#[test]
fn a_chunk_is_what_is_needed_or_a_share_of_what_is_left() {
    for (left, need, living, amount) in [
        (1_000, 1, 1, 50),
        (1_000, 1, 4, 13),
        (1_000, 1, 0, 50),
        (1_000, 70, 1, 70),
        (1_000, 1_000, 4, 1_000),
        (1, 1, 1, 1),
        (1, 0, 1, 1),
        (20, 1, 1, 1),
        (21, 1, 1, 2),
        (1_000, 1, usize::MAX, 1),
        (1_000_000_000_000_000, 1, 1, 50_000_000_000_000),
    ] {
        for budget in [quota(left, Period::Day), credits(left, 0, None)] {
            let chunk = empty().reserve(&budget, need, living, at(NOON)).unwrap();
            assert_eq!(chunk.amount, amount, "{left} {need} {living}");
        }
    }
}

#[test]
fn those_that_wait_together_get_what_there_is_as_long_as_it_helps_one() {
    for (left, least, wanted, amount) in
        [(1_000, 1, 64, Ok(64)), (1_000, 1, 2, Ok(50)), (10, 5, 64, Ok(10)), (4, 5, 64, Err(())), (9, 0, 0, Ok(1))]
    {
        let chunk = empty().reserve(&quota(left, Period::Month), Need { least, wanted }, 1, at(NOON));
        assert_eq!(chunk.map(|chunk| chunk.amount).map_err(drop), amount, "{left} {least} {wanted}");
    }
}

#[test]
fn a_chunk_says_what_it_is_of_and_when_it_is_spent() {
    let chunk = |account, amount, begins: Option<&str>, lapses: Option<&str>, refilled| Chunk {
        account,
        amount,
        begins: begins.map(at),
        lapses: lapses.map(at),
        ledger: "u1".into(),
        refilled,
    };
    let of_day = |of, period: &str| {
        Account::Quota(QuotaAccount { of, name: "requests".into(), period: period.parse().unwrap() })
    };
    let mut ledger = empty();
    let evening = at("2026-11-22T21:36:00Z");
    let (today, tomorrow, after) = ("2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z");
    let own = quota(100, Period::Day);
    assert_eq!(
        ledger.reserve(&own, 1, 1, evening),
        Ok(chunk(of_day(QuotaOf::Own, "2026-11-22"), 5, Some(today), Some(tomorrow), 0))
    );
    assert_eq!(
        ledger.reserve_next(&own, 2, evening),
        Some(chunk(of_day(QuotaOf::Own, "2026-11-23"), 3, Some(tomorrow), Some(after), 0))
    );
    let of_tier = named("requests", QuotaOf::Tier, 200, Period::Month);
    assert_eq!(
        ledger.reserve(&of_tier, 1, 1, evening),
        Ok(chunk(of_day(QuotaOf::Tier, "2026-11"), 10, Some("2026-11-01T00:00:00Z"), Some("2026-12-01T00:00:00Z"), 0))
    );
    assert_eq!(
        ledger.reserve(&credits(100, 7, None), 1, 1, evening),
        Ok(chunk(Account::Credits { epoch: 7 }, 5, None, None, 0))
    );
    let mut ledger = empty();
    assert_eq!(
        ledger.reserve(&daily(10, 100), 1, 1, evening),
        Ok(chunk(Account::Credits { epoch: 0 }, 5, None, Some(tomorrow), 90))
    );
}

#[test]
fn a_chunk_is_spent_between_its_instants() {
    let mut ledger = empty();
    let chunk = ledger.reserve_next(&quota(9, Period::Day), 1, at("2026-11-22T23:00:00Z")).unwrap();
    for (now, covered) in [
        ("2026-11-22T23:59:59.9Z", false),
        ("2026-11-23T00:00:00Z", true),
        ("2026-11-23T23:59:59.9Z", true),
        ("2026-11-24T00:00:00Z", false),
    ] {
        assert_eq!(chunk.covers(at(now)), covered, "{now}");
    }
    let period = "2026-11-23".parse().unwrap();
    assert_eq!((chunk.period(), chunk.is_forfeited(at("2026-11-23T23:59:59.9Z"))), (Some(period), false));
    assert!(chunk.is_forfeited(at("2026-11-24T00:00:00Z")));
    let unlimited = ledger.reserve(&credits(9, 0, None), 1, 1, at(NOON)).unwrap();
    assert_eq!((unlimited.period(), unlimited.is_forfeited(Timestamp::MAX)), (None, false));
    assert!([Timestamp::MIN, Timestamp::MAX].into_iter().all(|now| unlimited.covers(now)));
}

#[test]
fn the_next_period_is_begun_in_the_last_tenth_of_this_one_if_there_is_anything_in_it() {
    let mut ledger = empty();
    let budget = quota(1, Period::Month);
    assert_eq!(ledger.reserve_next(&credits(9, 0, None), 1, at(NOON)), None);
    assert_eq!(ledger.reserve_next(&budget, 1, at("2026-11-27T23:59:59Z")), None);
    assert!(ledger.reserve_next(&budget, 1, at("2026-11-28T00:00:00Z")).is_some());
    assert_eq!(ledger.reserve_next(&budget, 1, at("2026-11-28T00:00:00Z")), None, "nothing is left in it");
    assert_eq!(periods(&ledger), ["2026-12"]);
}

#[test]
fn a_limit_that_is_lowered_or_raised_counts_what_was_handed_out() {
    let mut ledger = empty();
    let day = |limit| quota(limit, Period::Day);
    assert_eq!(empty_out(&mut ledger, &day(100), NOON).0, 100);
    for limit in [1, 99, 100] {
        assert_eq!(take(&mut ledger, &day(limit), 1, NOON), exhausted("2026-11-23T00:00:00Z"));
    }
    assert_eq!(empty_out(&mut ledger, &day(120), NOON).0, 20);
    for granted in [100, 50] {
        let (taken, _) = empty_out(&mut ledger, &credits(granted, 0, None), NOON);
        assert_eq!(taken, if granted == 100 { 100 } else { 0 });
    }
    assert_eq!(empty_out(&mut ledger, &credits(130, 0, None), NOON).0, 30);
}

#[test]
fn every_period_of_every_quota_is_a_line_of_its_own_and_the_two_newest_are_kept() {
    let mut ledger = empty();
    for (budget, now) in [
        (quota(10, Period::Day), "2026-11-22T12:00:00Z"),
        (quota(10, Period::Month), "2026-11-22T12:00:00Z"),
        (named("requests", QuotaOf::Tier, 10, Period::Day), "2026-11-22T12:00:00Z"),
        (named("other", QuotaOf::Own, 10, Period::Day), "2026-11-22T12:00:00Z"),
    ] {
        assert_eq!(empty_out(&mut ledger, &budget, now).0, 10, "{budget:?}");
    }
    let day = quota(10, Period::Day);
    assert_eq!(empty_out(&mut ledger, &day, "2026-11-24T00:00:00Z").0, 10);
    assert_eq!(empty_out(&mut ledger, &day, "2026-11-23T00:00:00Z").0, 10, "never begun before");
    assert_eq!(periods(&ledger), ["2026-11", "2026-11-22", "2026-11-22", "2026-11-24", "2026-11-23"]);
}

#[test]
fn a_clock_that_is_set_back_opens_nothing_again() {
    let mut ledger = empty();
    let day = quota(10, Period::Day);
    for now in ["2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z"] {
        assert_eq!(empty_out(&mut ledger, &day, now).0, 10);
    }
    let before = ledger.clone();
    assert_eq!(take(&mut ledger, &day, 1, "2026-11-21T12:00:00Z"), exhausted("2026-11-22T00:00:00Z"));
    for now in ["2026-11-20T12:00:00Z", "2026-11-19T12:00:00Z", "1970-01-01T00:00:00Z"] {
        assert_eq!(take(&mut ledger, &day, 1, now), Err(Refusal::Behind), "{now}");
    }
    assert_eq!(ledger, before);
    // A refill that was counted is not due again when its instant comes again.
    let refilled = daily(0, 10);
    assert_eq!(empty_out(&mut ledger, &refilled, "2026-11-22T12:00:00Z").0, 10);
    for now in ["2026-11-21T12:00:00Z", "2026-11-22T00:00:00Z", "2026-11-22T12:00:01Z"] {
        assert_eq!(empty_out(&mut ledger, &refilled, now).0, 0, "{now}");
    }
    assert_eq!(empty_out(&mut ledger, &refilled, "2026-11-23T00:00:00Z").0, 10);
}

#[test]
fn lines_of_quotas_that_nobody_has_any_more_make_room_once_they_are_over() {
    let mut ledger = empty();
    let nth = |n: usize, period| named(&format!("n{n}"), QuotaOf::Own, 10, period);
    for n in 0..MOST_LINES {
        let now = if n == 7 { "2026-11-20T12:00:00Z" } else { "2026-11-21T12:00:00Z" };
        assert_eq!(take(&mut ledger, &nth(n, Period::Day), 1, now), Ok(1));
    }
    let before = ledger.clone();
    assert_eq!(take(&mut ledger, &nth(99, Period::Month), 1, "2026-11-21T12:00:00Z"), Err(Refusal::Behind));
    assert_eq!(ledger, before, "a month that has begun before is no reason to forget a day");
    assert_eq!(take(&mut ledger, &nth(99, Period::Day), 1, "2026-11-21T12:00:00Z"), Ok(1));
    assert!(ledger.quotas.len() == MOST_LINES && !periods(&ledger).contains(&"2026-11-20".to_owned()));
    assert_eq!(take(&mut ledger, &nth(100, Period::Day), 1, "2026-11-21T12:00:00Z"), Err(Refusal::Behind));
    assert_eq!(take(&mut ledger, &nth(100, Period::Day), 1, "2026-11-22T00:00:00Z"), Ok(1));
}

#[test]
fn a_new_balance_is_what_is_granted_until_a_refill_is_due() {
    for (now, expected) in [("2026-11-20T09:00:00Z", 3), ("2026-11-20T23:59:59Z", 3), ("2026-11-21T00:00:00Z", 10)] {
        assert_eq!(empty_out(&mut empty(), &daily(3, 10), now).0, expected, "{now}");
    }
}

#[test]
fn a_refill_sets_what_is_left_to_its_amount_once() {
    let mut ledger = empty();
    let budget = daily(100, 30);
    assert_eq!(take(&mut ledger, &budget, 60, "2026-11-20T12:00:00Z"), Ok(60));
    // 40 are left, which is more than the amount.
    assert_eq!(take(&mut ledger, &budget, 20, "2026-11-21T00:00:00Z"), Ok(20));
    assert_eq!(balance(&ledger), Some((0, 80, 0)));
    // 20 are left: 10 are added, and no more for days gone by.
    assert_eq!(take(&mut ledger, &budget, 5, "2026-11-25T12:00:00Z"), Ok(5));
    assert_eq!(balance(&ledger), Some((0, 85, 10)));
    assert_eq!(
        empty_out(&mut ledger, &budget, "2026-11-25T23:59:59Z"),
        (25, exhausted::<()>("2026-11-26T00:00:00Z").unwrap_err())
    );
    assert_eq!(empty_out(&mut ledger, &budget, "2026-11-26T00:00:00Z").0, 30);
    assert_eq!(balance(&ledger), Some((0, 140, 40)));
}

#[test]
fn a_refill_lifts_what_is_left_from_below_zero_too() {
    let mut ledger = empty();
    assert_eq!(empty_out(&mut ledger, &credits(100, 0, None), "2026-11-20T12:00:00Z").0, 100);
    assert_eq!(empty_out(&mut ledger, &daily(40, 10), "2026-11-20T13:00:00Z").0, 0);
    assert_eq!(empty_out(&mut ledger, &daily(40, 10), "2026-11-21T00:00:00Z").0, 10);
    assert_eq!(balance(&ledger), Some((0, 110, 70)));
}

#[test]
fn a_refill_that_is_added_later_counts_from_the_last_reservation_on() {
    let mut ledger = empty();
    assert_eq!(empty_out(&mut ledger, &credits(100, 0, None), NOON).0, 100);
    assert_eq!(empty_out(&mut ledger, &daily(100, 10), "2026-11-22T23:59:59Z").0, 0);
    assert_eq!(empty_out(&mut ledger, &daily(100, 10), "2026-11-23T00:00:00Z").0, 10);
}

#[test]
fn an_epoch_owes_nothing_to_the_one_before_and_one_that_is_over_hands_out_nothing() {
    let mut ledger = empty();
    assert_eq!(empty_out(&mut ledger, &daily(100, 100), NOON).0, 100);
    let chunk = ledger.reserve(&credits(100, 1, Some((Interval::Daily, 100))), 7, 1, at(NOON)).unwrap();
    assert_eq!((chunk.amount, balance(&ledger)), (7, Some((1, 7, 0))));
    assert_eq!(take(&mut ledger, &daily(1_000, 100), 1, NOON), Err(Refusal::Behind));
    // The refill of today was counted in the epoch before.
    assert_eq!(empty_out(&mut ledger, &credits(10, 2, Some((Interval::Daily, 100))), NOON).0, 10);
    assert!(!ledger.give_back(&chunk, at(NOON)));
    assert_eq!(balance(&ledger), Some((2, 10, 0)));
}

#[test]
fn what_is_given_back_is_there_for_others() {
    for budget in [quota(100, Period::Day), credits(100, 0, None), daily(100, 20)] {
        let mut ledger = empty();
        let mut chunk = ledger.reserve(&budget, 40, 1, at("2026-11-20T12:00:00Z")).unwrap();
        chunk.amount -= 15;
        assert!(ledger.give_back(&chunk, at("2026-11-20T13:00:00Z")));
        assert_eq!(empty_out(&mut ledger, &budget, "2026-11-20T14:00:00Z").0, 85, "{budget:?}");
    }
}

#[test]
fn what_was_lost_with_a_period_or_a_ledger_stays_lost() {
    let mut ledger = empty();
    let chunk = ledger.reserve(&quota(100, Period::Day), 40, 1, at(NOON)).unwrap();
    let before = ledger.clone();
    let other = Chunk { ledger: "u2".into(), ..chunk.clone() };
    assert!(!ledger.give_back(&other, at(NOON)));
    assert!(!ledger.give_back(&Chunk { amount: 0, ..chunk.clone() }, at(NOON)));
    assert!(!ledger.give_back(&chunk, at("2026-11-23T00:00:00Z")));
    assert_eq!(ledger, before);
    assert!(!empty().give_back(&chunk, at(NOON)), "there is no such line");
}

#[test]
fn what_is_given_back_after_a_refill_counts_as_if_it_had_been_before_or_not_at_all() {
    let (before, after) = ("2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z");
    // A chunk of 40 of which nothing was spent, and what is left to all others after midnight.
    for (granted, amount, others_reserve_first, expected) in [
        // The refill is still to come: what was given back counts as left.
        (100, 70, false, 100),
        (100, 150, false, 150),
        // It has added nothing, so that it makes no difference.
        (100, 50, true, 100),
        // It has set what is left outright: the chunk is not part of it.
        (100, 70, true, 70),
    ] {
        let mut ledger = empty();
        let budget = daily(granted, amount);
        let chunk = ledger.reserve(&budget, 40, 1, at(before)).unwrap();
        let mut sum = 0;
        if others_reserve_first {
            sum += take(&mut ledger, &budget, 5, after).unwrap();
        }
        let kept = ledger.give_back(&chunk, at(after));
        sum += empty_out(&mut ledger, &budget, after).0;
        assert_eq!((sum, kept), (expected, expected != 70), "{granted} {amount} {others_reserve_first}");
    }
}

#[test]
fn sums_stop_at_what_can_be_stored() {
    let mut ledger = empty();
    let most = 1_000_000_000_000_000;
    let mut now = at(NOON);
    let budget = daily(most, most);
    let mut sum = 0;
    for _ in 0..20 {
        while let Ok(chunk) = ledger.reserve(&budget, 1_000_000_000_000, 1, now) {
            sum += chunk.amount;
        }
        now += jiff::SignedDuration::from_hours(24);
    }
    let (_, reserved, refilled) = balance(&ledger).unwrap();
    assert!(reserved == sum && reserved <= MOST && refilled <= MOST, "{ledger:?}");
    assert!(reserved > MOST - 1_000_000_000_000, "all of it could be had");
}
