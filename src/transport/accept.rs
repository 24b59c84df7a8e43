//! Accepts connections, for whichever port.

use std::net::IpAddr;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Pause after a connection could not be accepted, for instance for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

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
