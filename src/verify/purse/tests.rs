use super::*;
use crate::core::budget::{Credits, Interval, Period, Quota, Refill};
use crate::core::ledger::{Ledger, QuotaOf};
use crate::verify::fixtures::at;

const DAY: i64 = 86_400;

fn daily(limit: u64) -> Budget {
    Budget::Quota { of: QuotaOf::Own, quota: Quota { name: "daily".into(), limit, period: Period::Day } }
}

fn of_the_tier() -> Budget {
    Budget::Quota { of: QuotaOf::Tier, quota: Quota { name: "daily".into(), limit: 1, period: Period::Day } }
}

fn ledger() -> Ledger {
    Ledger { uid: "usage".into(), began: at(0), quotas: vec![], credits: None }
}

/// One budget, one purse, and what it is reserved from.
struct World {
    purse: Purse,
    budget: Budget,
    ledger: Ledger,
}

impl World {
    fn new(budget: Budget) -> Self {
        Self { purse: Purse::new(Some("usage"), 1), budget, ledger: ledger() }
    }

    fn reserve(&mut self, need: u64, now: i64) {
        let reserved = self.ledger.reserve(&self.budget, need, 1, at(now));
        self.purse.deposit(0, need, reserved, at(now));
    }

    fn standing(&mut self, need: u64, now: i64) -> Standing {
        self.purse.standing(0, need, at(now))
    }

    fn spend(&mut self, amount: u64, now: i64) {
        self.purse.spend(0, amount, at(now));
    }
}

#[test]
fn what_is_handed_out_is_spent_and_then_more_is_needed() {
    let mut world = World::new(daily(100));
    assert_eq!(world.standing(1, 0), Standing::Short(1));
    world.reserve(1, 0);
    assert_eq!((world.standing(5, 0), world.standing(6, 0)), (Standing::Enough, Standing::Short(1)));
    world.spend(4, 0);
    assert_eq!(world.standing(3, 0), Standing::Short(2));
    world.reserve(2, 0);
    assert_eq!(world.standing(6, 0), Standing::Enough, "what was left is still there");
}

#[test]
fn a_refusal_is_believed_for_a_while_and_about_no_less_than_was_refused() {
    let mut world = World::new(daily(3));
    world.reserve(5, 0);
    let midnight = Some(at(DAY));
    assert_eq!(world.standing(5, 1), Standing::Exhausted(midnight));
    assert_eq!(world.standing(9, 1), Standing::Exhausted(midnight));
    assert_eq!(world.standing(4, 1), Standing::Short(4));
    assert_eq!(world.standing(5, 15), Standing::Short(5), "others may have given something back");
    world.reserve(5, DAY - 1);
    assert_eq!(world.standing(5, DAY - 1), Standing::Exhausted(midnight));
    assert_eq!(world.standing(5, DAY), Standing::Short(5));
}

#[test]
fn a_clock_that_steps_back_has_not_waited() {
    let mut world = World::new(daily(3));
    world.reserve(5, 100);
    assert_eq!(world.standing(5, 50), Standing::Short(5));
}

#[test]
fn whoever_is_behind_knows_nothing() {
    let mut world = World::new(daily(3));
    world.purse.deposit(0, 1, Err(Refusal::Behind), at(0));
    assert_eq!(world.standing(1, 1), Standing::Unknown);
    world.purse = Purse::new(None, 1);
    assert_eq!(world.standing(1, 1), Standing::Unknown, "there is nothing to reserve from");
}

#[test]
fn a_chunk_lapses_and_the_one_of_the_next_period_takes_its_place() {
    let mut world = World::new(daily(100));
    world.reserve(1, DAY - 100);
    world.spend(1, DAY - 100);
    let next = world.ledger.reserve_next(&world.budget, 1, at(DAY - 100)).unwrap();
    assert_eq!(world.purse.without_next(at(DAY - 100)).collect::<Vec<_>>(), [0]);
    assert_eq!(world.purse.without_next(at(DAY - 99)).count(), 0, "nothing was spent since");
    world.purse.deposit_next(0, next);
    assert_eq!(world.purse.without_next(at(0)).count(), 0);
    assert_eq!((world.standing(4, DAY - 1), world.standing(5, DAY - 1)), (Standing::Enough, Standing::Short(1)));
    assert_eq!((world.standing(5, DAY), world.standing(6, DAY)), (Standing::Enough, Standing::Short(1)));
}

#[test]
fn what_is_idle_or_has_lapsed_is_taken_out_once() {
    let mut world = World::new(Budget::Credits(Credits {
        granted: 100,
        epoch: 0,
        refill: Some(Refill { interval: Interval::Daily, amount: 1 }),
    }));
    world.reserve(1, 0);
    world.spend(2, 10);
    let taken = |world: &mut World, since, now| -> Vec<u64> {
        world.purse.take_idle(at(since), at(now)).iter().map(|(_, chunk)| chunk.amount).collect()
    };
    assert_eq!(taken(&mut world, 10, 20), [0; 0]);
    assert_eq!(taken(&mut world, 11, 20), [3]);
    assert!(world.purse.is_empty());
    assert_eq!(taken(&mut world, 11, 20), [0; 0]);
    world.reserve(1, 30);
    world.spend(1, DAY - 1);
    assert!(!world.purse.is_empty());
    assert_eq!(world.standing(1, DAY), Standing::Short(1));
    assert_eq!(taken(&mut world, 0, DAY), [4], "lapsed, though not idle");
}

#[test]
fn what_is_held_survives_a_change_of_amount_and_no_other() {
    let credits = |granted, epoch| Budget::Credits(Credits { granted, epoch, refill: None });
    let monthly = || match daily(100) {
        Budget::Quota { of, quota } => Budget::Quota { of, quota: Quota { period: Period::Month, ..quota } },
        credits @ Budget::Credits(_) => credits,
    };
    for (before, after, kept) in [
        (daily(100), daily(50), true),
        (daily(100), monthly(), false),
        (daily(100), credits(100, 0), false),
        (credits(100, 0), credits(200, 0), true),
        (credits(100, 0), credits(100, 1), false),
    ] {
        let mut world = World::new(before.clone());
        world.reserve(1, 0);
        world.purse.follow(&[before], &[of_the_tier(), after.clone()]);
        let standing = world.purse.standing(1, 1, at(0));
        assert_eq!(standing == Standing::Enough, kept, "{after:?}");
    }
    let mut world = World::new(daily(3));
    world.reserve(5, 0);
    world.purse.follow(&[daily(3)], &[daily(9)]);
    assert_eq!(world.standing(5, 1), Standing::Short(5), "the refusal was about another amount");
}

#[test]
fn nothing_comes_back_to_another_period_or_another_apikeyusage() {
    let mut world = World::new(daily(100));
    world.reserve(1, DAY - 100);
    world.spend(1, DAY - 100);
    let drawn = world.purse.drawn(0, 1).unwrap();
    world.purse.refund(&drawn);
    assert_eq!((world.standing(5, DAY - 1), world.standing(6, DAY - 1)), (Standing::Enough, Standing::Short(1)));
    world.spend(1, DAY - 1);
    assert_eq!(world.standing(5, DAY), Standing::Short(5));
    world.reserve(1, DAY);
    world.purse.refund(&drawn);
    assert_eq!((world.standing(5, DAY), world.standing(6, DAY)), (Standing::Enough, Standing::Short(1)));
    let mut another = World { ledger: Ledger { uid: "another".into(), ..ledger() }, ..World::new(daily(100)) };
    another.reserve(1, DAY - 100);
    another.purse.refund(&drawn);
    assert_eq!(another.standing(6, DAY - 1), Standing::Short(1));
}
