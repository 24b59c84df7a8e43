//! Serves the auth port over HTTP/1.1 with keep-alive, and goes away without failing a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::accept::accept;

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

/// Serves until stopped and drained. `answer` judges by the head of a request; bodies are not read.
pub async fn serve<A, F>(listener: TcpListener, answer: A, drain: Drain)
where
    A: Fn(Parts) -> F + Send + Sync + 'static,
    F: Future<Output = Response<String>> + Send + 'static,
{
    let answer = Arc::new(answer);
    let graceful = GracefulShutdown::new();
    accept(listener, &drain.stop, |stream, _| spawn(stream, Arc::clone(&answer), graceful.watcher(), &drain)).await;
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("connections are still open after {} s; giving them up", DRAIN_TIMEOUT.as_secs());
    }
}

fn spawn<A, F>(stream: TcpStream, answer: Arc<A>, watcher: Watcher, drain: &Drain)
where
    A: Fn(Parts) -> F + Send + Sync + 'static,
    F: Future<Output = Response<String>> + Send + 'static,
{
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection is gone already");
        return;
    }
    let leaving = drain.leaving.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (parts, _) = request.into_parts();
        let (answering, leaving) = (answer(parts), leaving.clone());
        async move {
            let mut response = answering.await;
            if leaving.is_cancelled() {
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
    let connection = watcher.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            debug!(%error, "a connection ended early");
        }
    });
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::net::{Ipv4Addr, SocketAddr};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    async fn start() -> (SocketAddr, Drain, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, drain) = (listener.local_addr().unwrap(), Drain::default());
        let server =
            tokio::spawn(serve(listener, |parts| ready(Response::new(parts.uri.path().to_owned())), drain.clone()));
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
}
