//! An instant that one task sets and others hold against their own time, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A time since boot, or none. In nanoseconds, of which 64 bits are centuries.
#[derive(Debug, Default)]
pub struct AtomicInstant(
    /// One more than its nanoseconds; 0: there is none.
    AtomicU64,
);

impl AtomicInstant {
    /// Replaces it. When this returns, nobody reads what was there before.
    pub fn store(&self, at: Option<Duration>) {
        self.0.store(at.map_or(0, stamp), Ordering::SeqCst);
    }

    /// Makes it this, unless it is later already.
    pub fn advance(&self, at: Duration) {
        self.0.fetch_max(stamp(at), Ordering::AcqRel);
    }

    #[must_use]
    pub fn load(&self) -> Option<Duration> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(Duration::from_nanos)
    }

    /// Whether there is one, and it is still to come.
    #[must_use]
    pub fn is_after(&self, now: Duration) -> bool {
        stamp(now) < self.0.load(Ordering::Acquire)
    }
}

fn stamp(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_not_there_is_not_to_come() {
        let instant = AtomicInstant::default();
        assert_eq!(instant.load(), None);
        assert!(!instant.is_after(at(0)));
        instant.store(Some(at(0)));
        instant.store(None);
        assert_eq!(instant.load(), None);
    }

    #[test]
    fn it_is_to_come_until_it_is_there() {
        let instant = AtomicInstant::default();
        instant.store(Some(at(10)));
        assert!(instant.is_after(Duration::from_nanos(9_999_999_999)));
        assert!(!instant.is_after(at(10)));
        instant.store(Some(at(0)));
        assert_eq!(instant.load(), Some(at(0)), "boot is an instant too");
    }

    #[test]
    fn it_advances_and_never_goes_back() {
        let instant = AtomicInstant::default();
        for (given, expected) in [(at(10), at(10)), (at(9), at(10)), (at(11), at(11))] {
            instant.advance(given);
            assert_eq!(instant.load(), Some(expected));
        }
        instant.advance(Duration::MAX);
        assert!(instant.is_after(at(1_000_000_000)), "what no 64 bits hold is still late");
    }
}
