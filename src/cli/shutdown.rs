//! Signals that ask the process to go away.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Error;

/// A token that SIGTERM or SIGINT cancels.
pub(super) fn token() -> Result<CancellationToken, Error> {
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => info!("SIGTERM: going away"),
            _ = interrupt.recv() => info!("SIGINT: going away"),
        }
        cancelled.cancel();
    });
    Ok(token)
}

fn listen(kind: SignalKind) -> Result<Signal, Error> {
    signal(kind).map_err(Error::Signal)
}
