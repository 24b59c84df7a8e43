//! Every write of the controller is answered wrongly once, in every way in which an API server fails.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::super::world::World;
use super::scenario::Scenario;
use super::trial::Trial;
use crate::support::apiserver::{Call, Fault, FaultyApiServer, Held};

/// Worlds at the same time.
const PARALLEL: usize = 12;

/// How long a call may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// What is known in part is not acted on: a controller that has not seen all keys might mint what another has.
#[tokio::test]
async fn a_list_that_takes_its_time_is_waited_for() {
    for plural in ["apikeys", "protectedapis", "apikeytiers", "secrets"] {
        let held = Held::default();
        let (mut is_first, hold) = (true, held.clone());
        let slow = move |call: &Call| {
            let is_list = call.method == "GET" && call.path.ends_with(plural) && !call.is_watch();
            if is_list && std::mem::take(&mut is_first) { Fault::Hold(hold.clone()) } else { Fault::Pass }
        };
        let mut trial = Trial::begin(Scenario::Rotate, format!("a slow list of {plural}"), slow).await;
        let (server, world) = (&trial.server, &mut trial.world);
        let answered = async {
            let arrived = tokio::time::timeout(PATIENCE, held.arrived.notified()).await;
            arrived.unwrap_or_else(|_| panic!("the controller lists {plural}"));
            assert_eq!(server.accepted_writes().len(), 0, "{plural}");
            held.release.notify_one();
        };
        tokio::join!(world.start_controller_with(server.client()), answered);
        trial.comes_to_its_end().await;
        trial.world.stop_controller().await;
        let writes = trial.finish().await;
        assert!(writes >= 2, "{writes} writes with a slow list of {plural}");
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
