//! Waiting for a state, never for a time.

use std::time::Duration;

/// How long a state may take to come about: generous, since only a failing test ever waits that long.
const PATIENCE: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks `look` until it answers `Ok`, and returns that. `Err` says what was seen instead.
///
/// # Panics
/// After 60 seconds, with `what` was waited for and what was seen last.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// The same for what takes longer.
pub(crate) async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let mut seen = "nothing yet".to_owned();
    let looked = async {
        loop {
            match look().await {
                Ok(value) => return value,
                Err(instead) => seen = instead,
            }
            // Also gives way to the deadline, where looking never waits for anything.
            tokio::time::sleep(INTERVAL).await;
        }
    };
    match tokio::time::timeout(patience, looked).await {
        Ok(value) => value,
        Err(elapsed) => panic!("{what}: {elapsed} after {patience:?}; last seen: {seen}"),
    }
}
