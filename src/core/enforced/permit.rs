//! Whether a process that judges keys may answer: as long as it can prove to itself that the controller still
//! waits for it.
//!
//! ```text
//!  claim ─► list ─► first permit ─► check: LIST at t0 answers version L ─┐
//!             every 15 s ──────────►   applied ≥ L                       ├─► answer until t0 + max-staleness
//!                                      a Lease write begun after t0 ─────┘
//! ```
//!
//! Instants are readings of the process's own clock of the time since boot.

use std::time::Duration;

/// Why a process must stop answering, release its Lease and start over with another one and new lists.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
pub enum Over {
    /// The controller may have stopped waiting for this process.
    #[error("nothing was confirmed by the API server for as long as keys may be judged without it")]
    Lapsed,
    /// What was applied is of a history that the API server no longer has.
    #[error("version {listed} was listed after version {applied} was applied, as after a restore of etcd")]
    Restored { listed: u64, applied: u64 },
}

/// What a process under one Lease knows of its right to answer.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Permit {
    max_staleness: Duration,
    /// Begin of the last write of the Lease that is known to have taken place.
    written: Duration,
    /// Highest resourceVersion of an ApiKey that is applied.
    applied: Option<u64>,
    check: Option<Check>,
    until: Option<Duration>,
}

/// A consistent LIST that was begun at an instant and answered with a version.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Check {
    begun: Duration,
    version: u64,
}

impl Permit {
    /// Of a process whose claim of a Lease, begun at `begun`, has taken place. It may not answer yet.
    #[must_use]
    pub fn claimed(begun: Duration, max_staleness: Duration) -> Self {
        Self { max_staleness, written: begun, applied: None, check: None, until: None }
    }

    /// Whether all ApiKeys may be replaced by a list as of `version`.
    ///
    /// # Errors
    /// When they must not be: the process has to start over.
    pub fn may_list(&self, version: u64, now: Duration) -> Result<(), Over> {
        self.still_runs(now)?;
        self.no_older(version)
    }

    /// All ApiKeys, listed from `begun` on, are applied as of `version`.
    ///
    /// # Errors
    /// When the process has to start over.
    pub fn listed(&mut self, begun: Duration, version: u64, now: Duration) -> Result<(), Over> {
        self.may_list(version, now)?;
        self.applied = Some(version);
        self.check.get_or_insert(Check { begun, version });
        self.settle(now);
        Ok(())
    }

    /// The ApiKeys are applied up to `version`.
    ///
    /// # Errors
    /// When the process has to start over.
    pub fn applied(&mut self, version: u64, now: Duration) -> Result<(), Over> {
        self.still_runs(now)?;
        self.applied = self.applied.max(Some(version));
        self.settle(now);
        Ok(())
    }

    /// A consistent LIST of ApiKeys, begun at `begun`, was answered as of `version`.
    ///
    /// # Errors
    /// When the process has to start over.
    pub fn checked(&mut self, begun: Duration, version: u64, now: Duration) -> Result<(), Over> {
        self.still_runs(now)?;
        self.no_older(version)?;
        self.check = Some(Check { begun, version });
        self.settle(now);
        Ok(())
    }

    /// A write of the Lease that was begun at `begun` is known to have taken place.
    ///
    /// # Errors
    /// When the process has to start over. That the write took place is no help then: the controller may have
    /// looked just before.
    pub fn written(&mut self, begun: Duration, now: Duration) -> Result<(), Over> {
        self.still_runs(now)?;
        self.written = self.written.max(begun);
        self.settle(now);
        Ok(())
    }

    /// Highest resourceVersion of an ApiKey that is applied.
    #[must_use]
    pub fn has_applied(&self) -> Option<u64> {
        self.applied
    }

    /// The instant before which requests may be answered; `None` until there is a first permit.
    #[must_use]
    pub fn until(&self) -> Option<Duration> {
        self.until
    }

    /// Whether a check is under way whose conditions are not all met yet.
    #[must_use]
    pub fn is_checking(&self) -> bool {
        self.check.is_some()
    }

    /// The instant from which on this Lease is of no use any more, unless something is confirmed before.
    ///
    /// Before the first permit it is the Lease's own end: one that lay unchanged for its whole duration is waited
    /// for no longer, and whoever claimed it must not begin to answer.
    #[must_use]
    pub fn over_at(&self) -> Duration {
        self.until.unwrap_or(self.written + self.max_staleness)
    }

    /// Whether the process may go on under this Lease.
    ///
    /// # Errors
    /// When it has to start over.
    pub fn still_runs(&self, now: Duration) -> Result<(), Over> {
        if now < self.over_at() { Ok(()) } else { Err(Over::Lapsed) }
    }

    fn no_older(&self, listed: u64) -> Result<(), Over> {
        match self.applied {
            Some(applied) if listed < applied => Err(Over::Restored { listed, applied }),
            _ => Ok(()),
        }
    }

    /// Grants what the pending check allows once all its conditions are met.
    fn settle(&mut self, now: Duration) {
        let Some(Check { begun, version }) = self.check else {
            return;
        };
        let until = begun + self.max_staleness;
        if until <= now {
            // Too slow to be of use; the next check may be quicker.
            self.check = None;
        } else if self.applied >= Some(version) && self.written >= begun {
            self.until = self.until.max(Some(until));
            self.check = None;
        }
    }
}

/// Whether a kind that no permit speaks of was heard of lately enough to judge by it. `None`: never.
#[must_use]
pub fn is_fresh(heard: Option<Duration>, max_staleness: Duration, now: Duration) -> bool {
    heard.is_some_and(|heard| now.saturating_sub(heard) <= max_staleness)
}

#[cfg(test)]
impl Permit {
    /// Goes on although it has lapsed, as nothing but the model without one of its rules does.
    pub(super) fn revive(&mut self, written: Duration) {
        self.written = self.written.max(written);
        self.settle(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_STALENESS: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Claimed at 0.
    fn claimed() -> Permit {
        Permit::claimed(at(0), MAX_STALENESS)
    }

    /// Claimed at 0, listed from 10 on as of version 5: may answer until 110.
    fn granted() -> Permit {
        let mut permit = claimed();
        permit.listed(at(10), 5, at(12)).unwrap();
        permit.written(at(13), at(14)).unwrap();
        permit
    }

    #[test]
    fn there_is_none_before_the_list_is_applied_and_a_later_write_of_the_lease_has_succeeded() {
        let mut permit = claimed();
        assert_eq!(permit.until(), None);
        permit.written(at(5), at(6)).unwrap();
        assert_eq!(permit.until(), None, "nothing is applied");
        permit.listed(at(10), 5, at(12)).unwrap();
        assert_eq!(permit.until(), None, "the Lease was written before the list was begun");
        permit.written(at(9), at(13)).unwrap();
        assert_eq!(permit.until(), None, "this write too was begun before");
        permit.written(at(13), at(14)).unwrap();
        assert_eq!(permit.until(), Some(at(110)), "counted from the begin of the list");
    }

    #[test]
    fn a_check_extends_it_from_its_own_begin_once_everything_listed_is_applied_and_the_lease_is_written() {
        let mut permit = granted();
        permit.checked(at(50), 7, at(53)).unwrap();
        assert!(permit.is_checking());
        permit.written(at(51), at(54)).unwrap();
        permit.applied(6, at(55)).unwrap();
        assert_eq!(permit.until(), Some(at(110)), "version 7 is not applied");
        permit.applied(7, at(56)).unwrap();
        assert_eq!((permit.until(), permit.is_checking()), (Some(at(150)), false));

        permit.checked(at(70), 7, at(71)).unwrap();
        assert_eq!(permit.until(), Some(at(150)), "the Lease was not written since");
        permit.written(at(69), at(72)).unwrap();
        assert_eq!(permit.until(), Some(at(150)), "nor by a write that was begun before");
        permit.written(at(70), at(73)).unwrap();
        assert_eq!(permit.until(), Some(at(170)));
    }

    #[test]
    fn nothing_revives_one_that_has_lapsed() {
        type Call = fn(&mut Permit, Duration) -> Result<(), Over>;
        let calls: [Call; 4] = [
            |permit, now| permit.checked(at(109), 5, now),
            |permit, now| permit.written(at(109), now),
            |permit, now| permit.applied(9, now),
            |permit, now| permit.listed(at(109), 9, now),
        ];
        for call in calls {
            let mut permit = granted();
            assert_eq!(call(&mut permit, at(109)), Ok(()));
            let mut permit = granted();
            assert_eq!(call(&mut permit, at(110)), Err(Over::Lapsed));
            assert_eq!(permit, granted());
        }
    }

    #[test]
    fn a_lease_that_lay_unchanged_for_its_duration_gives_no_first_permit() {
        let mut permit = claimed();
        assert_eq!(permit.over_at(), at(100));
        assert_eq!(permit.listed(at(99), 5, at(100)), Err(Over::Lapsed));
        permit.written(at(60), at(61)).unwrap();
        assert_eq!(permit.over_at(), at(160), "one that is written lives on while a long list is read");
        permit.listed(at(99), 5, at(150)).unwrap();
        permit.written(at(151), at(152)).unwrap();
        assert_eq!(permit.until(), Some(at(199)));
    }

    #[test]
    fn a_check_that_took_too_long_is_dropped() {
        let mut permit = claimed();
        permit.written(at(90), at(91)).unwrap();
        permit.listed(at(1), 5, at(101)).unwrap();
        assert_eq!((permit.until(), permit.is_checking()), (None, false));
        permit.checked(at(102), 5, at(103)).unwrap();
        permit.written(at(104), at(105)).unwrap();
        assert_eq!(permit.until(), Some(at(202)));
    }

    #[test]
    fn a_version_that_goes_backwards_ends_it() {
        let restored = Err(Over::Restored { listed: 4, applied: 5 });
        assert_eq!(granted().checked(at(20), 4, at(21)), restored);
        assert_eq!(granted().listed(at(20), 4, at(21)), restored);
        assert_eq!(granted().may_list(4, at(21)), restored, "what is known must not be replaced");
        let mut permit = granted();
        permit.applied(4, at(20)).unwrap();
        assert_eq!(permit.checked(at(20), 5, at(21)), Ok(()), "an event that comes late takes nothing back");
    }
}
