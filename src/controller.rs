//! Mints, rotates and revokes.

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the controller works with.
pub struct Options {
    pub client: Client,
    /// The only namespace to look after; `None` for all.
    pub namespace: Option<String>,
    /// Where Keyturn's own objects are.
    pub operator_namespace: String,
    /// Told `true` once every kind has been read.
    pub ready: watch::Sender<bool>,
}

/// The controller cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Reconciles until told to stop.
///
/// # Errors
/// When it cannot go on.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    options.ready.send_replace(true);
    shutdown.cancelled().await;
    Ok(())
}
