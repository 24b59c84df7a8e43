//! Looks after the files of TLS, also while nobody connects: proxies keep connections for days, and who replaced a
//! certificate wants to know soon whether it can be used.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::metrics::{TlsFiles, TlsPort};
use crate::telemetry::chain;
use crate::tls::ServerTls;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(5);

/// Says when the files of a port cannot be used, and when they can again; never ends.
pub async fn watch(port: TlsPort, tls: Arc<ServerTls>, files: TlsFiles) {
    let mut was_usable = true;
    loop {
        let trouble = tls.trouble().await;
        match (&trouble, was_usable) {
            (Some(error), true) => {
                warn!(
                    ?port,
                    error = chain(error),
                    "the files of TLS cannot be used; a certificate read before goes on being shown"
                );
            }
            (None, false) => info!(?port, "the files of TLS can be used again"),
            _ => {}
        }
        was_usable = trouble.is_none();
        files.set_usable(port, was_usable);
        sleep(INTERVAL).await;
    }
}
