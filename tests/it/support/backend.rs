//! The application behind the proxy: answers 200 to everything and remembers what reached it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Uri};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http::only;

pub(crate) struct Backend {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    /// The value of a header field that is there once; `None` when it is missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// It is from the key speech/ci of the tests of nginx, and has no credential any more. Where there is nothing to
    /// say the field is left out, and the client's own with it.
    #[track_caller]
    pub(crate) fn assert_is_from_ci(&self) {
        for (name, expected) in [
            ("x-apikey-id", Some("key_ci")),
            ("x-apikey-name", Some("ci")),
            ("x-apikey-namespace", Some("speech")),
            ("x-apikey-owner", Some("acme-1")),
            ("x-apikey-environment", Some("live")),
            ("x-apikey-version", Some("1")),
            ("x-apikey-scopes", Some("models:read")),
            ("x-apikey-tier", None),
            ("authorization", None),
            ("x-api-key", None),
        ] {
            assert_eq!(self.header(name), expected, "{name}");
        }
    }
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let seen = Arc::default();
        let app = Router::new().fallback(record).with_state(Arc::clone(&seen));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the backend serves");
        });
        Self { address, seen, server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The only request that has arrived since the last call.
    pub(crate) fn take_one(&self) -> Seen {
        let [seen] = <[Seen; 1]>::try_from(self.take()).expect("one request reached the backend");
        seen
    }

    /// Everything that has arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.seen))
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(State(seen): State<Arc<Mutex<Vec<Seen>>>>, request: Request) -> &'static str {
    let (head, _) = request.into_parts();
    lock(&seen).push(Seen { method: head.method, uri: head.uri, headers: head.headers });
    "from the backend\n"
}

fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
