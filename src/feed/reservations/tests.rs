use std::convert::Infallible;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::core::budget::Credits;
use crate::core::verdict::Code;
use crate::feed::fixtures::Verifier;
use crate::feed::fixtures::usages::{Fault, Shared};
use crate::verify::engine::Judgement;

/// An API server where other processes reserve one unit with every write.
fn start(faults: &[Fault]) -> Shared {
    Shared::start(faults, |status| {
        let reserved = status["ledger"][0]["reserved"].as_u64().unwrap_or(0) + 1;
        *status = json!({"ledger": [{"kind": "Credits", "epoch": 0, "reserved": reserved}]});
    })
}

fn reserved_in(server: &Shared) -> u64 {
    server.lock().status["ledger"][0]["reserved"].as_u64().unwrap_or(0)
}

/// A process with a key that has so many credits.
struct Process {
    verifier: Verifier,
    reservations: Reservations,
    metrics: Arc<Metrics>,
}

impl Process {
    fn start(server: &Shared, granted: u64) -> Self {
        let verifier = Verifier::new(|key| key.credits = Some(Credits { granted, epoch: 0, refill: None }));
        let metrics = Arc::new(Metrics::new());
        let reservations = Reservations::new(server.client(), Arc::clone(&verifier.index), Arc::clone(&metrics));
        Self { verifier, reservations, metrics }
    }

    /// What it has told to be lost.
    fn lost(&self) -> u64 {
        let text = self.metrics.encode().unwrap();
        let lost = text.lines().find_map(|line| line.strip_prefix("keyturn_reservations_lost_total "));
        lost.unwrap().parse().unwrap()
    }

    /// The code that a request is refused with.
    async fn ask(&self) -> Option<Code> {
        loop {
            match self.verifier.verify(clock::now()) {
                Judgement::Short(case, shortage) => {
                    if !self.reservations.supply(shortage).await {
                        return case.unavailable().denial.map(|denial| denial.code);
                    }
                }
                judged => return judged.alone().denial.map(|denial| denial.code),
            }
        }
    }

    /// Asks until there is nothing left, and again when it can't be told; how many requests were let in.
    async fn spend(&self) -> u64 {
        let mut spent = 0;
        loop {
            match self.ask().await {
                None => spent += 1,
                Some(Code::Unavailable) => {}
                Some(Code::CreditsExhausted) => return spent,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn leave(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.reservations.run(&stop).await;
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_handed_out_of_an_object_that_is_not_the_keys_own() {
    let server = start(&[]);
    let process = Process::start(&server, 100);
    server.lock().exists = false;
    assert_eq!(process.ask().await, Some(Code::Unavailable));
    {
        let mut server = server.lock();
        (server.exists, server.uid) = (true, 2);
    }
    assert_eq!(process.ask().await, Some(Code::Unavailable));
    server.lock().uid = 1;
    assert_eq!(process.ask().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_costs_a_chunk_at_most_and_grants_nothing() {
    for (faults, spent, reserved, lost) in [
        (&[][..], 100, 100, 0),
        (&[Fault::OtherFirst], 99, 100, 0),
        // Nobody can tell that it has not taken place.
        (&[Fault::LostBefore], 100, 100, 5),
        (&[Fault::Refuse], 100, 100, 0),
        (&[Fault::LostAfter], 95, 100, 5),
        (&[Fault::Hang], 95, 100, 5),
        (&[Fault::LostAfterAndOther], 94, 100, 5),
        (&[Fault::Pass, Fault::LostAfter, Fault::OtherFirst], 94, 100, 5),
    ] {
        let server = start(faults);
        let process = Process::start(&server, 100);
        assert_eq!(process.spend().await, spent, "{faults:?}");
        assert_eq!((reserved_in(&server), process.lost()), (reserved, lost), "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_together_are_supplied_by_one_write() {
    let server = start(&[]);
    let process = Process::start(&server, 100);
    let answers = futures::future::join_all((0..64).map(|_| process.ask())).await;
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    let writes = server.lock().writes;
    assert_eq!((writes, reserved_in(&server)), (1, 64));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_asked_for_no_more_than_it_could_answer_in_time() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let silent = tower::service_fn(move |_: http::Request<kube::client::Body>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending::<Result<http::Response<kube::client::Body>, Infallible>>()
    });
    let keys: Vec<_> = (0..64)
        .map(|n| {
            Verifier::new(|key| {
                key.uid = format!("u{n}").into();
                key.credits = Some(Credits { granted: 100, epoch: 0, refill: None });
            })
        })
        .collect();
    let metrics = Arc::new(Metrics::new());
    let client = Client::new(silent, "default");
    let reservations = Reservations::new(client, Arc::clone(&keys[0].index), Arc::clone(&metrics));
    let supplied = keys.iter().map(|key| match key.verify(clock::now()) {
        Judgement::Short(_, shortage) => reservations.supply(shortage),
        judged => panic!("{judged:?}"),
    });
    let supplied = futures::future::join_all(supplied).await;
    assert_eq!((supplied.iter().any(|supplied| *supplied), asked.load(Ordering::Relaxed)), (false, AT_ONCE));
    let text = metrics.encode().unwrap();
    for (outcome, count) in [("Busy", 64 - AT_ONCE), ("Failed", AT_ONCE)] {
        let line = format!(r#"keyturn_reservations_total{{purpose="Request",outcome="{outcome}"}} {count}"#);
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_given_back_once_whatever_goes_wrong() {
    for (faults, reserved, lost) in [
        (&[][..], 2, 0),
        (&[Fault::OtherFirst], 3, 0),
        (&[Fault::LostBefore], 2, 0),
        (&[Fault::LostBefore, Fault::LostBefore], 2, 0),
        (&[Fault::LostAfter], 2, 3),
        (&[Fault::Hang], 2, 3),
        (&[Fault::LostAfterAndOther], 3, 3),
        (&[Fault::Refuse], 2, 0),
        // Nobody can tell whether the first has taken place.
        (&[Fault::LostBefore, Fault::OtherFirst], 6, 3),
    ] {
        let server = start(&[]);
        let process = Process::start(&server, 100);
        assert_eq!([process.ask().await, process.ask().await], [None, None]);
        assert_eq!(reserved_in(&server), 5);
        server.lock().faults = faults.iter().copied().collect();
        process.leave().await;
        assert_eq!((reserved_in(&server), process.lost()), (reserved, lost), "{faults:?}");
        let other = Process::start(&server, 100);
        assert_eq!(other.spend().await, 100 - reserved, "{faults:?}");
    }
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        3 => Just(Fault::Pass),
        1 => Just(Fault::OtherFirst),
        1 => Just(Fault::LostBefore),
        1 => Just(Fault::LostAfter),
        1 => Just(Fault::LostAfterAndOther),
        1 => Just(Fault::Refuse),
        1 => Just(Fault::Hang),
    ];
    prop::collection::vec(fault, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn processes_that_come_and_go_never_spend_more_than_there_is(faults in faults(), requests in 0..9_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let server = start(&faults);
            let mut spent = 0;
            for _ in 0..4 {
                let process = Process::start(&server, 60);
                let answers = futures::future::join_all((0..requests).map(|_| process.ask())).await;
                spent += answers.into_iter().filter(Option::is_none).count() as u64;
                process.leave().await;
            }
            let pair = [(); 2].map(|()| Process::start(&server, 60));
            let (one, other) = tokio::join!(pair[0].spend(), pair[1].spend());
            spent += one + other;
            let others = server.lock().others;
            prop_assert!(spent + others <= 60, "{spent} by us, {others} by others");
            prop_assert_eq!(reserved_in(&server), 60);
            Ok(())
        })?;
    }
}
