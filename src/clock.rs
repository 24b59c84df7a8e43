//! The only place that asks what time it is; everything else is told.

use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock: what expiry and grace are judged by.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the wrapper that everybody else calls")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Time since boot, suspended time included: what freshness is judged by. [`std::time::Instant`] stands still
/// while a machine is suspended, and a verifier that wakes up must know that what it knows is old.
#[must_use]
pub fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // The kernel never reports a negative time since boot, nor a second's worth of nanoseconds.
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_since_boot_does_not_go_backwards() {
        let earlier = since_boot();
        assert!(since_boot() >= earlier);
        assert_ne!(earlier, Duration::ZERO);
    }
}
