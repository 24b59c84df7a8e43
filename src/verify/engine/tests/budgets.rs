use super::*;

fn metered(granted: u64) -> KeyRecord {
    record(|key| {
        key.quotas = vec![Quota { name: "daily".into(), limit: 2, period: Period::Day }];
        key.credits = Some(Credits { granted, epoch: 0, refill: None });
    })
}

/// Hands out what the request was short of, as long as there is any.
fn supply(ledger: &mut Ledger, shortage: &Shortage, now: i64) {
    for spender in &shortage.spenders {
        for want in spender.wants(shortage.credits, at(now)) {
            let reserved = ledger.reserve(&want.budget, want.need, 1, at(now));
            assert_eq!(spender.deposit(USAGE, &want, reserved, at(now)), None);
        }
    }
}

const DAY: i64 = 86_400;

#[test]
fn what_is_short_is_asked_for_and_the_request_judged_again() {
    let engine = engine_with(metered(3));
    let mut ledger = Ledger { uid: USAGE.into(), began: at(0), quotas: vec![], credits: None };
    let mut answer = |now| {
        let mut attempts = 0;
        loop {
            match judge(&engine, now) {
                Judgement::Short(_, shortage) if attempts < 4 => supply(&mut ledger, &shortage, now),
                judgement => return judgement.alone().denial.map(|denial| (denial.code, denial.retry_after)),
            }
            attempts += 1;
        }
    };
    assert_eq!([answer(100), answer(100)], [None, None]);
    assert_eq!(answer(100), Some((Code::QuotaExceeded, u32::try_from(DAY - 100).ok())));
    assert_eq!(answer(DAY), None);
    assert_eq!(answer(DAY), Some((Code::CreditsExhausted, None)));
    let usage = only_used(&engine.index).take();
    assert_eq!(usage.requests.total, 3);
    assert_eq!(usage.denied, [("CREDITS_EXHAUSTED".to_owned(), 1), ("QUOTA_EXCEEDED".to_owned(), 1)].into());
}

#[test]
fn what_does_not_come_in_time_is_unavailable_and_costs_nothing() {
    let engine = engine_with(metered(3));
    assert_eq!(judge(&engine, 100).alone().denial.map(|denial| denial.code), Some(Code::Unavailable));
    let usage = only_used(&engine.index).take();
    assert_eq!((usage.requests.total, usage.denied.get("UNAVAILABLE")), (0, Some(&1)));
}

#[test]
fn only_those_who_have_quotas_or_credits_are_asked_for_more() {
    let quota = || vec![Quota { name: "daily".into(), limit: 2, period: Period::Day }];
    for (of_key, of_owner, expected) in
        [(quota(), vec![], &["u1"][..]), (vec![], quota(), &["owner"]), (quota(), quota(), &["u1"])]
    {
        let owner = Owner {
            uid: "owner".into(),
            rate_limits: vec![limit("shared", 9, 60)],
            quotas: of_owner,
            usage: Some("usage-of-owner".into()),
            ..fixtures::owner()
        };
        let engine = engine(index_with_owner(vec![record(|key| key.quotas = of_key)], owner));
        let Judgement::Short(_, shortage) = judge(&engine, 100) else { panic!("nothing is handed out yet") };
        let short = shortage.spenders.iter().filter(|spender| !spender.wants(1, at(100)).is_empty());
        assert_eq!(short.map(Spender::uid).collect::<Vec<_>>(), expected);
    }
}
