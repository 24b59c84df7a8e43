//! The script against `core::ratelimit`, in the same words: what it admits, and what it leaves behind.

use jiff::Timestamp;
use keyturn::core::ratelimit::{Cells, Rule};
use keyturn::store::Store;
use keyturn::verify::store::{LimitStore, StoreCharge, StoreRequest};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use redis::aio::MultiplexedConnection;
use smallvec::SmallVec;
use tokio::runtime::Runtime;

use super::{connected_to, request};
use crate::support::redis::Redis;

/// In milliseconds: so short that cells pass by, and so long that products are beyond what a double holds.
fn window() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..30, 1_000_u64..3_000, Just(3_600_000), 2_591_000_000_u64..=2_592_000_000]
}

fn count() -> impl Strategy<Value = u32> {
    prop_oneof![0_u32..5, any::<u32>(), (u32::MAX - 2)..=u32::MAX]
}

fn rule(limit: u32, window: u64) -> Rule {
    Rule::new(limit, std::time::Duration::from_millis(window))
}

/// The cells as they stand at that instant, so that what differs in nothing that counts is the same.
fn brought_up(cells: Cells, window: u64, at: Timestamp) -> (Option<Cells>, u32, u32) {
    let wide = rule(u32::MAX, window);
    let standing = cells.standing(wide, at);
    (cells.charge(wide, at, 0).ok(), standing.remaining, standing.reset_after)
}

struct World {
    runtime: Runtime,
    _server: Redis,
    store: Store,
    raw: MultiplexedConnection,
    cases: std::cell::Cell<u32>,
}

impl World {
    fn start() -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let (server, store, raw) = runtime.block_on(async {
            let server = Redis::start().await;
            let store = connected_to(&server).await;
            let client = redis::Client::open(format!("redis://{}", server.address())).expect("the address is one");
            let raw = client.get_multiplexed_async_connection().await.expect("the server answers");
            (server, store, raw)
        });
        Self { runtime, _server: server, store, raw, cases: 0.into() }
    }

    /// A tag that no other case has.
    fn tag(&self) -> String {
        self.cases.set(self.cases.get() + 1);
        format!("case-{}", self.cases.get())
    }
}

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

#[test]
fn sequences_of_charges_are_counted_as_in_memory() {
    let world = World::start();
    let limits = prop::collection::vec((1_u32..40, window()), 1..4);
    let steps = prop::collection::vec((any::<bool>(), prop::collection::vec(0_u32..4, 3), 0_u64..4), 1..40);
    let mut runner = TestRunner::new(config(40));
    let outcome = runner.run(&(limits, steps), |(limits, steps)| {
        let tag = world.tag();
        let mut model: Vec<_> = limits.iter().map(|_| Cells::default()).collect();
        world.runtime.block_on(async {
            for (commit, costs, pause) in steps {
                tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                let charges: SmallVec<_> = (0..)
                    .zip(&limits)
                    .zip(&costs)
                    .map(|((at, (limit, window)), cost)| StoreCharge {
                        key: format!("limit-{at}"),
                        rule: rule(*limit, *window),
                        cost: *cost,
                    })
                    .collect();
                let request = StoreRequest { tag: tag.as_str().into(), charges: charges.clone(), commit };
                let answer =
                    world.store.charge(request).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
                let charged: Vec<_> = model
                    .iter()
                    .zip(&charges)
                    .map(|(cells, charge)| cells.charge(charge.rule, answer.at, charge.cost))
                    .collect();
                prop_assert_eq!(answer.admitted, charged.iter().all(Result::is_ok), "{:?} at {}", model, answer.at);
                if answer.admitted && commit {
                    model = charged.into_iter().flatten().collect();
                }
                for ((told, cells), (_, window)) in answer.cells.iter().zip(&model).zip(&limits) {
                    let expected = brought_up(*cells, *window, answer.at);
                    prop_assert_eq!(brought_up(*told, *window, answer.at), expected);
                }
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_largest_numbers_and_a_clock_that_steps_back_are_counted_as_in_memory() {
    let world = World::start();
    let case = (window(), -2_i64..4, count(), count(), count(), count());
    let mut runner = TestRunner::new(config(1_500));
    let outcome = runner.run(&case, |(window, ahead, current, previous, limit, cost)| {
        let tag = world.tag();
        let rule = rule(limit, window);
        let mut raw = world.raw.clone();
        world.runtime.block_on(async {
            let now = redis::cmd("TIME");
            let (seconds, _): (u64, u64) = now.query_async(&mut raw).await.expect("the server has a clock");
            let number = (seconds * 1_000 / window).saturating_add_signed(ahead);
            let key = format!("keyturn:{{{tag}}}:limit:{window}");
            let mut set = redis::cmd("SET");
            set.arg(key).arg(format!("{number} {current} {previous}"));
            set.exec_async(&mut raw).await.expect("the server keeps it");
            let before = Cells::new(number, current, previous);
            let charges = SmallVec::from_elem(StoreCharge { key: "limit".into(), rule, cost }, 1);
            let request = StoreRequest { tag: tag.into(), charges, commit: true };
            let answer = world.store.charge(request).await.map_err(|error| TestCaseError::fail(error.to_string()))?;
            let expected = before.charge(rule, answer.at, cost);
            prop_assert_eq!(answer.admitted, expected.is_ok(), "{:?} {:?} at {}", before, rule, answer.at);
            let after = expected.unwrap_or(before);
            prop_assert_eq!(brought_up(answer.cells[0], window, answer.at), brought_up(after, window, answer.at));
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn what_looks_or_is_refused_writes_nothing_and_what_is_charged_expires_after_two_windows() {
    let server = Redis::start().await;
    let store = connected_to(&server).await;
    let mut look = request("owner-1", 10);
    look.commit = false;
    let answer = store.charge(look).await.unwrap();
    assert!(answer.admitted);
    let mut too_much = request("owner-1", 10);
    too_much.charges.push(StoreCharge { key: "k:other".into(), rule: rule(10, 60_000), cost: 11 });
    assert!(!store.charge(too_much.clone()).await.unwrap().admitted);
    assert_eq!(server.ask::<u32>("DBSIZE").await.unwrap(), 0);

    too_much.charges[1].cost = 3;
    let answer = store.charge(too_much).await.unwrap();
    assert!(answer.admitted);
    let keys = ["keyturn:{owner-1}:k:requests:2592000000", "keyturn:{owner-1}:k:other:60000"];
    assert_eq!(server.ask::<u32>("DBSIZE").await.unwrap(), 2);
    for (key, window) in keys.into_iter().zip([2_592_000_000_i64, 60_000]) {
        let expires: i64 = server.ask(&format!("PEXPIRETIME {key}")).await.unwrap();
        let cell = answer.at.as_millisecond() / window;
        assert_eq!(expires, (cell + 2) * window, "{key}");
    }
}

#[tokio::test]
async fn a_value_that_is_not_ours_is_an_error_and_left_alone() {
    let server = Redis::start().await;
    let store = connected_to(&server).await;
    let key = "keyturn:{owner-1}:k:requests:2592000000";
    for (set, get) in
        [(format!("SET {key} x"), format!("GET {key}")), (format!("LPUSH {key} x"), format!("LPOP {key}"))]
    {
        server.tell(&format!("DEL {key}")).await;
        server.tell(&set).await;
        assert!(store.charge(request("owner-1", 10)).await.is_err(), "{set}");
        assert_eq!(server.ask::<String>(&get).await.unwrap(), "x");
    }
}
