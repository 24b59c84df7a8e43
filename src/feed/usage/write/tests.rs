use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use jiff::Timestamp;
use kube::client::Body;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::feed::fixtures::Verifier;

impl Verifier {
    fn judge(&self) {
        assert_eq!(self.verify(Timestamp::from_second(1_000).unwrap()).alone().denial, None);
    }

    /// The key, if this is the first use since it was written down.
    fn used(&self) -> Option<Pending> {
        let mut used = self.index.used().take();
        assert!(used.len() < 2, "one key waits twice");
        used.pop().map(|key| Pending::new(key, Duration::ZERO))
    }
}

/// What goes wrong with one write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Pass,
    /// Another process writes its own request first.
    OtherFirst,
    /// It does not take place, and the answer is lost.
    LostBefore,
    /// It takes place, and the answer is lost.
    LostAfter,
    /// The same, and another process writes over it.
    LostAfterAndOther,
    /// The API server will not have it.
    Refuse,
    /// The object is deleted and made again.
    Recreate,
    /// It takes place and is never answered.
    Hang,
}

/// An API server with the ApiKeyUsage of the key in it.
struct Server {
    usage: Value,
    version: u64,
    uid: u64,
    exists: bool,
    faults: VecDeque<Fault>,
    /// Requests of other processes.
    others: u64,
}

type Shared = Arc<Mutex<Server>>;

impl Server {
    fn start(faults: &[Fault]) -> (Shared, Client) {
        let faults = faults.iter().copied().collect();
        let server = Self { usage: Value::Null, version: 1, uid: 1, exists: true, faults, others: 0 };
        let server = Arc::new(Mutex::new(server));
        let shared = Arc::clone(&server);
        let service = tower::service_fn(move |request: Request<Body>| answer(Arc::clone(&shared), request));
        (server, Client::new(service, "default"))
    }

    fn total(&self) -> u64 {
        self.usage["requests"]["total"].as_u64().unwrap_or(0)
    }

    fn store(&mut self, usage: Value) {
        self.usage = usage;
        self.version += 1;
    }

    fn write_as_another(&mut self) {
        self.others += 1;
        let mut usage = self.usage.clone();
        usage["requests"] = json!({"today": 0, "thisMonth": 0, "total": self.total() + 1});
        self.store(usage);
    }

    fn object(&self) -> Value {
        let metadata = json!({"name": "key-u1", "namespace": "speech", "uid": self.uid.to_string(), "resourceVersion": self.version.to_string()});
        let mut object =
            json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyUsage", "metadata": metadata, "spec": {}});
        if !self.usage.is_null() {
            object["status"] = json!({"usage": self.usage});
        }
        object
    }

    fn put(&mut self, body: &Value) -> (u16, Value) {
        let fault = self.faults.pop_front().unwrap_or(Fault::Pass);
        match fault {
            Fault::OtherFirst => self.write_as_another(),
            Fault::Recreate => {
                (self.usage, self.others) = (Value::Null, 0);
                self.uid += 1;
                self.version += 1;
            }
            Fault::LostBefore => return status(500),
            Fault::Refuse => return status(422),
            _ => {}
        }
        if body["metadata"]["resourceVersion"] != json!(self.version.to_string()) {
            return status(409);
        }
        self.store(body["status"]["usage"].clone());
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
            (true, &Method::PUT) => {
                assert_eq!(head.uri.path(), "/apis/keyturn.dev/v1alpha1/namespaces/speech/apikeyusages/key-u1/status");
                server.put(&body)
            }
            (true, _) => (200, server.object()),
        }
    };
    if code == 0 {
        std::future::pending::<()>().await;
    }
    Ok(Response::builder().status(code).body(Full::from(answer.to_string())).unwrap())
}

/// Uses the key so often, and writes until that is done; answers the outcomes, an `Err` of which is whether it is
/// about the object.
async fn write(verifier: &Verifier, client: &Client, uses: usize) -> Vec<Result<Outcome, bool>> {
    (0..uses).for_each(|_| verifier.judge());
    let mut pending = verifier.used().expect("the key was used");
    let mut outcomes = Vec::new();
    loop {
        let outcome = pending.write(client).await.map_err(|error| error.is_about_the_object());
        outcomes.push(outcome);
        let over = matches!(outcome, Ok(Outcome::Written | Outcome::GivenUp));
        if over && !pending.key.settle() {
            return outcomes;
        }
        assert!(outcomes.len() < 100, "{outcomes:?}");
    }
}

#[tokio::test]
async fn every_request_is_stored_once_whatever_goes_wrong() {
    use Outcome::{Conflict, GivenUp, Written};
    for (faults, expected, stored) in [
        (&[][..], vec![Ok(Written)], 5),
        (&[Fault::OtherFirst], vec![Ok(Conflict), Ok(Written)], 6),
        (&[Fault::LostBefore], vec![Err(false), Ok(Written)], 5),
        (&[Fault::LostAfter], vec![Err(false), Ok(Written)], 5),
        (&[Fault::Refuse], vec![Err(true), Ok(Written)], 5),
        (&[Fault::Recreate], vec![Ok(Conflict), Ok(Written)], 5),
        (&[Fault::LostBefore, Fault::LostAfter], vec![Err(false), Err(false), Ok(Written)], 5),
        // Whether the first or the other has taken place nobody can tell: never twice.
        (&[Fault::LostBefore, Fault::OtherFirst], vec![Err(false), Ok(Conflict), Ok(GivenUp)], 1),
        (&[Fault::LostAfterAndOther], vec![Err(false), Ok(GivenUp)], 6),
    ] {
        let (server, client) = Server::start(faults);
        let verifier = Verifier::new(|_| ());
        assert_eq!(write(&verifier, &client, 5).await, expected, "{faults:?}");
        assert_eq!(server.lock().unwrap().total(), stored, "{faults:?}");
        assert!(verifier.used().is_none());
    }
}

#[tokio::test]
async fn a_key_without_an_object_waits_for_one() {
    let (server, client) = Server::start(&[]);
    server.lock().unwrap().exists = false;
    let verifier = Verifier::new(|_| ());
    verifier.judge();
    let mut pending = verifier.used().unwrap();
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Missing);
    verifier.judge();
    assert!(verifier.used().is_none(), "it waits already");
    server.lock().unwrap().exists = true;
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Written);
    assert_eq!((server.lock().unwrap().total(), pending.key.settle()), (2, false));
}

#[tokio::test]
async fn a_write_that_is_dropped_on_its_way_is_not_repeated() {
    let (server, client) = Server::start(&[Fault::Hang]);
    let verifier = Verifier::new(|_| ());
    verifier.judge();
    let mut pending = verifier.used().unwrap();
    let arrived = async {
        while server.lock().unwrap().total() == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        outcome = pending.write(&client) => panic!("{outcome:?}"),
        () = arrived => {}
    }
    verifier.judge();
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Written);
    assert_eq!(server.lock().unwrap().total(), 1, "what was used meanwhile waits");
    assert!(pending.key.settle());
    assert_eq!(pending.write(&client).await.unwrap(), Outcome::Written);
    assert_eq!((server.lock().unwrap().total(), pending.key.settle()), (2, false));
}

fn faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        Just(Fault::Pass),
        Just(Fault::OtherFirst),
        Just(Fault::LostBefore),
        Just(Fault::LostAfter),
        Just(Fault::LostAfterAndOther),
        Just(Fault::Refuse),
    ];
    prop::collection::vec(fault, 0..12)
}

proptest! {
    #[test]
    fn nothing_is_counted_twice_and_nothing_lost_but_what_was_given_up(faults in faults(), uses in 1..4_u64) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (server, client) = Server::start(&faults);
            let verifier = Verifier::new(|_| ());
            let (mut used, mut given_up) = (0, 0);
            for _ in 0..4 {
                let outcomes = write(&verifier, &client, usize::try_from(uses).unwrap()).await;
                used += uses;
                given_up += if outcomes.contains(&Ok(Outcome::GivenUp)) { uses } else { 0 };
            }
            let server = server.lock().unwrap();
            let stored = server.total() - server.others;
            prop_assert!(stored <= used && stored + given_up >= used, "{stored} of {used}, {given_up} given up");
            Ok(())
        })?;
    }
}
