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

use super::*;

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

struct Process {
    server: Server,
    applied: watch::Sender<Option<u64>>,
    held: watch::Receiver<bool>,
    stop: CancellationToken,
    keeper: JoinHandle<()>,
}

impl Process {
    /// A process that has claimed its Lease.
    async fn start() -> Self {
        let server = Server::default();
        let (applied, heard) = watch::channel(None);
        let (tell, mut held) = watch::channel(false);
        let stop = CancellationToken::new();
        let holder = Holder { process: "pod".to_owned(), duration: Duration::from_mins(15) };
        let leases = Api::namespaced(server.client(), "keyturn-system");
        let keeper = tokio::spawn(keep(leases, holder, heard, tell, stop.clone()));
        held.wait_for(|&held| held).await.unwrap();
        Self { server, applied, held, stop, keeper }
    }

    async fn stop(self) -> Vec<String> {
        self.stop.cancel();
        self.keeper.await.unwrap();
        self.server.writes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_claimed_renewed_and_released() {
    let process = Process::start().await;
    assert_eq!(process.server.writes(), ["POST held applied="]);
    process.applied.send_replace(Some(7));
    process.server.wait_for(2).await;
    assert_eq!(process.stop().await, ["POST held applied=", "PUT held applied=7", "PUT released applied=7"]);
}

#[tokio::test(start_paused = true)]
async fn many_moves_make_few_writes() {
    let process = Process::start().await;
    let began = Instant::now();
    for version in 1..=200 {
        process.applied.send_replace(Some(version));
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
    process.applied.send_replace(Some(7));
    process.server.wait_for(2).await;
    process.applied.send_replace(Some(8));
    process.server.wait_for(3).await;
    assert!(*process.held.borrow());
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
    process.applied.send_replace(Some(7));
    process.server.wait_for(2).await;
    assert_eq!(process.server.writes(), ["POST held applied=", "PUT held applied=7"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_gone_or_taken_is_replaced_by_another() {
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
        process.applied.send_replace(Some(7));
        process.server.wait_for(3).await;
        assert_eq!(process.server.writes(), ["POST held applied=", "POST held applied=", "PUT held applied=7"]);
    }
}
