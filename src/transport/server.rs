//! Serves the auth port over HTTP/1.1 with keep-alive, and goes away without failing a request.

mod admission;
mod paced;

use std::convert::Infallible;
use std::error::Error as _;
use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub use admission::Admission;
use paced::{Paced, Turn};

use super::accept::accept;
use crate::metrics::TurnedAway;
use crate::telemetry::chain;

/// Request line and headers together, in bytes.
const MAX_HEADER_SIZE: usize = 64 * 1024;

/// Longer than nginx keeps an idle connection (60 s), so that it is nginx who closes one: a server that does
/// may do so just when the next request is on its way.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// How long open connections may take to end once nothing new is accepted.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The two steps of going away, taken one after the other.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    /// Every answer asks the proxy to close its connection; new connections are still accepted.
    pub leaving: CancellationToken,
    /// No connection is accepted any more, open ones end after the request that they are at.
    pub stop: CancellationToken,
}

/// Serves whom `admission` admits until stopped and drained. `answer` reads of a body what it needs.
pub async fn serve<A, F>(listener: TcpListener, answer: A, drain: Drain, admission: Admission)
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<String>> + Send + 'static,
{
    let server =
        Server { answer: Arc::new(answer), admission, leaving: drain.leaving, graceful: GracefulShutdown::new() };
    accept(listener, &drain.stop, |stream, peer| server.spawn(stream, peer)).await;
    if timeout(DRAIN_TIMEOUT, server.graceful.shutdown()).await.is_err() {
        warn!("connections are still open after {} s; giving them up", DRAIN_TIMEOUT.as_secs());
    }
}

struct Server<A> {
    answer: Arc<A>,
    admission: Admission,
    leaving: CancellationToken,
    graceful: GracefulShutdown,
}

impl<A, F> Server<A>
where
    A: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<String>> + Send + 'static,
{
    /// Answers on a connection, unless there are too many. Closed at once, the caller may try its luck elsewhere.
    fn spawn(&self, stream: TcpStream, peer: IpAddr) {
        let Some(place) = self.admission.place() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "a connection is gone already");
            return;
        }
        let (answer, leaving, turn) = (Arc::clone(&self.answer), self.leaving.clone(), Turn::default());
        let admission = self.admission.clone();
        let stream = Paced::new(stream, turn.clone());
        let may_ask = admission.may_ask(peer);
        let service = service_fn(move |request: Request<Incoming>| {
            turn.asked();
            let answering = if may_ask {
                Either::Left(answer(request))
            } else {
                admission.turn_away(TurnedAway::Peer);
                Either::Right(ready(forbidden()))
            };
            let (leaving, turn) = (leaving.clone(), turn.clone());
            async move {
                let mut response = answering.await;
                turn.answered();
                if leaving.is_cancelled() || !may_ask {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .max_header_size(MAX_HEADER_SIZE)
            .serve_connection(TokioIo::new(stream), service);
        let (connection, admission) = (self.graceful.watch(connection), self.admission.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                if is_slow(&error) {
                    admission.turn_away(TurnedAway::Slow);
                }
                debug!(error = chain(&error), "a connection ended early");
            }
            drop(place);
        });
    }
}

/// To somebody who may not ask.
fn forbidden() -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

/// Whether the caller took too long to ask.
fn is_slow(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::core::address::AddressSet;
    use crate::metrics::Connections;

    async fn start() -> (SocketAddr, Drain, JoinHandle<()>) {
        start_for(&[], 100).await
    }

    async fn start_for(peers: &[&str], max_connections: usize) -> (SocketAddr, Drain, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, drain) = (listener.local_addr().unwrap(), Drain::default());
        let admission = Admission::new(AddressSet::parse(peers).unwrap(), max_connections, Connections::default());
        let answer = |call: Request<Incoming>| ready(Response::new(call.uri().path().to_owned()));
        let server = tokio::spawn(serve(listener, answer, drain.clone(), admission));
        (address, drain, server)
    }

    /// Sends a request and answers everything up to the end of its body, which is its path.
    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: keyturn\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(format!("\r\n\r\n{path}").as_bytes()) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed after {answer:?}");
        }
        String::from_utf8(answer).unwrap().to_ascii_lowercase()
    }

    #[tokio::test]
    async fn a_connection_is_kept_until_the_server_leaves() {
        let (address, drain, server) = start().await;
        let mut kept = TcpStream::connect(address).await.unwrap();
        for path in ["/first", "/second"] {
            assert!(!ask(&mut kept, path).await.contains("connection: close"));
        }
        drain.leaving.cancel();
        assert!(ask(&mut kept, "/last").await.contains("connection: close"));
        assert_eq!(kept.read(&mut [0]).await.unwrap(), 0, "the connection is closed");
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut late, "/late").await.contains("connection: close"));
        drain.stop.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_stopped_server_answers_who_is_connected_and_nobody_else() {
        let (address, drain, server) = start().await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        ask(&mut idle, "/before").await;
        drain.stop.cancel();
        server.await.unwrap();
        assert_eq!(idle.read(&mut [0]).await.unwrap(), 0, "an idle connection is closed");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn too_many_header_bytes_are_refused() {
        let (address, _, _) = start().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: keyturn\r\nx: {}\r\n\r\n", "y".repeat(2 * MAX_HEADER_SIZE));
        // The server may have closed before everything was sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 431");
    }
    #[tokio::test]
    async fn who_may_not_ask_is_refused_and_let_go() {
        let (address, _, _) = start_for(&["192.0.2.0/24"], 100).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /auth HTTP/1.1\r\nhost: keyturn\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403") && !answer.contains("/auth"), "{answer}");
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_the_others_are_not() {
        let (address, _, _) = start_for(&[], 1).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        ask(&mut first, "/first").await;
        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(second.read(&mut [0]).await.unwrap_or(0), 0, "it is closed");
        ask(&mut first, "/still-open").await;
    }
}
