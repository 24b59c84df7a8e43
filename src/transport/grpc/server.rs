//! Serves gRPC over HTTP/2, and goes away without failing a call.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::GrpcPort;
use crate::telemetry::chain;
use crate::tls::ServerTls;
use crate::transport::accept::{accept, agree};
use crate::transport::server::{Admission, DRAIN_TIMEOUT, Drain};

/// Headers of a call, in bytes; those of the client's request are part of its message.
const MAX_HEADER_SIZE: u32 = 16 * 1024;

/// Calls that one connection may have open at once. A proxy that has more makes another connection.
const MAX_CALLS: u32 = 1_024;

/// How often a silent proxy is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may take to its first call. Proxies connect when they have one.
const FIRST_CALL: Duration = Duration::from_secs(30);

/// What is offered in TLS as the protocol inside.
pub const PROTOCOL: &[&[u8]] = &[b"h2"];

/// Serves whom `admission` admits until stopped and drained; connections of others are closed. `tls`: `None` in the clear.
pub async fn serve(
    listener: TcpListener,
    port: GrpcPort,
    tls: Option<Arc<ServerTls>>,
    drain: Drain,
    admission: Admission,
) {
    let open = TaskTracker::new();
    let server = Arc::new(Server { port, tls, drain: drain.clone() });
    accept(listener, &drain.stop, |stream, peer| {
        let (server, Some(place)) = (Arc::clone(&server), admission.place_for(peer)) else { return };
        open.spawn(async move {
            server.serve(stream).await;
            drop(place);
        });
    })
    .await;
    open.close();
    if timeout(DRAIN_TIMEOUT, open.wait()).await.is_err() {
        warn!("gRPC connections are still open after {} s; giving them up", DRAIN_TIMEOUT.as_secs());
    }
}

struct Server {
    port: GrpcPort,
    tls: Option<Arc<ServerTls>>,
    drain: Drain,
}

impl Server {
    /// Answers on a connection.
    async fn serve(&self, stream: TcpStream) {
        if let Err(error) = stream.set_nodelay(true) {
            return debug!(%error, "a connection is gone already");
        }
        let Some(tls) = &self.tls else { return self.answer(stream).await };
        if let Some(stream) = agree(tls, stream).await {
            self.answer(stream).await;
        }
    }

    async fn answer<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (port, asked) = (self.port.clone(), Arc::new(AtomicBool::new(false)));
        let has_asked = Arc::clone(&asked);
        let service = service_fn(move |call: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            let port = port.clone();
            async move { Ok::<_, Infallible>(port.answer(call).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .max_concurrent_streams(MAX_CALLS)
            .max_header_list_size(MAX_HEADER_SIZE)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut patience = pin!(sleep(FIRST_CALL));
        // Whoever comes when the process is leaving already, as there is nobody else perhaps, is served until it stops.
        let Drain { leaving, stop } = &self.drain;
        let leave = if leaving.is_cancelled() { stop } else { leaving };
        let (mut is_told, mut is_checked) = (false, false);
        loop {
            tokio::select! {
                ended = &mut connection => {
                    return ended.unwrap_or_else(|error| debug!(error = chain(&error), "a gRPC connection ended early"));
                }
                () = leave.cancelled(), if !is_told => {
                    is_told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = &mut patience, if !is_checked => {
                    is_checked = true;
                    if !has_asked.load(Ordering::Relaxed) {
                        return debug!("a connection came to no call");
                    }
                }
            }
        }
    }
}
