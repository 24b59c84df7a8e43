//! Accepts connections, for whichever port.

use std::net::IpAddr;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::telemetry::chain;
use crate::tls::ServerTls;

/// Pause after a connection could not be accepted, for instance for want of file descriptors.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// How long agreeing on TLS may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Hands every connection to `serve` until told to stop. Whoever is connected by then is served too: closing the listener
/// would reset them.
pub(super) async fn accept(listener: TcpListener, stop: &CancellationToken, serve: impl Fn(TcpStream, IpAddr)) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => serve(stream, peer.ip()),
                Err(error) => {
                    warn!(%error, "a connection cannot be accepted");
                    sleep(PAUSE).await;
                }
            },
            () = stop.cancelled() => break,
        }
    }
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        serve(stream, peer.ip());
    }
}

/// Agrees on TLS with a caller. `None`, and a line in the log, if that comes to nothing.
pub(super) async fn agree(tls: &ServerTls, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let acceptor = match tls.acceptor().await {
        Ok(acceptor) => acceptor,
        Err(error) => {
            warn!(error = chain(&error), "nobody can be served over TLS");
            return None;
        }
    };
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => debug!(%error, "a caller and this process do not agree on TLS"),
        Err(_) => debug!("a connection came to no TLS"),
    }
    None
}
