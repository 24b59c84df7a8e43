//! Processes that reserve, spend, give back and die in any order, with clocks of their own, while people change
//! limits: kept accounts of, apart from the ledger.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::core::budget::{Interval, Period, Refill};

const PROCESSES: usize = 3;
const REFILL: u64 = 40;

#[derive(Clone, Debug)]
enum Event {
    Reserve {
        process: usize,
        budget: Index,
        need: u64,
    },
    /// The answer to it does not arrive.
    LostReserve {
        process: usize,
        budget: Index,
    },
    ReserveNext {
        process: usize,
    },
    Spend {
        process: usize,
        chunk: Index,
        amount: u64,
    },
    GiveBack {
        process: usize,
        chunk: Index,
    },
    Crash {
        process: usize,
    },
    SetClock {
        process: usize,
        ahead: i64,
    },
    Advance {
        hours: i64,
    },
    Limit(u64),
    Grant(u64),
    RaiseEpoch,
}

fn harmless() -> BoxedStrategy<Event> {
    let process = || 0..PROCESSES;
    prop_oneof![
        6 => (process(), any::<Index>(), 0_u64..20)
            .prop_map(|(process, budget, need)| Event::Reserve { process, budget, need }),
        1 => process().prop_map(|process| Event::ReserveNext { process }),
        4 => (process(), any::<Index>(), 0_u64..20)
            .prop_map(|(process, chunk, amount)| Event::Spend { process, chunk, amount }),
        3 => (process(), any::<Index>()).prop_map(|(process, chunk)| Event::GiveBack { process, chunk }),
    ]
    .boxed()
}

fn any_event() -> BoxedStrategy<Event> {
    let process = || 0..PROCESSES;
    prop_oneof![
        20 => harmless(),
        1 => (process(), any::<Index>()).prop_map(|(process, budget)| Event::LostReserve { process, budget }),
        1 => process().prop_map(|process| Event::Crash { process }),
        1 => (process(), -60_i64..60).prop_map(|(process, ahead)| Event::SetClock { process, ahead }),
        3 => (1_i64..30).prop_map(|hours| Event::Advance { hours }),
        1 => (1_u64..200).prop_map(Event::Limit),
        1 => (0_u64..50).prop_map(Event::Grant),
        1 => Just(Event::RaiseEpoch),
    ]
    .boxed()
}

struct World {
    ledger: Ledger,
    now: Timestamp,
    /// By how many hours the clock of each is ahead.
    ahead: [i64; PROCESSES],
    chunks: [Vec<Chunk>; PROCESSES],
    quota: Quota,
    credits: Credits,
    /// What was handed out and not given back since.
    handed_out: HashMap<Account, u64>,
    spent: HashMap<Account, u64>,
    /// The latest that any clock has shown.
    latest: Timestamp,
}

impl World {
    fn new() -> Self {
        let began: Timestamp = "2024-02-27T10:00:00Z".parse().unwrap();
        Self {
            ledger: Ledger { uid: "u1".into(), began, quotas: vec![], credits: None },
            now: began,
            ahead: [0; PROCESSES],
            chunks: Default::default(),
            quota: Quota { name: "daily".into(), limit: 100, period: Period::Day },
            credits: Credits {
                granted: 100,
                epoch: 0,
                refill: Some(Refill { interval: Interval::Daily, amount: REFILL }),
            },
            handed_out: HashMap::new(),
            spent: HashMap::new(),
            latest: began,
        }
    }

    fn budgets(&self) -> [Budget; 3] {
        let month = Quota { name: "monthly".into(), limit: 300, period: Period::Month };
        [
            Budget::Quota { of: QuotaOf::Own, quota: self.quota.clone() },
            Budget::Quota { of: QuotaOf::Tier, quota: month },
            Budget::Credits(self.credits),
        ]
    }

    fn clock(&mut self, process: usize) -> Timestamp {
        let now = self.now + SignedDuration::from_hours(self.ahead[process]);
        self.latest = self.latest.max(now);
        now
    }

    fn reserve(&mut self, process: usize, budget: &Budget, need: u64) -> Option<Chunk> {
        let now = self.clock(process);
        let before = self.ledger.clone();
        let Ok(chunk) = self.ledger.reserve(budget, need, PROCESSES, now) else {
            assert_eq!(self.ledger, before, "a refusal changes nothing");
            return None;
        };
        assert!(chunk.amount >= need.max(1) && chunk.covers(now), "{chunk:?}");
        self.note(&chunk, budget);
        Some(chunk)
    }

    /// Nothing is handed out that was not there.
    fn note(&mut self, chunk: &Chunk, budget: &Budget) {
        let sum = self.handed_out.entry(chunk.account.clone()).or_default();
        *sum += chunk.amount;
        let there = match budget {
            Budget::Quota { quota, .. } => quota.limit,
            Budget::Credits(credits) => {
                let line = self.ledger.credits.as_ref().unwrap();
                assert_eq!(line.reserved, *sum);
                let refills = (self.latest.as_second() - self.ledger.began.as_second()).div_euclid(86_400) + 1;
                assert!(line.refilled <= REFILL * u64::try_from(refills).unwrap(), "once a day at most: {line:?}");
                credits.granted + line.refilled
            }
        };
        assert!(*sum <= there, "{sum} of {there} of {:?} are handed out", chunk.account);
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Reserve { process, budget, need } => {
                let budget = budget.get(&self.budgets()).clone();
                let chunk = self.reserve(process, &budget, need);
                self.chunks[process].extend(chunk);
            }
            Event::LostReserve { process, budget } => {
                let budget = budget.get(&self.budgets()).clone();
                self.reserve(process, &budget, 1);
            }
            Event::ReserveNext { process } => {
                let now = self.clock(process);
                let [budget, ..] = self.budgets();
                if let Some(chunk) = self.ledger.reserve_next(&budget, PROCESSES, now) {
                    assert!(!chunk.covers(now) && chunk.begins > Some(now), "{chunk:?}");
                    self.note(&chunk, &budget);
                    self.chunks[process].push(chunk);
                }
            }
            Event::Spend { process, chunk, amount } => {
                let now = self.clock(process);
                let mut usable: Vec<_> = self.chunks[process].iter_mut().filter(|chunk| chunk.covers(now)).collect();
                if !usable.is_empty() {
                    let at = chunk.index(usable.len());
                    spend(usable.swap_remove(at), amount, &mut self.spent);
                }
            }
            Event::GiveBack { process, chunk } => {
                if !self.chunks[process].is_empty() {
                    let at = chunk.index(self.chunks[process].len());
                    let chunk = self.chunks[process].remove(at);
                    self.give_back(process, &chunk);
                }
            }
            Event::Crash { process } => self.chunks[process].clear(),
            Event::SetClock { process, ahead } => self.ahead[process] = ahead,
            Event::Advance { hours } => self.now += SignedDuration::from_hours(hours),
            Event::Limit(limit) => self.quota.limit = limit,
            Event::Grant(more) => self.credits.granted += more,
            Event::RaiseEpoch => self.credits.epoch += 1,
        }
    }

    fn give_back(&mut self, process: usize, chunk: &Chunk) {
        let now = self.clock(process);
        if self.ledger.give_back(chunk, now) {
            *self.handed_out.get_mut(&chunk.account).unwrap() -= chunk.amount;
        }
    }
}

fn spend(chunk: &mut Chunk, amount: u64, spent: &mut HashMap<Account, u64>) {
    let amount = amount.min(chunk.amount);
    chunk.amount -= amount;
    *spent.entry(chunk.account.clone()).or_default() += amount;
}

proptest! {
    #[test]
    fn nothing_is_handed_out_twice_whatever_happens(events in prop::collection::vec(any_event(), 1..120)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
        }
    }

    #[test]
    fn where_nothing_is_lost_all_of_it_can_be_spent(events in prop::collection::vec(harmless(), 1..80)) {
        let mut world = World::new();
        for event in events {
            world.apply(event);
        }
        for process in 0..PROCESSES {
            for chunk in std::mem::take(&mut world.chunks[process]) {
                world.give_back(process, &chunk);
            }
        }
        let now = world.now;
        for (budget, whole) in world.budgets().iter().zip([100, 300, 100]) {
            let account = match budget {
                Budget::Quota { of, quota } => Account::Quota(account(*of, quota, CalendarPeriod::of(quota.period, now))),
                Budget::Credits(credits) => Account::Credits { epoch: credits.epoch },
            };
            while let Some(mut chunk) = world.reserve(0, budget, 1) {
                prop_assert_eq!(&chunk.account, &account);
                spend(&mut chunk, u64::MAX, &mut world.spent);
            }
            prop_assert_eq!(world.spent.get(&account), Some(&whole));
        }
    }
}
