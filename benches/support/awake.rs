//! A client that is never woken up.

use tokio::task::yield_now;
use tokio::time::Instant;

/// Keeps a client's thread from sleeping until then.
pub(crate) async fn stay_awake(end: Instant) {
    while Instant::now() < end {
        yield_now().await;
    }
}
