//! The health port, which serves for as long as what it tells of.

use std::future::Future;
use std::net::SocketAddr;

use super::{Error, listen};
use crate::transport::health::{self, Health};

/// Serves the health port until `process` ends, and answers how that ended.
pub(super) async fn beside(
    address: SocketAddr,
    health: Health,
    process: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let listener = listen(address).await?;
    tracing::info!(%address, "serving health and metrics");
    tokio::select! {
        ended = process => ended,
        served = axum::serve(listener, health::router(health)).into_future() => {
            served.map_err(|error| Error::Serve("health and metrics", error))
        }
    }
}
