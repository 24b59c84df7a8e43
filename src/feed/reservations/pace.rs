//! How fast ledgers are written: 200 times a second by one process, for requests that wait before anything else.

use std::time::Duration;

/// What one write takes of a second: a two hundredth.
const GAP: Duration = Duration::from_millis(5);

/// What a process that has written nothing for a while may make up for: 50 writes at once.
const SAVED: Duration = Duration::from_millis(250);

/// What nobody waits for, in the order in which it is put off.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patient {
    /// The first chunk of the period to come.
    Next,
    /// What is given back.
    GiveBack,
}

impl Patient {
    /// How much it leaves of what is saved, for requests that come to wait.
    const fn spares(self) -> Duration {
        match self {
            Self::Next => Duration::from_millis(125),
            Self::GiveBack => Duration::from_millis(190),
        }
    }
}

/// When the next write may be, if all come at even distances. All instants are readings of one clock.
#[derive(Debug, Default)]
pub(super) struct Pace(Duration);

impl Pace {
    /// Takes a place for a request that waits, and answers how long until it is its turn. `None`: longer than that
    /// patience, so that it need not wait at all.
    pub(super) fn urgent(&mut self, now: Duration, patience: Duration) -> Option<Duration> {
        let due = self.due(now);
        let wait = due.saturating_sub(now);
        if wait > patience {
            return None;
        }
        self.0 = due + GAP;
        Some(wait)
    }

    /// Takes a write for something that can wait.
    ///
    /// # Errors
    /// Not now; whoever asks may ask again after this.
    pub(super) fn patient(&mut self, purpose: Patient, now: Duration) -> Result<(), Duration> {
        let due = self.due(now);
        match (due + purpose.spares()).saturating_sub(now) {
            Duration::ZERO => {
                self.0 = due + GAP;
                Ok(())
            }
            left => Err(left),
        }
    }

    fn due(&self, now: Duration) -> Duration {
        self.0.max(now.saturating_sub(SAVED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_request_waits_for_its_turn_or_not_at_all() {
        let mut pace = Pace::default();
        for _ in 0..50 {
            assert_eq!(pace.urgent(SECOND, at(250)), Some(Duration::ZERO));
        }
        let waits: Vec<_> = std::iter::from_fn(|| pace.urgent(SECOND, at(250))).collect();
        assert_eq!(waits.len(), 51);
        assert_eq!((waits.first(), waits.last()), (Some(&Duration::ZERO), Some(&at(250))));
        assert_eq!(pace.urgent(SECOND, at(250)), None);
        assert_eq!(pace.urgent(SECOND + at(5), at(250)), Some(at(250)), "nobody takes a place without waiting");
    }

    #[test]
    fn two_hundred_are_written_in_a_second_and_what_was_saved_before() {
        let mut pace = Pace::default();
        let mut written = 0;
        for millis in 1_000..2_000 {
            while pace.urgent(at(millis), Duration::ZERO).is_some() {
                written += 1;
            }
        }
        assert_eq!(written, 250);
    }

    #[test]
    fn what_can_wait_leaves_room_for_what_cannot() {
        for (purpose, at_once) in [(Patient::Next, 25), (Patient::GiveBack, 12)] {
            let mut pace = Pace::default();
            let taken = std::iter::from_fn(|| pace.patient(purpose, SECOND).ok()).count();
            assert_eq!(taken, at_once + 1, "{purpose:?}");
            assert_eq!(pace.patient(purpose, SECOND).map_err(|left| left > Duration::ZERO), Err(true));
            assert!(std::iter::from_fn(|| pace.urgent(SECOND, Duration::ZERO)).count() >= 24);
        }
        let mut pace = Pace::default();
        while pace.patient(Patient::Next, SECOND).is_ok() {}
        let left = pace.patient(Patient::GiveBack, SECOND).unwrap_err();
        assert!(pace.patient(Patient::Next, SECOND).unwrap_err() < left, "giving back is last");
        assert_eq!(pace.patient(Patient::GiveBack, SECOND + left), Ok(()), "and has its turn");
    }
}
