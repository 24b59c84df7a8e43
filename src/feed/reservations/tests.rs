use std::collections::VecDeque;
use std::convert::Infallible;

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::core::budget::Credits;
use crate::core::verdict::Code;
use crate::feed::fixtures::Verifier;
use crate::verify::engine::Judgement;

/// What goes wrong with one write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Pass,
    /// Another process reserves one unit first.
    OtherFirst,
    /// It does not take place, and the answer is lost.
    LostBefore,
    /// It takes place, and the answer is lost.
    LostAfter,
    /// The same, and another process writes over it.
    LostAfterAndOther,
    /// The API server will not have it.
    Refuse,
    /// It takes place and is never answered.
    Hang,
}

/// An API server with the ApiKeyUsage of the key in it.
struct Server {
    ledger: Value,
    version: u64,
    uid: u64,
    exists: bool,
    faults: VecDeque<Fault>,
    writes: usize,
    /// Units that other processes have reserved.
    others: u64,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn start(faults: &[Fault]) -> Shared {
        let faults = faults.iter().copied().collect();
        let server = Self { ledger: json!([]), version: 1, uid: 1, exists: true, faults, writes: 0, others: 0 };
        Arc::new(Mutex::new(server))
    }

    fn reserved(&self) -> u64 {
        self.ledger[0]["reserved"].as_u64().unwrap_or(0)
    }

    fn store(&mut self, ledger: Value) {
        self.ledger = ledger;
        self.version += 1;
    }

    fn write_as_another(&mut self) {
        self.others += 1;
        self.store(json!([{"kind": "Credits", "epoch": 0, "reserved": self.reserved() + 1}]));
    }

    fn object(&self) -> Value {
        let metadata = json!({
            "name": "key-u1", "namespace": "speech", "creationTimestamp": "2026-11-20T09:00:00Z",
            "uid": self.uid.to_string(), "resourceVersion": self.version.to_string(),
        });
        json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyUsage", "metadata": metadata, "spec": {},
            "status": {"ledger": self.ledger},
        })
    }

    fn put(&mut self, body: &Value) -> (u16, Value) {
        self.writes += 1;
        let fault = self.faults.pop_front().unwrap_or(Fault::Pass);
        match fault {
            Fault::OtherFirst => self.write_as_another(),
            Fault::LostBefore => return status(500),
            Fault::Refuse => return status(422),
            _ => {}
        }
        if body["metadata"]["resourceVersion"] != json!(self.version.to_string()) {
            return status(409);
        }
        self.store(body["status"]["ledger"].clone());
        match fault {
            Fault::LostAfter => status(504),
            Fault::Hang => (0, Value::Null),
            Fault::LostAfterAndOther => {
                self.write_as_another();
                status(504)
            }
            _ => (200, self.object()),
        }
    }
}

fn status(code: u16) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Other" };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": "the test says so",
    });
    (code, status)
}

async fn answer(server: Shared, request: Request<Body>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
    let (code, answer) = {
        let mut server = server.lock().unwrap();
        match (server.exists, &head.method) {
            (false, _) => status(404),
            (true, &Method::PUT) => server.put(&body),
            (true, _) => (200, server.object()),
        }
    };
    if code == 0 {
        std::future::pending::<()>().await;
    }
    Ok(Response::builder().status(code).body(Full::from(answer.to_string())).unwrap())
}

/// A process with a key that has so many credits.
struct Process {
    verifier: Verifier,
    reservations: Reservations,
}

impl Process {
    fn start(server: &Shared, granted: u64) -> Self {
        let verifier = Verifier::new(|key| key.credits = Some(Credits { granted, epoch: 0, refill: None }));
        let shared = Arc::clone(server);
        let service = tower::service_fn(move |request: Request<Body>| answer(Arc::clone(&shared), request));
        let client = Client::new(service, "default");
        let reservations = Reservations::new(client, Arc::clone(&verifier.index), Arc::new(Metrics::new()));
        Self { verifier, reservations }
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
    let server = Server::start(&[]);
    let process = Process::start(&server, 100);
    server.lock().unwrap().exists = false;
    assert_eq!(process.ask().await, Some(Code::Unavailable));
    {
        let mut server = server.lock().unwrap();
        (server.exists, server.uid) = (true, 2);
    }
    assert_eq!(process.ask().await, Some(Code::Unavailable));
    server.lock().unwrap().uid = 1;
    assert_eq!(process.ask().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_costs_a_chunk_at_most_and_grants_nothing() {
    for (faults, spent, reserved) in [
        (&[][..], 100, 100),
        (&[Fault::OtherFirst], 99, 100),
        (&[Fault::LostBefore], 100, 100),
        (&[Fault::Refuse], 100, 100),
        (&[Fault::LostAfter], 95, 100),
        (&[Fault::Hang], 95, 100),
        (&[Fault::LostAfterAndOther], 94, 100),
        (&[Fault::Pass, Fault::LostAfter, Fault::OtherFirst], 94, 100),
    ] {
        let server = Server::start(faults);
        let process = Process::start(&server, 100);
        assert_eq!(process.spend().await, spent, "{faults:?}");
        assert_eq!(server.lock().unwrap().reserved(), reserved, "{faults:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_together_are_supplied_by_one_write() {
    let server = Server::start(&[]);
    let process = Process::start(&server, 100);
    let answers = futures::future::join_all((0..64).map(|_| process.ask())).await;
    assert!(answers.iter().all(Option::is_none), "{answers:?}");
    let server = server.lock().unwrap();
    assert_eq!((server.writes, server.reserved()), (1, 64));
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_given_back_once_whatever_goes_wrong() {
    for (faults, reserved) in [
        (&[][..], 2),
        (&[Fault::OtherFirst], 3),
        (&[Fault::LostBefore], 2),
        (&[Fault::LostBefore, Fault::LostBefore], 2),
        (&[Fault::LostAfter], 2),
        (&[Fault::Hang], 2),
        (&[Fault::LostAfterAndOther], 3),
        (&[Fault::Refuse], 2),
        // Nobody can tell whether the first has taken place.
        (&[Fault::LostBefore, Fault::OtherFirst], 6),
    ] {
        let server = Server::start(&[]);
        let process = Process::start(&server, 100);
        assert_eq!([process.ask().await, process.ask().await], [None, None]);
        assert_eq!(server.lock().unwrap().reserved(), 5);
        server.lock().unwrap().faults = faults.iter().copied().collect();
        process.leave().await;
        assert_eq!(server.lock().unwrap().reserved(), reserved, "{faults:?}");
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
            let server = Server::start(&faults);
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
            let server = server.lock().unwrap();
            prop_assert!(spent + server.others <= 60, "{spent} by us, {} by others", server.others);
            prop_assert_eq!(server.reserved(), 60);
            Ok(())
        })?;
    }
}
