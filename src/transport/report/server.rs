//! Serves the report port over HTTP/1.1 and HTTP/2, whichever a caller begins with, with TLS where there are certificates.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Version, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tonic::body::Body;
use tracing::{debug, warn};

use super::{ReportPort, access_log};
use crate::tls::ServerTls;
use crate::transport::accept::{PAUSE, agree};
use crate::transport::server::{DRAIN_TIMEOUT, Drain};

/// Connections at the same time: shippers are few and come for a moment. What is read of others, who have not proven who
/// they are, is a head.
const MOST_CONNECTIONS: usize = 256;

/// Request line and headers together, in bytes.
const MAX_HEADER_SIZE: u16 = 16 * 1024;

/// How long the head of a request may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Streams that one connection may have open at once: an Envoy has one for each of its threads' loggers.
const MAX_STREAMS: u32 = 64;

/// How often a silent proxy is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What is offered in TLS as the protocol inside.
pub const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Serves until stopped and drained.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerTls>>, port: Arc<ReportPort>, drain: Drain) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let accepting = async {
        // Never closed, so there always comes one.
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = Connection { place, watcher: graceful.watcher(), drain: drain.clone() };
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
    drain: Drain,
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
        let Self { place, watcher, drain } = self;
        let asked = Arc::new(AtomicBool::new(false));
        let has_asked = Arc::clone(&asked);
        let service = service_fn(move |request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let (port, drain) = (Arc::clone(&port), drain.clone());
            async move {
                if request.uri().path() == access_log::PATH {
                    return Ok::<_, Infallible>(port.receive(request, &drain.stop).await);
                }
                let is_http1 = request.version() < Version::HTTP_2;
                let mut response = port.answer(request).await.map(|text| Body::new(Full::new(Bytes::from(text))));
                if is_http1 && drain.leaving.is_cancelled() {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok(response)
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(TIMEOUT).max_buf_size(MAX_HEADER_SIZE.into());
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_SIZE.into());
        let mut connection = pin!(watcher.watch(builder.serve_connection(TokioIo::new(stream), service)));
        let ended = match timeout(TIMEOUT, &mut connection).await {
            Ok(ended) => ended,
            // Which of the two protocols it is may not even be clear.
            Err(_) if !has_asked.load(Ordering::Relaxed) => return debug!("a connection came to no report"),
            Err(_) => connection.await,
        };
        if let Err(error) = ended {
            debug!(%error, "a connection ended early");
        }
        drop(place);
    }
}
