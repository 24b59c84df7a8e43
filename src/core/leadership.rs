//! Who leads: one of several controllers, by a Lease that it has to renew.
//!
//! Nothing is compared with another machine's clock. A candidate waits until it has seen the Lease unchanged for
//! its duration and a tenth more, a leader stops well before, each by its own time since boot; clock rates may
//! differ by 5 %. A leader that was paused in the middle of a write may still send it: therefore every write carries
//! the version that it is based on.

use std::sync::Arc;
use std::time::Duration;

/// What a Lease says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lease {
    /// Its resourceVersion.
    pub version: Arc<str>,
    /// `None`: released, or never held.
    pub holder: Option<Arc<str>>,
    /// For how long its holder leads without renewing it, at the most.
    pub duration: Duration,
}

/// What a candidate does about the Lease next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Look at it: nothing is known of it, or not lately.
    Look,
    /// Create it: there is none.
    Create,
    /// Take it over, as it was last seen.
    Take,
    /// Renew it.
    Renew,
    /// Nothing for so long.
    Wait(Duration),
    /// Stop leading, at once.
    Resign,
}

/// One process that leads or would.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Candidate {
    me: Arc<str>,
    duration: Duration,
    /// The Lease, `None` if there is none, and since when it has been like that.
    seen: Option<(Option<Lease>, Duration)>,
    looked: Duration,
    /// Begin of the last write by which this process holds the Lease.
    held: Option<Duration>,
    /// Begin of the last attempt to renew it.
    tried: Duration,
}

impl Candidate {
    /// Under this name, which no other process has or will have. A Lease of its own lasts for `duration`.
    #[must_use]
    pub fn new(me: Arc<str>, duration: Duration) -> Self {
        Self { me, duration, seen: None, looked: Duration::ZERO, held: None, tried: Duration::ZERO }
    }

    /// The instant from which on this process must not lead any more; `None` while it does not.
    #[must_use]
    pub fn leads_until(&self) -> Option<Duration> {
        self.held.map(|held| held + self.duration * 2 / 3)
    }

    /// Who leads as far as is known, if anybody.
    #[must_use]
    pub fn leader(&self) -> Option<&Arc<str>> {
        self.seen.as_ref()?.0.as_ref()?.holder.as_ref()
    }

    /// What to do now.
    #[must_use]
    pub fn step(&self, now: Duration) -> Step {
        let due = |last: Duration| (last + self.retry()).saturating_sub(now);
        if let Some(until) = self.leads_until() {
            return match due(self.tried) {
                _ if until <= now => Step::Resign,
                Duration::ZERO => Step::Renew,
                left => Step::Wait(left.min(until.saturating_sub(now))),
            };
        }
        let Some((seen, since)) = &self.seen else { return Step::Look };
        let left = match seen {
            None => return Step::Create,
            // Nobody else has taken it meanwhile, and nobody can unless this write fails.
            Some(Lease { holder, .. }) if holder.as_ref().is_none_or(|holder| *holder == self.me) => return Step::Take,
            Some(lease) => (*since + lease.duration + lease.duration / 10).saturating_sub(now),
        };
        match (left, due(self.looked)) {
            // What was seen long ago may have changed since.
            (_, Duration::ZERO) => Step::Look,
            (Duration::ZERO, _) => Step::Take,
            (left, look) => Step::Wait(left.min(look)),
        }
    }

    /// The Lease was looked at.
    pub fn saw(&mut self, lease: Option<Lease>, now: Duration) {
        self.looked = now;
        if self.seen.as_ref().is_none_or(|(seen, _)| *seen != lease) {
            self.seen = Some((lease, now));
        }
        if self.leader() != Some(&self.me) {
            self.held = None;
        }
    }

    /// Trying to renew the Lease is begun.
    pub fn tries(&mut self, now: Duration) {
        self.tried = now;
    }

    /// A write that was begun at `begun` has made the Lease this, which is held by this process.
    pub fn holds(&mut self, lease: Lease, begun: Duration) {
        self.seen = Some((Some(lease), begun));
        self.held = Some(begun);
        self.tried = begun;
    }

    /// Leads no more.
    pub fn resign(&mut self) {
        self.held = None;
        self.seen = None;
    }

    /// Between two looks, or two renewals.
    fn retry(&self) -> Duration {
        self.duration / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DURATION: Duration = Duration::from_secs(16);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn lease(version: &str, holder: Option<&str>) -> Lease {
        Lease { version: version.into(), holder: holder.map(Into::into), duration: DURATION }
    }

    fn candidate() -> Candidate {
        Candidate::new("me".into(), DURATION)
    }

    /// Holds the Lease since 100.
    fn leader() -> Candidate {
        let mut candidate = candidate();
        candidate.holds(lease("1", Some("me")), at(100));
        candidate
    }

    #[test]
    fn nobody_acts_before_looking() {
        assert_eq!(candidate().step(at(100)), Step::Look);
        assert_eq!(candidate().leads_until(), None);
    }

    #[test]
    fn only_a_write_makes_a_leader() {
        let mut candidate = candidate();
        candidate.saw(Some(lease("1", Some("me"))), at(100));
        assert_eq!(candidate.leads_until(), None);
    }

    #[test]
    fn a_free_lease_is_taken_at_once() {
        let mut candidate = candidate();
        candidate.saw(None, at(100));
        assert_eq!(candidate.step(at(100)), Step::Create);
        candidate.saw(Some(lease("1", None)), at(100));
        assert_eq!(candidate.step(at(100)), Step::Take);
    }

    #[test]
    fn a_held_lease_is_taken_once_it_was_seen_unchanged_for_a_tenth_more_than_its_duration() {
        let mut candidate = candidate();
        candidate.saw(Some(lease("1", Some("other"))), at(100));
        assert_eq!(candidate.step(at(100)), Step::Wait(at(2)));
        assert_eq!(candidate.step(at(102)), Step::Look);
        candidate.saw(Some(lease("1", Some("other"))), at(117));
        assert_eq!(candidate.step(at(117)), Step::Wait(Duration::from_millis(600)));
        assert_eq!(candidate.step(at(200)), Step::Look, "it was not looked at lately");
        candidate.saw(Some(lease("1", Some("other"))), at(118));
        assert_eq!(candidate.step(at(118)), Step::Take);
        candidate.saw(Some(lease("2", Some("other"))), at(118));
        assert_eq!(candidate.step(at(118)), Step::Wait(at(2)), "it was renewed");
    }

    #[test]
    fn the_duration_that_counts_is_the_holders() {
        let mut candidate = candidate();
        let long = Lease { duration: at(1000), ..lease("1", Some("other")) };
        candidate.saw(Some(long.clone()), at(100));
        candidate.saw(Some(long.clone()), at(1199));
        assert_eq!(candidate.step(at(1199)), Step::Wait(at(1)));
        candidate.saw(Some(long), at(1200));
        assert_eq!(candidate.step(at(1200)), Step::Take);
    }

    #[test]
    fn a_leader_renews_and_resigns_before_anybody_else_can_take_over() {
        let mut leader = leader();
        assert_eq!(leader.leads_until(), Some(at(110) + Duration::from_nanos(666_666_666)));
        assert_eq!(leader.step(at(101)), Step::Wait(at(1)));
        assert_eq!(leader.step(at(102)), Step::Renew);
        leader.tries(at(102));
        assert_eq!(leader.step(at(103)), Step::Wait(at(1)), "renewing failed; it is tried again");
        assert_eq!(leader.step(at(104)), Step::Renew);
        assert_eq!(leader.step(at(111)), Step::Resign);
        leader.holds(lease("2", Some("me")), at(104));
        assert_eq!(leader.step(at(111)), Step::Renew);
    }

    #[test]
    fn whoever_sees_another_leader_leads_no_more() {
        for found in [Some(lease("2", Some("other"))), Some(lease("2", None)), None] {
            let mut leader = leader();
            leader.saw(found, at(101));
            assert_eq!(leader.leads_until(), None);
        }
        let mut leader = leader();
        leader.saw(Some(lease("2", Some("me"))), at(101));
        assert!(leader.leads_until().is_some(), "the answer to its own write was lost");
    }

    #[test]
    fn whoever_has_resigned_looks_before_it_leads_again() {
        let mut leader = leader();
        leader.resign();
        assert_eq!((leader.leads_until(), leader.step(at(101))), (None, Step::Look));
        leader.saw(Some(lease("1", Some("me"))), at(101));
        assert_eq!(leader.step(at(101)), Step::Take, "nobody else has taken it");
    }
}
