//! Whether what is in memory is fresh enough to judge by: every watched kind has been listed and has been heard
//! of lately.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A kind of object that judging depends on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Watched {
    ApiKeys,
    ProtectedApis,
    Tiers,
    Roles,
    Owners,
    Namespaces,
}

impl Watched {
    pub const ALL: [Self; 6] =
        [Self::ApiKeys, Self::ProtectedApis, Self::Tiers, Self::Roles, Self::Owners, Self::Namespaces];

    /// The resource's plural name, for readiness and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKeys => "apikeys",
            Self::ProtectedApis => "protectedapis",
            Self::Tiers => "apikeytiers",
            Self::Roles => "apikeyroles",
            Self::Owners => "apikeyowners",
            Self::Namespaces => "namespaces",
        }
    }
}

/// Opens once everything is listed; closes while something has been silent for too long. Instants are readings
/// of a clock that never steps back, as the time since its origin.
#[derive(Debug)]
pub struct Gate {
    max_age: Duration,
    /// A kind that nothing depends on here.
    unwatched: Option<Watched>,
    /// By kind: one more than the nanoseconds at which it was last heard of; 0: not listed yet.
    heard: [AtomicU64; Watched::ALL.len()],
}

impl Gate {
    /// A closed gate. A kind may be silent for `max_age`.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self { max_age, unwatched: None, heard: Default::default() }
    }

    /// The gate that opens without having heard of that kind.
    #[must_use]
    pub fn without(self, kind: Watched) -> Self {
        Self { unwatched: Some(kind), ..self }
    }

    /// A complete list of the kind has been applied.
    pub fn listed(&self, kind: Watched, at: Duration) {
        self.heard[kind as usize].fetch_max(stamp(at), Ordering::AcqRel);
    }

    /// An event or a bookmark of the kind has been applied. Says nothing as long as there was no list.
    pub fn heard(&self, kind: Watched, at: Duration) {
        // Only the kind's own watch writes, so nothing comes between the two steps.
        if self.heard[kind as usize].load(Ordering::Acquire) > 0 {
            self.listed(kind, at);
        }
    }

    /// Time since the kind was last heard of; `None` before its first list.
    #[must_use]
    pub fn age(&self, kind: Watched, now: Duration) -> Option<Duration> {
        let heard = self.heard[kind as usize].load(Ordering::Acquire);
        let since = stamp(now).saturating_sub(heard);
        (heard > 0).then_some(Duration::from_nanos(since))
    }

    /// Whether requests may be judged.
    #[must_use]
    pub fn is_open(&self, now: Duration) -> bool {
        Watched::ALL.iter().all(|kind| self.is_fresh(*kind, now))
    }

    /// The kinds that keep the gate closed.
    pub fn missing(&self, now: Duration) -> impl Iterator<Item = Watched> {
        Watched::ALL.into_iter().filter(move |kind| !self.is_fresh(*kind, now))
    }

    fn is_fresh(&self, kind: Watched, now: Duration) -> bool {
        self.unwatched == Some(kind) || self.age(kind, now).is_some_and(|age| age <= self.max_age)
    }
}

fn stamp(at: Duration) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX - 1).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn missing(gate: &Gate, now: Duration) -> Vec<Watched> {
        gate.missing(now).collect()
    }

    #[test]
    fn is_closed_until_everything_is_listed() {
        let gate = Gate::new(MAX_AGE);
        assert_eq!(missing(&gate, at(0)), Watched::ALL);
        gate.heard(Watched::ApiKeys, at(0));
        assert_eq!(missing(&gate, at(0)), Watched::ALL, "an event before the list is none");
        let others = Watched::ALL.into_iter().filter(|kind| *kind != Watched::ProtectedApis);
        others.for_each(|kind| gate.listed(kind, at(0)));
        assert_eq!(missing(&gate, at(1)), [Watched::ProtectedApis]);
        assert!(!gate.is_open(at(1)));
        gate.listed(Watched::ProtectedApis, at(1));
        assert!(gate.is_open(at(1)));
    }

    #[test]
    fn closes_when_a_kind_is_silent_for_too_long_and_opens_when_it_is_heard_of() {
        let gate = Gate::new(MAX_AGE);
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, at(10)));
        let others = Watched::ALL.into_iter().filter(|kind| *kind != Watched::ProtectedApis);
        others.for_each(|kind| gate.heard(kind, at(20)));
        assert!(gate.is_open(at(40)));
        assert_eq!(missing(&gate, at(41)), [Watched::ProtectedApis]);
        assert_eq!(gate.age(Watched::ProtectedApis, at(41)), Some(at(31)));
        gate.heard(Watched::ProtectedApis, at(41));
        assert!(gate.is_open(at(41)));
    }

    #[test]
    fn a_kind_that_is_not_watched_is_not_waited_for() {
        let gate = Gate::new(MAX_AGE).without(Watched::Namespaces);
        let others = Watched::ALL.into_iter().filter(|kind| *kind != Watched::Namespaces);
        others.for_each(|kind| gate.listed(kind, at(0)));
        assert!(gate.is_open(at(0)));
        assert_eq!(gate.age(Watched::Namespaces, at(0)), None);
    }

    #[test]
    fn news_that_arrive_late_make_nothing_older() {
        let gate = Gate::new(MAX_AGE);
        gate.listed(Watched::ApiKeys, at(20));
        gate.heard(Watched::ApiKeys, at(10));
        assert_eq!(gate.age(Watched::ApiKeys, at(21)), Some(at(1)));
        assert_eq!(gate.age(Watched::ApiKeys, at(19)), Some(at(0)));
    }
}
