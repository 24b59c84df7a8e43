//! Every write of the controller is answered wrongly once, in every way in which an API server fails.

use futures::stream::{self, StreamExt as _};

use super::super::world::World;
use super::scenario::Scenario;
use super::trial::Trial;
use crate::support::apiserver::{Call, Fault, FaultyApiServer};

/// Worlds at the same time.
const PARALLEL: usize = 12;

/// Ways in which a write goes wrong: without effect, or with it and nobody is told.
const FAULTS: [Fault; 7] = [
    Fault::Answer(409, "Conflict"),
    Fault::Answer(429, "TooManyRequests"),
    Fault::Answer(500, "InternalError"),
    Fault::Answer(503, "ServiceUnavailable"),
    Fault::AnswerAfter(504, "Timeout"),
    Fault::AnswerAfter(500, "InternalError"),
    Fault::BreakAfter,
];

#[tokio::test]
async fn a_write_that_goes_wrong_is_made_good() {
    let mut runs = Vec::new();
    for scenario in [Scenario::Mint, Scenario::Rotate, Scenario::Revoke, Scenario::MintOnce, Scenario::MintSealed] {
        let writes = run(scenario, usize::MAX, Fault::Pass).await;
        runs.extend((1..=writes).flat_map(|at| FAULTS.map(|fault| (scenario, at, fault))));
    }
    stream::iter(runs)
        .for_each_concurrent(PARALLEL, |(scenario, at, fault)| async move {
            run(scenario, at, fault).await;
        })
        .await;
}

#[tokio::test]
async fn lists_and_watches_that_fail_at_first_are_made_good() {
    for fault in [
        Fault::Answer(410, "Expired"),
        Fault::Answer(429, "TooManyRequests"),
        Fault::Answer(500, "InternalError"),
        Fault::BreakAfter,
    ] {
        let mut world = World::without_controller().await;
        Scenario::Mint.prepare(&mut world).await;
        Scenario::Mint.act(&world).await;
        let (mut left, answered) = (4, fault.clone());
        let fails = move |call: &Call| {
            let reads = call.method == "GET" && (call.concerns("apikeys") || call.concerns("protectedapis"));
            if !reads || left == 0 {
                return Fault::Pass;
            }
            left -= 1;
            answered.clone()
        };
        let server = FaultyApiServer::start(world.client(), fails).await;
        world.start_controller_with(server.client()).await;
        Scenario::Mint.wait_for_the_end(&world, &format!("{fault:?} to the first reads")).await;
        world.stop_controller().await;
    }
}

/// Runs a scenario in which the `at`th write goes wrong; answers how many there were.
async fn run(scenario: Scenario, at: usize, fault: Fault) -> usize {
    let faults = format!("{fault:?} to write {at}");
    let mut writes = 0;
    let fails = move |call: &Call| {
        writes += usize::from(call.is_write());
        if call.is_write() && writes == at { fault.clone() } else { Fault::Pass }
    };
    Trial::begin(scenario, faults, fails).await.finish().await
}
