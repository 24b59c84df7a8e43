//! The engine of the nginx tests behind the gRPC port on a real socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use keyturn::metrics::Metrics;
use keyturn::tls::ServerTls;
use keyturn::transport::grpc::{GrpcPort, server};
use keyturn::transport::server::{Admission, Drain};
use keyturn::transport::{AuthPort, Outside};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::nginx::verifier::engine;
use crate::support::ports;

/// How a verifier is to be.
#[derive(Default)]
pub(super) struct Options {
    /// Of the API, in place of what the nginx tests have.
    pub(super) spec: Value,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) route_by_host: bool,
}

pub(super) struct Verifier {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
}

impl Verifier {
    pub(super) async fn start() -> Self {
        Self::start_with(ports::free(), Options::default()).await
    }

    pub(super) async fn start_with(address: SocketAddr, options: Options) -> Self {
        let Options { spec, tls, route_by_host } = options;
        let listener =
            TcpListener::bind(address).await.unwrap_or_else(|error| panic!("listening on {address}: {error}"));
        let engine = Arc::new(OnceLock::from(engine(&spec)));
        let auth = Arc::new(AuthPort::new(Arc::new(Metrics::new()), engine, Outside::default()));
        let (ready, drain) = (Arc::new(AtomicBool::new(true)), Drain::default());
        let asked = Arc::clone(&ready);
        let is_ready = Arc::new(move || asked.load(Ordering::Relaxed));
        let port = GrpcPort::new(auth, route_by_host, is_ready, drain.stop.clone());
        tokio::spawn(server::serve(listener, port, tls, drain, Admission::default()));
        Self { address, ready }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }
}
