//! The controller is killed after any of its writes, and once more after any write of its successor.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use tokio::sync::Notify;

use super::scenario::Scenario;
use super::trial::Trial;
use crate::support::apiserver::{Call, Fault};

/// Worlds at the same time.
const PARALLEL: usize = 6;

/// Pairs of points that each scenario is tried with, drawn anew in every run.
const PAIRS: usize = 6;

#[tokio::test]
async fn killed_after_any_write_it_ends_where_it_would_have() {
    for scenario in Scenario::ALL {
        let writes = run(scenario, &[]).await;
        assert!(writes >= 2, "{scenario:?} makes {writes} writes: there is nothing between them");
        let single = (1..=writes).map(|point| vec![point]);
        let pairs = (0..PAIRS).map(|_| vec![draw(writes), draw(writes)]);
        let runs = stream::iter(single.chain(pairs)).for_each_concurrent(PARALLEL, |points| async move {
            run(scenario, &points).await;
        });
        Box::pin(runs).await;
    }
}

/// Runs a scenario with a controller that is killed after so many writes, and its successor after so many of its
/// own, and so on. The one after that lives; answers how many writes all of them have made.
async fn run(scenario: Scenario, points: &[usize]) -> usize {
    let mut trial = Trial::begin(scenario, format!("kills after writes {points:?}"), |_| Fault::Pass).await;
    for point in points {
        let dies = Arc::new(Notify::new());
        trial.server.rule(dead_after(*point, Arc::clone(&dies)));
        trial.world.start_controller_with(trial.server.client()).await;
        tokio::select! {
            () = dies.notified() => {}
            // A successor may have less to do than it is given time for.
            () = trial.comes_to_its_end() => {}
        }
        trial.world.kill_controller().await;
    }
    trial.server.rule(|_| Fault::Pass);
    trial.finish().await
}

/// After its `point`th write a controller hears nothing more and reaches nobody, as if it were dead.
fn dead_after(point: usize, dies: Arc<Notify>) -> impl FnMut(&Call) -> Fault {
    let mut writes = 0;
    move |call| {
        if writes >= point {
            return Fault::Hang;
        }
        writes += usize::from(call.is_write());
        if writes < point { Fault::Pass } else { Fault::HangAfter(Arc::clone(&dies)) }
    }
}

/// From 1 to `most`.
fn draw(most: usize) -> usize {
    let random = getrandom::u32().expect("the system has entropy");
    usize::try_from(random).expect("32 bits fit") % most + 1
}
