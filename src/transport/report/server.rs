//! Serves the report port over HTTP/1.1, with TLS where there are certificates.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::ReportPort;
use crate::tls::ServerTls;
use crate::transport::accept::{PAUSE, agree};
use crate::transport::server::{DRAIN_TIMEOUT, Drain};

/// Connections at the same time: shippers are few and come for a moment. What is read of others, who have not proven who
/// they are, is a head.
const MOST_CONNECTIONS: usize = 256;

/// Request line and headers together, in bytes.
const MAX_HEADER_SIZE: usize = 16 * 1024;

/// How long the head of a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Serves until stopped and drained.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerTls>>, port: Arc<ReportPort>, drain: Drain) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accepting = async {
        // Never closed, so there always comes one.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection { place, watcher: graceful.watcher(), leaving: drain.leaving.clone() };
                    tokio::spawn(connection.begin(stream, tls.clone(), Arc::clone(&port)));
                }
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    };
    drain.stop.run_until_cancelled(accepting).await;
    drop(listener);
    if timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("log shippers are still connected after {} s; giving them up", DRAIN_TIMEOUT.as_secs());
    }
}

/// What a connection has of the server.
struct Connection {
    place: OwnedSemaphorePermit,
    watcher: Watcher,
    leaving: CancellationToken,
}

impl Connection {
    async fn begin(self, stream: TcpStream, tls: Option<Arc<ServerTls>>, port: Arc<ReportPort>) {
        let Some(tls) = tls else { return self.serve(stream, port).await };
        if let Some(stream) = agree(&tls, stream).await {
            self.serve(stream, port).await;
        }
    }

    async fn serve<S>(self, stream: S, port: Arc<ReportPort>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Self { place, watcher, leaving } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let (port, leaving) = (Arc::clone(&port), leaving.clone());
            async move {
                let mut response = port.answer(request).await;
                if leaving.is_cancelled() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(TIMEOUT)
            .max_header_size(MAX_HEADER_SIZE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            debug!(%error, "a connection ended early");
        }
        drop(place);
    }
}
