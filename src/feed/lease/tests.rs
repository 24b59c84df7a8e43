//! The whole life of a Lease against an API server that keeps exactly one kind, with paused time.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::coordination::v1::LeaseSpec;
use kube::client::{Body, Client};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::verify::gate::Gate;

/// Leases by name, with what was written to them.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    leases: BTreeMap<String, Lease>,
    version: u64,
    writes: Vec<String>,
    /// The next write takes place, but its answer is lost.
    lose_answer: bool,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                let (parts, body) = request.into_parts();
                let name = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
                let body = body.collect().await.unwrap().to_bytes();
                let answer = server.answer(&parts.method, &name, &body);
                Ok::<_, Infallible>(answer)
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, method: &Method, name: &str, body: &[u8]) -> Response<Full<Bytes>> {
        let mut state = self.0.lock().unwrap();
        if *method == Method::GET {
            let found = state.leases.get(name).cloned();
            return found.map_or_else(|| failure(404, "NotFound"), |lease| success(&lease));
        }
        let mut lease: Lease = serde_json::from_slice(body).unwrap();
        let name = lease.name_any();
        if *method == Method::POST && state.leases.contains_key(&name) {
            return failure(409, "AlreadyExists");
        }
        if *method == Method::PUT {
            match state.leases.get(&name) {
                None => return failure(404, "NotFound"),
                Some(there) if there.metadata.resource_version != lease.metadata.resource_version => {
                    return failure(409, "Conflict");
                }
                Some(_) => {}
            }
        }
        state.version += 1;
        lease.metadata.uid = Some(format!("uid of {name}"));
        lease.metadata.resource_version = Some(state.version.to_string());
        let LeaseSpec { holder_identity, .. } = lease.spec.clone().unwrap();
        let applied = &lease.metadata.annotations.as_ref().unwrap()["keyturn.dev/applied"];
        let holder = if holder_identity.as_deref() == Some("") { "released" } else { "held" };
        let line = format!("{method} {holder} applied={applied}");
        state.writes.push(line);
        state.leases.insert(name, lease.clone());
        if std::mem::take(&mut state.lose_answer) { failure(500, "InternalError") } else { success(&lease) }
    }

    fn writes(&self) -> Vec<String> {
        self.0.lock().unwrap().writes.clone()
    }

    /// Waits, in paused time, until there were this many writes.
    async fn wait_for(&self, writes: usize) {
        while self.writes().len() < writes {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Changes the only Lease behind its holder's back.
    fn meddle(&self, change: impl FnOnce(&mut Lease)) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        let version = state.version.to_string();
        let lease = state.leases.values_mut().next().unwrap();
        change(lease);
        lease.metadata.resource_version = Some(version);
    }
}

fn success(lease: &Lease) -> Response<Full<Bytes>> {
    Response::new(Full::from(serde_json::to_vec(lease).unwrap()))
}

fn failure(code: u16, reason: &str) -> Response<Full<Bytes>> {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason});
    Response::builder().status(code).body(Full::from(status.to_string())).unwrap()
}

const DURATION: Duration = Duration::from_mins(15);

/// A process that holds a Lease until the test stops it.
struct Process {
    server: Server,
    held: Arc<Held>,
    keeper: JoinHandle<Claim>,
    stop: CancellationToken,
}

impl Process {
    async fn start() -> Self {
        Self::start_at(Server::default()).await
    }

    async fn start_at(server: Server) -> Self {
        let leases = Api::namespaced(server.client(), "keyturn-system");
        let holder = Holder { process: "pod".to_owned(), duration: DURATION, quiet: Duration::from_secs(10) };
        let mut claim = claim(&leases, &holder).await;
        let held = Arc::new(Held::new(claim.begun, DURATION, Arc::new(Gate::new(DURATION))));
        let (told, stop) = (Arc::clone(&held), CancellationToken::new());
        let stopped = stop.clone();
        let keeper = tokio::spawn(async move {
            stopped.run_until_cancelled(claim.renew_while_held(&told)).await;
            claim
        });
        Self { server, held, keeper, stop }
    }

    fn apply(&self, version: u64) {
        self.held.applied(version);
    }

    async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        self.keeper.await.unwrap().release().await;
        self.server.writes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_claimed_renewed_and_released() {
    let process = Process::start().await;
    assert_eq!(process.server.writes(), ["POST held applied="]);
    process.apply(7);
    process.server.wait_for(2).await;
    assert_eq!(process.stop().await, ["POST held applied=", "PUT held applied=7", "PUT released applied=7"]);
}

#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_is_lost_is_found_again() {
    let server = Server::default();
    server.0.lock().unwrap().lose_answer = true;
    let process = Process::start_at(server).await;
    process.apply(7);
    process.server.wait_for(2).await;
    assert_eq!(process.server.writes(), ["POST held applied=", "PUT held applied=7"]);
}

#[tokio::test(start_paused = true)]
async fn many_moves_make_few_writes() {
    let process = Process::start().await;
    let began = Instant::now();
    for version in 1..=200 {
        process.apply(version);
        sleep(Duration::from_millis(10)).await;
    }
    let most = usize::try_from(began.elapsed().as_millis() / 250).unwrap() + 1;
    process.server.wait_for(2).await;
    assert!((4..=most).contains(&process.server.writes().len()), "{:?}", process.server.writes());
}

#[tokio::test(start_paused = true)]
async fn a_quiet_process_renews_every_ten_seconds() {
    let process = Process::start().await;
    let began = Instant::now();
    process.server.wait_for(4).await;
    let each = began.elapsed() / 3;
    assert!((Duration::from_secs(10)..Duration::from_millis(10_100)).contains(&each), "{each:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_no_conflict() {
    let process = Process::start().await;
    process.server.0.lock().unwrap().lose_answer = true;
    process.apply(7);
    process.server.wait_for(2).await;
    process.apply(8);
    process.server.wait_for(3).await;
    let expected = ["POST held applied=", "PUT held applied=7", "PUT held applied=8", "PUT released applied=8"];
    assert_eq!(process.stop().await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_label_of_somebody_else_is_no_conflict() {
    let process = Process::start().await;
    process.server.meddle(|lease| {
        let labels = lease.metadata.labels.get_or_insert_default();
        labels.insert("a".to_owned(), "b".to_owned());
    });
    process.apply(7);
    process.server.wait_for(2).await;
    assert_eq!(process.server.writes(), ["POST held applied=", "PUT held applied=7"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_or_taken_is_lost_and_left_alone() {
    fn delete(server: &Server) {
        server.0.lock().unwrap().leases.clear();
    }
    fn take(server: &Server) {
        server.meddle(|lease| {
            lease.spec.get_or_insert_default().holder_identity = Some("thief".to_owned());
        });
    }
    for meddle in [delete as fn(&Server), take] {
        let process = Process::start().await;
        meddle(&process.server);
        process.apply(7);
        process.keeper.await.unwrap();
        assert_eq!(process.server.writes(), ["POST held applied="]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_writes_that_took_place_extend_a_permit() {
    let gate = Arc::new(Gate::new(DURATION));
    let server = Server::default();
    let leases = Api::namespaced(server.client(), "keyturn-system");
    let holder = Holder { process: "pod".to_owned(), duration: DURATION, quiet: Duration::from_secs(10) };
    let mut claim = claim(&leases, &holder).await;
    let held = Held::new(claim.begun, DURATION, Arc::clone(&gate));
    held.apply_list(since_boot(), Some(7), || {});
    assert!(!gate.is_permitted(since_boot()), "the claim was before the list");
    tokio::select! {
        () = claim.renew_while_held(&held) => panic!("the Lease is held"),
        () = async {
            while !gate.is_permitted(since_boot()) {
                sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    assert_eq!(server.writes(), ["POST held applied=", "PUT held applied=7"]);
}
