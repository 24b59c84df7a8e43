//! Whether anything may be said at all: this process holds a permit (`core::enforced::permit`), and every other
//! kind has been listed and heard of lately. What is known of ApiKeys is as fresh as the permit says.

use std::time::Duration;

use crate::core::enforced::permit::is_fresh;
use crate::core::instant::AtomicInstant;

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

/// Opens once everything is listed and there is a permit; closes by itself when that lapses, and while something
/// has been silent for too long. Instants are times since boot, suspended time included.
#[derive(Debug)]
pub struct Gate {
    max_staleness: Duration,
    /// When it lapses.
    permit: AtomicInstant,
    /// A kind that nothing depends on here.
    unwatched: Option<Watched>,
    /// By kind, when it was last heard of; none: not listed yet.
    heard: [AtomicInstant; Watched::ALL.len()],
}

impl Gate {
    /// A closed gate. A kind may be silent for `max_staleness`.
    #[must_use]
    pub fn new(max_staleness: Duration) -> Self {
        Self { max_staleness, permit: AtomicInstant::default(), unwatched: None, heard: Default::default() }
    }

    /// The gate that opens without having heard of that kind.
    #[must_use]
    pub fn without(self, kind: Watched) -> Self {
        Self { unwatched: Some(kind), ..self }
    }

    /// Requests may be judged until this instant.
    pub fn permit(&self, until: Duration) {
        self.permit.store(Some(until));
    }

    /// Nothing may be judged any more: when this returns, no judgement begins that was not begun before.
    pub fn close(&self) {
        self.permit.store(None);
    }

    /// Everything has to be listed anew.
    pub fn forget(&self) {
        self.close();
        self.heard.iter().for_each(|heard| heard.store(None));
    }

    /// Whether there is a permit that has not lapsed.
    #[must_use]
    pub fn is_permitted(&self, now: Duration) -> bool {
        self.permit.is_after(now)
    }

    /// A complete list of the kind has been applied.
    pub fn listed(&self, kind: Watched, at: Duration) {
        self.heard[kind as usize].advance(at);
    }

    /// An event or a bookmark of the kind has been applied. Says nothing as long as there was no list.
    pub fn heard(&self, kind: Watched, at: Duration) {
        // Only the kind's own watch writes, so nothing comes between the two steps.
        if self.heard[kind as usize].load().is_some() {
            self.listed(kind, at);
        }
    }

    /// Time since the kind was last heard of; `None` before its first list.
    #[must_use]
    pub fn age(&self, kind: Watched, now: Duration) -> Option<Duration> {
        self.heard[kind as usize].load().map(|heard| now.saturating_sub(heard))
    }

    /// Whether requests may be judged.
    #[must_use]
    pub fn is_open(&self, now: Duration) -> bool {
        self.is_permitted(now) && Watched::ALL.iter().all(|kind| self.is_fresh(*kind, now))
    }

    /// The kinds that keep the gate closed.
    pub fn missing(&self, now: Duration) -> impl Iterator<Item = Watched> {
        Watched::ALL.into_iter().filter(move |kind| !self.is_fresh(*kind, now))
    }

    fn is_fresh(&self, kind: Watched, now: Duration) -> bool {
        let heard = self.heard[kind as usize].load();
        match kind {
            kind if self.unwatched == Some(kind) => true,
            // Its own watch says less than the permit, which is checked by consistent lists.
            Watched::ApiKeys => heard.is_some(),
            _ => is_fresh(heard, self.max_staleness, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_STALENESS: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn missing(gate: &Gate, now: Duration) -> Vec<Watched> {
        gate.missing(now).collect()
    }

    /// With a permit for ever.
    fn permitted() -> Gate {
        let gate = Gate::new(MAX_STALENESS);
        gate.permit(at(1_000_000));
        gate
    }

    #[test]
    fn is_closed_until_everything_is_listed() {
        let gate = permitted();
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
    fn is_closed_without_a_permit_and_from_the_instant_on_at_which_it_lapses() {
        let gate = Gate::new(MAX_STALENESS);
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, at(10)));
        assert!(!gate.is_open(at(10)));
        gate.permit(at(20));
        assert!(gate.is_open(Duration::from_nanos(19_999_999_999)));
        assert!(!gate.is_open(at(20)));
        assert_eq!(missing(&gate, at(20)), []);
        gate.permit(at(30));
        assert!(gate.is_open(at(20)));
        gate.close();
        assert!(!gate.is_open(at(20)));
    }

    #[test]
    fn closes_when_a_kind_is_silent_for_too_long_and_opens_when_it_is_heard_of() {
        let gate = permitted();
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
    fn silence_about_apikeys_is_the_permits_to_judge() {
        let gate = permitted();
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, at(10)));
        let others = Watched::ALL.into_iter().filter(|kind| *kind != Watched::ApiKeys);
        others.for_each(|kind| gate.heard(kind, at(1_000)));
        assert!(gate.is_open(at(1_000)));
    }

    #[test]
    fn what_is_forgotten_has_to_be_listed_and_permitted_again() {
        let gate = permitted();
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, at(10)));
        gate.forget();
        assert_eq!(missing(&gate, at(10)), Watched::ALL);
        assert!(!gate.is_permitted(at(10)));
    }

    #[test]
    fn a_kind_that_is_not_watched_is_not_waited_for() {
        let gate = permitted().without(Watched::Namespaces);
        let others = Watched::ALL.into_iter().filter(|kind| *kind != Watched::Namespaces);
        others.for_each(|kind| gate.listed(kind, at(0)));
        assert!(gate.is_open(at(0)));
        assert_eq!(gate.age(Watched::Namespaces, at(0)), None);
    }

    #[test]
    fn news_that_arrive_late_make_nothing_older() {
        let gate = permitted();
        gate.listed(Watched::Roles, at(20));
        gate.heard(Watched::Roles, at(10));
        assert_eq!(gate.age(Watched::Roles, at(21)), Some(at(1)));
        assert_eq!(gate.age(Watched::Roles, at(19)), Some(at(0)));
    }
}
