use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::core::budget::{Credits, Period, Quota};
use crate::core::fixtures;
use crate::core::ledger::{Ledger, Refusal};
use crate::core::owner::Owner;
use crate::core::policy::RateLimit;
use crate::core::ratelimit::{Cells, Rule};
use crate::core::route::RouteCharge;
use crate::verify::allowance::Own;
use crate::verify::fixtures::{at, limit};

const USAGE: &str = "usage";

/// A key and its owner, each with an account.
struct World {
    key: (Account, Arc<Allowance>),
    owner: (Account, Arc<Allowance>),
    processes: u32,
    charges: Vec<RouteCharge>,
    credits: u32,
}

impl World {
    fn new(own: &Own<'_>, owner: &Owner) -> Self {
        let account = |allowance: Allowance| (Account::default(), Arc::new(allowance));
        Self {
            key: account(Allowance::of_key(own, None, None)),
            owner: account(Allowance::of_owner(owner)),
            processes: 1,
            charges: vec![],
            credits: 1,
        }
    }

    /// Of a key with these limits alone.
    fn limited(rate_limits: &[RateLimit]) -> Self {
        Self::new(&Own { rate_limits, ..NOTHING }, &fixtures::owner())
    }

    fn with<R>(&mut self, now: i64, act: impl FnOnce(&mut [Part<'_>], &Spending<'_>) -> R) -> R {
        let demand =
            Demand { now: at(now), charges: &self.charges, processes: NonZeroU32::new(self.processes).unwrap() };
        let spending = Spending { demand, credits: self.credits, limits_elsewhere: false };
        let (key, owner) = (&mut self.key, &mut self.owner);
        let shadow = Shadow::default();
        let mut parts = [
            Part { account: &mut key.0, allowance: &key.1, usage: Some(USAGE), shadow },
            Part { account: &mut owner.0, allowance: &owner.1, usage: Some(USAGE), shadow },
        ];
        act(&mut parts, &spending)
    }

    fn charge(&mut self, now: i64) -> Outcome {
        self.with(now, charge)
    }

    fn passes(&mut self, now: i64) -> bool {
        self.charge(now) == Outcome::Charged
    }

    fn closest(&mut self, now: i64) -> Option<LimitState> {
        self.with(now, |parts, spending| closest(parts, &spending.demand))
    }

    fn remaining(&mut self, now: i64) -> Option<(String, u32)> {
        self.closest(now).map(|state| (state.name.to_string(), state.remaining))
    }

    /// What every budget is granted, is handed out here, and then there is no more.
    fn hand_out_everything(&mut self, now: i64) {
        self.with(now, |parts, _| follow(parts));
        for (account, allowance) in [&mut self.key, &mut self.owner] {
            let mut ledger = Ledger { uid: USAGE.into(), began: at(0), quotas: vec![], credits: None };
            for (place, budget) in allowance.budgets.iter().enumerate() {
                let purse = account.purse.as_mut().unwrap();
                let all = match budget {
                    Budget::Quota { quota, .. } => quota.limit,
                    Budget::Credits(credits) => credits.granted,
                };
                if all > 0 {
                    purse.deposit(place, all, ledger.reserve(budget, all, 1, at(now)), at(now));
                }
            }
        }
        self.hand_out_nothing(now);
    }

    fn hand_out_nothing(&mut self, now: i64) {
        for (account, allowance) in [&mut self.key, &mut self.owner] {
            for place in 0..allowance.budgets.len() {
                let purse = account.purse.as_mut().unwrap();
                purse.deposit(place, 1, Err(Refusal::Exhausted { until: None }), at(now));
            }
        }
    }

    /// The code of the refusal, where nothing more is handed out to anybody.
    fn code(&mut self, now: i64) -> Option<Code> {
        match self.charge(now) {
            Outcome::Charged => None,
            Outcome::Short => {
                self.hand_out_nothing(now);
                self.code(now)
            }
            refusal @ Outcome::Refused(_) => Some(refused(refusal).0),
        }
    }
}

const NOTHING: Own<'static> = Own { rate_limits: &[], quotas: &[], credits: None, is_at_home: true };

fn quota(name: &str, limit: u64) -> Quota {
    Quota { name: name.into(), limit, period: Period::Month }
}

fn refused(outcome: Outcome) -> (Code, Option<u32>) {
    match outcome {
        Outcome::Refused(denial) => (denial.code, denial.retry_after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refused_request_charges_nothing() {
    let mut world = World::limited(&[limit("wide", 10, 60), limit("narrow", 1, 10)]);
    assert!(world.passes(0));
    for _ in 0..5 {
        // The narrow one has room again when the cell after this one has begun to wane.
        assert_eq!(refused(world.charge(0)), (Code::RateLimited, Some(20)));
    }
    assert!(world.passes(20));
    assert_eq!(world.remaining(40), Some(("narrow".into(), 1)));
    world.key.1 = World::limited(&[limit("wide", 10, 60)]).key.1;
    assert_eq!(world.remaining(40), Some(("wide".into(), 8)));
}

#[test]
fn the_longest_wait_counts_and_the_limit_closest_to_exhaustion_is_told() {
    let mut world = World::limited(&[limit("a", 1, 10), limit("b", 1, 60), limit("c", 9, 1)]);
    let b = LimitState { name: "b".into(), limit: 1, remaining: 0, reset_after: 120, window: 60 };
    assert_eq!((world.passes(0), world.closest(0)), (true, Some(b)));
    assert_eq!(refused(world.charge(0)), (Code::RateLimited, Some(120)));
}

#[test]
fn without_an_allowance_everything_passes() {
    let mut world = World::limited(&[]);
    assert_eq!((world.passes(0), world.closest(0)), (true, None));
}

#[test]
fn a_limit_that_does_not_apply_by_itself_is_charged_what_the_route_says() {
    let named = RateLimit { auto_apply: false, ..limit("search", 10, 60) };
    let mut world = World::limited(&[named, limit("all", 100, 60)]);
    assert_eq!((world.passes(0), world.remaining(0)), (true, Some(("all".into(), 99))));
    let charge = |limit: &str, cost| RouteCharge { limit: limit.into(), cost };
    world.charges = vec![charge("search", 4), charge("nobody has this one", 1_000)];
    assert_eq!((world.passes(0), world.remaining(0)), (true, Some(("search".into(), 6))));
    world.charges = vec![charge("search", 0)];
    assert_eq!((world.passes(0), world.remaining(0)), (true, Some(("search".into(), 6))), "looks only");
    world.charges = vec![charge("search", 7)];
    assert_eq!(refused(world.charge(0)).0, Code::RateLimited);
    world.charges = vec![charge("all", 50)];
    assert_eq!((world.passes(0), world.remaining(0)), (true, Some(("all".into(), 47))), "instead of the usual one");
}

#[test]
fn an_owners_limit_is_charged_together_with_the_keys_or_not_at_all() {
    let owner = Owner { rate_limits: vec![limit("shared", 2, 60)], ..fixtures::owner() };
    let own = [limit("own", 5, 60)];
    let mut world = World::new(&Own { rate_limits: &own, ..NOTHING }, &owner);
    assert_eq!((world.passes(0), world.remaining(0)), (true, Some(("shared".into(), 1))));
    // Another key of the same owner.
    world.key = (Account::default(), Arc::clone(&world.key.1));
    assert_eq!((world.passes(0), world.passes(0)), (true, false));
    world.owner.1 = Arc::default();
    assert_eq!(world.remaining(0), Some(("own".into(), 4)), "the refused request has charged neither");
}

#[test]
fn each_process_gives_away_its_share_of_a_limit() {
    let mut world = World::limited(&[limit("a", 10, 60)]);
    world.processes = 4;
    assert_eq!([(); 4].map(|()| world.passes(0)), [true, true, true, false]);
    assert_eq!(world.closest(0).map(|state| (state.limit, state.remaining)), Some((10, 0)));
    world.processes = 2;
    assert_eq!([(); 3].map(|()| world.passes(0)), [true, true, false]);
}

#[test]
fn what_was_charged_survives_a_change_of_limits() {
    let mut world = World::limited(&[limit("a", 10, 60), limit("b", 10, 60), limit("c", 10, 60)]);
    assert_eq!([(); 4].map(|()| world.passes(0)), [true; 4]);
    world.key.1 = World::limited(&[limit("b", 20, 60), limit("a", 30, 60)]).key.1;
    assert_eq!(world.remaining(0), Some(("b".into(), 16)));
    world.key.1 = World::limited(&[limit("a", 10, 61)]).key.1;
    assert_eq!(world.remaining(0), Some(("a".into(), 10)));
}

#[test]
fn limits_come_before_quotas_and_these_before_credits() {
    let own = Own {
        rate_limits: &[limit("a", 2, 60)],
        quotas: &[quota("q", 3)],
        credits: Some(Credits { granted: 1, epoch: 0, refill: None }),
        is_at_home: true,
    };
    let mut world = World::new(&own, &fixtures::owner());
    assert_eq!(world.charge(0), Outcome::Short, "nothing is handed out yet");
    world.hand_out_everything(0);
    assert!(world.passes(0));
    assert_eq!(refused(world.charge(0)), (Code::CreditsExhausted, None));
    world.credits = 0;
    assert!(world.passes(0));
    assert_eq!(world.code(0), Some(Code::RateLimited));
    assert_eq!([(); 2].map(|()| world.code(120)), [None, Some(Code::QuotaExceeded)]);
    world.credits = 1;
    assert_eq!(world.code(120), Some(Code::QuotaExceeded));
}

#[test]
fn nothing_is_said_of_credits_while_it_is_not_known_whether_a_quota_is_used_up() {
    let own =
        Own { quotas: &[quota("q", 3)], credits: Some(Credits { granted: 0, epoch: 0, refill: None }), ..NOTHING };
    let mut world = World::new(&own, &fixtures::owner());
    world.hand_out_everything(0);
    assert_eq!(refused(world.charge(0)).0, Code::CreditsExhausted);
    // The quota is raised.
    world.key.1 = World::new(&Own { quotas: &[quota("q", 9)], ..own }, &fixtures::owner()).key.1;
    for _ in 0..3 {
        world.credits = 0;
        assert!(world.passes(0));
    }
    world.credits = 1;
    assert_eq!(world.charge(0), Outcome::Short);
}

#[test]
fn without_an_apikeyusage_nothing_can_be_spent() {
    let mut world = World::new(&Own { quotas: &[quota("q", 3)], ..NOTHING }, &fixtures::owner());
    let outcome = world.with(0, |parts, spending| {
        parts[0].usage = None;
        charge(parts, spending)
    });
    assert_eq!(refused(outcome), (Code::Unavailable, None));
}

#[test]
fn what_came_from_another_apikeyusage_is_not_spent() {
    let mut world = World::new(&Own { quotas: &[quota("q", 3)], ..NOTHING }, &fixtures::owner());
    world.hand_out_everything(0);
    assert!(world.passes(0));
    let outcome = world.with(0, |parts, spending| {
        parts[0].usage = Some("another");
        charge(parts, spending)
    });
    assert_eq!(outcome, Outcome::Short);
    assert_eq!(world.charge(0), Outcome::Short, "nor does it come back");
}

#[test]
fn what_is_refunded_can_be_spent_again() {
    let mut world = World::new(&Own { quotas: &[quota("q", 1)], ..NOTHING }, &fixtures::owner());
    world.hand_out_everything(0);
    assert_eq!((world.passes(0), world.passes(0)), (true, false));
    let drawn = world.with(0, |parts, spending| drawn(parts, spending.credits));
    world.with(0, |parts, _| refund(parts, &drawn));
    assert_eq!((world.passes(0), world.passes(0)), (true, false));
}

#[test]
fn exactly_the_limit_is_admitted_however_many_threads_ask() {
    let world = std::sync::Mutex::new(World::limited(&[limit("a", 500, 3_600), limit("b", 900, 3_600)]));
    let admitted: usize = std::thread::scope(|scope| {
        let ask = || (0..250).filter(|_| world.lock().unwrap().passes(0)).count();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(admitted, 500);
    assert_eq!(world.into_inner().unwrap().remaining(0), Some(("a".into(), 0)));
}

/// One limit, counted by itself.
struct Apart {
    rule: Rule,
    cells: Cells,
}

proptest! {
    /// Limits and budgets of a key and of its owner are charged together or not at all, and the first kind that has no
    /// room decides: each is counted by itself here, and charged when all have room.
    #[test]
    fn everything_is_charged_or_nothing(
        sizes in prop::collection::vec((1_u32..8, 1_u64..20), 0..4),
        quotas in prop::collection::vec(1_u64..30, 0..4),
        granted in prop::option::of(0_u64..40),
        split in 0_usize..4,
        steps in prop::collection::vec((0_i64..5, 0_u32..4, 0_u32..4), 0..60),
    ) {
        let limits: Vec<_> = sizes.iter().enumerate().map(|(at, (size, window))| limit(&at.to_string(), *size, *window)).collect();
        let quotas: Vec<_> = quotas.iter().enumerate().map(|(at, limit)| quota(&at.to_string(), *limit)).collect();
        let (own_limits, shared_limits) = limits.split_at(split.min(limits.len()));
        let (own_quotas, shared_quotas) = quotas.split_at(split.min(quotas.len()));
        let credits = granted.map(|granted| Credits { granted, epoch: 0, refill: None });
        let own = Own { rate_limits: own_limits, quotas: own_quotas, credits, is_at_home: true };
        let owner = Owner { rate_limits: shared_limits.to_vec(), quotas: shared_quotas.to_vec(), ..fixtures::owner() };
        let mut world = World::new(&own, &owner);
        world.credits = 1;
        world.hand_out_everything(1_000);

        let mut apart: Vec<_> = limits
            .iter()
            .map(|limit| Apart { rule: Rule::new(limit.limit, limit.window), cells: Cells::default() })
            .collect();
        let mut left: Vec<_> = quotas.iter().map(|quota| quota.limit).collect();
        let mut balance = granted;
        let mut now = 1_000;
        for (step, cost, credits) in steps {
            now += step;
            world.charges = limits.iter().map(|limit| RouteCharge { limit: Arc::clone(&limit.name), cost }).collect();
            world.credits = credits;
            let charged: Vec<_> = apart.iter().map(|it| it.cells.charge(it.rule, at(now), cost)).collect();
            let expected = if charged.iter().any(Result::is_err) {
                Some(Code::RateLimited)
            } else if left.contains(&0) {
                Some(Code::QuotaExceeded)
            } else if balance.is_some_and(|balance| balance < credits.into()) {
                Some(Code::CreditsExhausted)
            } else {
                None
            };
            prop_assert_eq!(world.code(now), expected);
            if expected.is_none() {
                apart.iter_mut().zip(charged).for_each(|(it, cells)| it.cells = cells.unwrap());
                left.iter_mut().for_each(|left| *left -= 1);
                balance = balance.map(|balance| balance - u64::from(credits));
            }
            let fewest = apart.iter().map(|it| it.cells.standing(it.rule, at(now)).remaining).min();
            prop_assert_eq!(world.closest(now).map(|state| state.remaining), fewest);
        }
    }
}
