use super::*;

/// What a store would answer that has charged these limits as often as the engine has asked.
#[derive(Default)]
struct Store(HashMap<String, Cells>);

impl Store {
    fn charge(&mut self, request: &StoreRequest, now: i64) -> StoreAnswer {
        let cells_of = |charge: &StoreCharge| self.0.get(&charge.key).copied().unwrap_or_default();
        let charged: Vec<_> =
            request.charges.iter().map(|charge| cells_of(charge).charge(charge.rule, at(now), charge.cost)).collect();
        let admitted = charged.iter().all(Result::is_ok);
        if admitted && request.commit {
            let all = request.charges.iter().zip(charged);
            self.0.extend(all.map(|(charge, cells)| (charge.key.clone(), cells.unwrap())));
        }
        let cells = request.charges.iter().map(|charge| self.0.get(&charge.key).copied().unwrap_or_default());
        StoreAnswer { admitted, at: at(now), cells: cells.collect() }
    }
}

fn answer_of(judgement: Judgement, answer: impl FnOnce(&StoreRequest) -> Result<StoreAnswer, OnStoreError>) -> Verdict {
    match judgement {
        Judgement::Elsewhere(case, inquiry) => {
            let answer = answer(&inquiry.request());
            inquiry.finish(case, answer, Ok(()))
        }
        other => panic!("{other:?}"),
    }
}

/// An engine whose limits are counted elsewhere, with two units of a quota at hand.
fn engine_with_store() -> Engine {
    let limits = vec![limit("a", 3, 60)];
    let quota = Quota { name: "daily".into(), limit: 2, period: Period::Day };
    let engine =
        engine_with(record(|key| (key.rate_limits, key.quotas) = (limits, vec![quota]))).with_limits_elsewhere();
    let mut ledger = Ledger { uid: USAGE.into(), began: at(0), quotas: vec![], credits: None };
    let Judgement::Short(_, shortage) = judge(&engine, 100) else { panic!("nothing is handed out yet") };
    let spender = &shortage.spenders[0];
    let want = spender.wants(0, at(100)).remove(0);
    let reserved = ledger.reserve(&want.budget, 2, 1, at(100));
    assert_eq!(spender.deposit(USAGE, &want, reserved, at(100)), None);
    engine
}

#[test]
fn limits_that_are_counted_elsewhere_refuse_before_quotas_and_charge_nothing_then() {
    let engine = engine_with_store();
    let mut store = Store::default();
    let mut ask = |now| {
        let judgement = judge(&engine, now);
        let Judgement::Short(_, shortage) = judgement else {
            let verdict = answer_of(judgement, |request| Ok(store.charge(request, now)));
            return (verdict.denial.map(|denial| denial.code), verdict.limit.map(|limit| limit.remaining));
        };
        let spender = &shortage.spenders[0];
        let want = spender.wants(0, at(now)).remove(0);
        assert_eq!(spender.deposit(USAGE, &want, Err(Refusal::Exhausted { until: None }), at(now)), None);
        let verdict = answer_of(judge(&engine, now), |request| Ok(store.charge(request, now)));
        (verdict.denial.map(|denial| denial.code), verdict.limit.map(|limit| limit.remaining))
    };
    assert_eq!(ask(100), (None, Some(2)));
    assert_eq!(ask(100), (None, Some(1)));
    assert_eq!(ask(100), (Some(Code::QuotaExceeded), Some(1)), "looked at, not charged");
    let mut other = Store::default();
    other.0.insert(
        "key:u1:a".to_owned(),
        Cells::default().charge(Rule::new(3, Duration::from_mins(1)), at(100), 3).unwrap(),
    );
    let verdict = answer_of(judge(&engine, 100), |request| Ok(other.charge(request, 100)));
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::RateLimited), "limits come before quotas");
}

#[test]
fn without_the_stores_answer_this_process_counts_or_refuses() {
    let engine = engine_with_store();
    let locally = |_: &StoreRequest| Err(OnStoreError::Local);
    let denied = |_: &StoreRequest| Err(OnStoreError::Deny);
    let verdict = answer_of(judge(&engine, 100), denied);
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::Unavailable));
    for remaining in [2, 1] {
        // The refusal has cost nothing.
        let verdict = answer_of(judge(&engine, 100), locally);
        assert_eq!((verdict.denial, verdict.limit.map(|limit| limit.remaining)), (None, Some(remaining)));
    }
}

#[test]
fn what_nobody_waits_for_any_more_costs_nothing() {
    let engine = engine_with_store();
    for _ in 0..5 {
        drop(judge(&engine, 100));
    }
    let verdict = answer_of(judge(&engine, 100), |request| Ok(Store::default().charge(request, 100)));
    assert_eq!(verdict.denial, None);
}
