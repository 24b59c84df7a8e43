//! An engine that knows one API and a few keys, behind the auth port on a real socket.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyturn::clock;
use keyturn::core::digest::Pepper;
use keyturn::core::key::{Environment, KeyFormat, PlainKey};
use keyturn::core::policy::ObjectName;
use keyturn::core::rotation::VersionState;
use keyturn::metrics::Metrics;
use keyturn::resources::{ApiKey, ProtectedApi};
use keyturn::transport::grpc::{self, GrpcPort};
use keyturn::transport::server::{self, Admission, Drain};
use keyturn::transport::{AuthPort, Outside};
use keyturn::verify::engine::Engine;
use keyturn::verify::gate::{Gate, Watched};
use keyturn::verify::index::{Index, KeyRecord, KeyVersion};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) struct Verifier {
    address: SocketAddr,
    judged: Arc<AtomicUsize>,
    drain: Drain,
    server: JoinHandle<()>,
}

impl Verifier {
    pub(super) async fn start() -> Self {
        Self::start_in_mode("Enforce").await
    }

    /// With the API in this `spec.mode`.
    pub(super) async fn start_in_mode(mode: &str) -> Self {
        Self::serving(Some(engine(&json!({"mode": mode}))), Outside::default()).await
    }

    /// With that engine, if there is one already.
    pub(crate) async fn serving(engine: Option<Engine>, outside: Outside) -> Self {
        Self::serving_at((Ipv4Addr::LOCALHOST, 0).into(), engine, outside).await
    }

    pub(crate) async fn serving_at(address: SocketAddr, engine: Option<Engine>, outside: Outside) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let engine = Arc::new(engine.map_or_else(OnceLock::new, OnceLock::from));
        let port = Arc::new(AuthPort::new(Arc::new(Metrics::new()), engine, outside));
        let judged = Arc::new(AtomicUsize::new(0));
        let (drain, counter) = (Drain::default(), Arc::clone(&judged));
        let answer = move |call| {
            counter.fetch_add(1, Ordering::Relaxed);
            let port = Arc::clone(&port);
            async move { port.answer(call).await }
        };
        let server = tokio::spawn(server::serve(listener, answer, drain.clone(), Admission::default()));
        Self { address, judged, drain, server }
    }

    /// As [`Verifier::serving_at`], over gRPC.
    pub(crate) async fn serving_grpc_at(address: SocketAddr, engine: Option<Engine>, outside: Outside) -> Self {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let engine = Arc::new(engine.map_or_else(OnceLock::new, OnceLock::from));
        let auth = Arc::new(AuthPort::new(Arc::new(Metrics::new()), engine, outside));
        let (judged, drain) = (Arc::default(), Drain::default());
        let port = GrpcPort::new(auth, false, Arc::new(|| true), drain.stop.clone());
        let serving = grpc::server::serve(listener, port, None, drain.clone(), Admission::default());
        Self { address, judged, drain, server: tokio::spawn(serving) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls answered so far.
    pub(super) fn judged(&self) -> usize {
        self.judged.load(Ordering::Relaxed)
    }

    /// Goes away as a process does after SIGTERM.
    pub(crate) async fn stop(self) {
        self.drain.leaving.cancel();
        self.drain.stop.cancel();
        self.server.await.expect("the server ends by itself");
    }
}

fn pepper() -> Pepper {
    Pepper::new("p1", &[7; 32]).expect("32 bytes are enough")
}

/// The string of the key of that name.
pub(crate) fn string(name: &str) -> PlainKey {
    let seed = name.bytes().fold(0, u8::wrapping_add) % 62;
    let fill = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.fill(seed);
        Ok(())
    };
    let format = KeyFormat { prefix: "sk".into(), length: 32 };
    format.mint(Environment::Live, fill).unwrap_or_else(|never| match never {})
}

/// `change`: members of the API's spec that are to be others.
pub(crate) fn engine(change: &Value) -> Engine {
    let (index, gate) = (Index::default(), Gate::new(Duration::from_hours(1)));
    index.set_processes(NonZeroU32::MIN);
    index.change_policies(|policies| {
        let (name, api) = (ObjectName::new("speech", "transcripts"), api(change));
        policies.hosts.enter(&name, api.host_claim());
        policies.apis.insert(name, api.parse().map(Arc::new));
    });
    index.reset(vec![
        record("ci", &json!({"ipAllowlist": ["127.0.0.1"], "owner": "acme-1"})),
        record(
            "limited",
            &json!({"rateLimits": [{"name": "requests", "limit": 2, "window": "1h", "autoApply": true}]}),
        ),
        record("revoked", &json!({"revoked": true})),
    ]);
    gate.permit(clock::since_boot() + Duration::from_hours(1));
    for kind in Watched::ALL {
        gate.listed(kind, clock::since_boot());
    }
    Engine::new(Arc::new(index), Arc::new(gate), pepper().into())
}

fn object(kind: &str, name: &str, spec: &Value) -> Value {
    let metadata =
        json!({"name": name, "namespace": "speech", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"});
    json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}

fn api(change: &Value) -> ProtectedApi {
    let mut spec = json!({
        "keyFormat": {"prefix": "sk"},
        "credentials": [{"header": "Authorization", "scheme": "Bearer"}, {"header": "X-API-Key"}, {"query": "api_key"}],
        "identity": ["Scopes"],
        "routes": [
            {"name": "models", "methods": ["GET"], "path": "/v1/models", "require": "models:read"},
            {"name": "admin", "path": "/v1/admin", "require": "admin"},
            {"name": "health", "path": "/healthz", "public": true},
        ],
    });
    for (member, value) in change.as_object().into_iter().flatten() {
        spec[member] = value.clone();
    }
    serde_json::from_value(object("ProtectedApi", "transcripts", &spec)).expect("the API is valid")
}

fn record(name: &str, spec: &Value) -> KeyRecord {
    let mut spec = spec.clone();
    spec["apiRef"] = json!({"name": "transcripts"});
    spec["scopes"] = json!(["models:read"]);
    let key: ApiKey = serde_json::from_value(object("ApiKey", name, &spec)).expect("the key is valid");
    let key = key.parse().expect("the key can be read");
    let digest = pepper().digest(&string(name));
    KeyRecord {
        name: key.name.clone(),
        uid: Arc::clone(&key.uid),
        created_at: key.created_at,
        key: Ok(key),
        id: Some(format!("key_{name}")),
        versions: vec![KeyVersion { number: 1, digest, state: VersionState::Current, not_after: None }],
        usage: None,
        revoked_for_good: false,
        refused_by_controller: None,
    }
}
