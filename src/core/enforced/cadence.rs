//! How often a judging process does what keeps its permit, and how much silence it takes for a dead connection.

use std::time::Duration;

/// The least `--max-staleness`: below, one slow answer more would make a healthy process start over.
pub const LEAST_MAX_STALENESS: Duration = Duration::from_secs(10);

/// All of it, derived from `--max-staleness`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cadence {
    /// Between two checks of the permit.
    pub check: Duration,
    /// Between two writes of the Lease while there is nothing new to say.
    pub lease_write: Duration,
    /// Between two consistent reads of each other kind, which make bookmarks come.
    pub progress: Duration,
    /// After which the API server is asked to end a watch, whole seconds. Two seconds before, it sends a bookmark.
    pub watch: Duration,
}

impl Cadence {
    /// Every period is such that what it brings is there a second time well before `max_staleness` has passed.
    #[must_use]
    pub fn of(max_staleness: Duration) -> Self {
        let eighth = max_staleness / 8;
        Self {
            check: Duration::from_secs(15).min(eighth),
            lease_write: Duration::from_secs(10).min(eighth),
            progress: Duration::from_secs(5).min(eighth),
            watch: Duration::from_secs((max_staleness.as_secs() / 8).clamp(3, 15)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_twice_within_max_staleness() {
        for max_staleness in [LEAST_MAX_STALENESS, Duration::from_secs(37), Duration::from_mins(15)] {
            let Cadence { check, lease_write, progress, watch } = Cadence::of(max_staleness);
            // A check waits for a bookmark of the watch after the present one, and for a write of the Lease.
            assert!(check + watch + watch / 3 + lease_write < max_staleness * 8 / 10, "{max_staleness:?}");
            // A kind that is quiet is heard of by the first bookmark after a read.
            assert!(progress + watch + watch / 3 < max_staleness * 8 / 10, "{max_staleness:?}");
        }
    }

    #[test]
    fn a_long_max_staleness_changes_nothing_more() {
        let seconds = Duration::from_secs;
        let usual = Cadence { check: seconds(15), lease_write: seconds(10), progress: seconds(5), watch: seconds(15) };
        assert_eq!(Cadence::of(Duration::from_mins(15)), usual);
        assert_eq!(Cadence::of(Duration::from_hours(24)), usual);
    }
}
