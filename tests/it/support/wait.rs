//! Waiting for a state, never for a time.

use std::time::Duration;

/// How long a state may take to come about: generous, since only a failing test ever waits that long.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks `look` until it answers `Ok`, and returns that. `Err` says what was seen instead.
///
/// # Panics
/// After 60 seconds, with `what` was waited for and what was seen last.
pub(crate) async fn eventually<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut seen = "nothing yet".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, look()).await {
            Ok(Ok(value)) => return value,
            Ok(Err(instead)) => seen = instead,
            Err(_) => panic!("{what}: not within {PATIENCE:?}; last seen: {seen}"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// For [`eventually`]: `Ok` when `seen` is `wanted`, else what was seen.
pub(crate) fn is<T: PartialEq + std::fmt::Debug>(seen: &T, wanted: &T) -> Result<(), String> {
    if seen == wanted {
        Ok(())
    } else {
        Err(format!("{seen:?}"))
    }
}
