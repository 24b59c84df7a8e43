//! The versions of a key and how they follow each other.
//!
//! ```text
//!          stage                  promote                  grace ends
//! (minted) ─────► Staged ───────────────────► Current ─► Grace ─────────► Retired
//!                   │ its string is lost                  ▲ not with grace 0: then staging
//!                   └────────────────────► Retired        └ the successor retires Current
//! ```
//!
//! Verifiers accept `Staged`, `Current` and, until `not_after`, `Grace`. Whatever happens here is one write of
//! the whole list, so no reader ever sees half a transition.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::digest::Digest;
use super::handover::Handover;
use super::policy::{RotationRequest, Schedule};

/// Versions that a key remembers: retired ones so that they are answered as expired.
pub const MAX_VERSIONS: usize = 4;

/// Grace where nobody says one and there is no interval to take half of.
const LONGEST_DEFAULT_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Rotations come early by up to a twentieth of the interval …
const SPREAD_DIVISOR: u32 = 20;

/// … and at most by this.
const LONGEST_SPREAD: Duration = Duration::from_secs(3600);

/// What a version is at the moment.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum VersionState {
    /// Known to verifiers and accepted, not yet in the Secret.
    Staged,
    /// In the Secret.
    Current,
    /// Superseded, accepted until `not_after`.
    Grace,
    /// Refused.
    Retired,
}

/// One minted string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Version {
    /// From 1 on, never used twice.
    pub number: u32,
    pub digest: Digest,
    /// Name of the pepper that the digest was made with.
    pub pepper: Arc<str>,
    /// What lists may show of the string.
    pub start: Arc<str>,
    pub minted_at: Timestamp,
    pub state: VersionState,
    /// End of `Grace`.
    pub not_after: Option<Timestamp>,
    /// When its successor became `Current`; grace counts from here.
    pub superseded_at: Option<Timestamp>,
    /// The rotation request that this version answers.
    pub request: Option<Arc<str>>,
    /// How its string leaves the cluster again; `None`: it stays in the Secret.
    pub handover: Option<Handover>,
}

/// The versions of one key, newest first, at most [`MAX_VERSIONS`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Versions(Vec<Version>);

impl Versions {
    /// Takes the list over as it was stored.
    #[must_use]
    pub fn new(mut versions: Vec<Version>) -> Self {
        versions.sort_unstable_by_key(|version| std::cmp::Reverse(version.number));
        Self(versions)
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        self.0.iter()
    }

    #[must_use]
    pub fn staged(&self) -> Option<&Version> {
        self.in_state(VersionState::Staged)
    }

    #[must_use]
    pub fn current(&self) -> Option<&Version> {
        self.in_state(VersionState::Current)
    }

    /// The number that the next version gets.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.0.first().map_or(1, |newest| newest.number.saturating_add(1))
    }

    #[must_use]
    pub fn by_number(&self, number: u32) -> Option<&Version> {
        self.0.iter().find(|version| version.number == number)
    }

    /// The newest version that is in its grace period.
    #[must_use]
    pub fn in_grace(&self) -> Option<&Version> {
        self.in_state(VersionState::Grace)
    }

    /// The earliest end of a running grace period.
    #[must_use]
    pub fn next_grace_end(&self) -> Option<Timestamp> {
        self.0
            .iter()
            .filter(|version| version.state == VersionState::Grace)
            .filter_map(|version| version.not_after)
            .min()
    }

    /// Makes a new version known. Without grace the version that it replaces is retired in the same write. A
    /// list that is full loses its oldest retired version, or else its oldest grace; never the current one.
    #[must_use]
    pub fn stage(mut self, version: Version, grace: Duration) -> Self {
        if grace.is_zero() {
            self.retire(|old| matches!(old.state, VersionState::Current | VersionState::Grace));
        }
        self.0.insert(0, Version { state: VersionState::Staged, ..version });
        while self.0.len() > MAX_VERSIONS {
            let oldest = |state| self.0.iter().rposition(|version| version.state == state);
            let Some(at) = oldest(VersionState::Retired).or_else(|| oldest(VersionState::Grace)) else {
                break;
            };
            self.0.remove(at);
        }
        self
    }

    /// The staged version's string is gone; its number is not used again.
    #[must_use]
    pub fn abandon_staged(mut self) -> Self {
        self.retire(|version| version.state == VersionState::Staged);
        self
    }

    /// The staged version's string stands in the Secret: it is current, and the previous one's grace begins. It
    /// is counted from the next whole second, since that is how instants are stored and none may be cut short.
    #[must_use]
    pub fn promote(mut self, now: Timestamp, grace: Duration, expires_at: Option<Timestamp>) -> Self {
        let since = next_whole_second(now);
        for version in &mut self.0 {
            match version.state {
                VersionState::Staged => version.state = VersionState::Current,
                VersionState::Current => {
                    version.state = VersionState::Grace;
                    version.superseded_at = Some(since);
                    let not_after = if grace.is_zero() { now } else { after(since, grace) };
                    version.not_after = Some(earlier(not_after, expires_at));
                }
                VersionState::Grace | VersionState::Retired => {}
            }
        }
        self.end_graces(now);
        self
    }

    /// Applies shortened grace periods and retires what is past its own. `grace_of` tells the grace period in
    /// force for what the given version superseded, or `None` to leave it as it was. Nothing is ever extended.
    #[must_use]
    pub fn settle(
        mut self,
        now: Timestamp,
        expires_at: Option<Timestamp>,
        grace_of: impl Fn(&Version) -> Option<Duration> + Copy,
    ) -> Self {
        for at in 1..self.0.len() {
            let (newer, older) = self.0.split_at_mut(at);
            let version = &mut older[0];
            let (VersionState::Grace, Some(since), Some(not_after)) =
                (version.state, version.superseded_at, version.not_after)
            else {
                continue;
            };
            // A version that was never current superseded nobody.
            let successor = newer.iter().rev().find(|newer| newer.state != VersionState::Staged && newer.was_current());
            let shortened = successor.and_then(grace_of).map(|grace| after(since, grace));
            version.not_after = Some(earlier(earlier(not_after, shortened), expires_at));
        }
        self.end_graces(now);
        self
    }

    /// The same string under another pepper.
    #[must_use]
    pub fn redigest(mut self, number: u32, digest: Digest, pepper: &Arc<str>) -> Self {
        for version in self.0.iter_mut().filter(|version| version.number == number) {
            version.digest = digest;
            version.pepper = Arc::clone(pepper);
        }
        self
    }

    fn end_graces(&mut self, now: Timestamp) {
        self.retire(|version| {
            version.state == VersionState::Grace && version.not_after.is_none_or(|not_after| not_after <= now)
        });
    }

    /// Gives each version the handover that `of` says.
    #[must_use]
    pub fn hand_over(mut self, of: impl Fn(&Version) -> Option<Handover>) -> Self {
        for version in &mut self.0 {
            version.handover = of(version);
        }
        self
    }

    fn retire(&mut self, which: impl Fn(&Version) -> bool) {
        for version in self.0.iter_mut().filter(|version| which(version)) {
            version.state = VersionState::Retired;
            // Nobody needs it any more.
            version.handover = version.handover.take().map(|_| Handover::Done);
        }
    }

    fn in_state(&self, state: VersionState) -> Option<&Version> {
        self.0.iter().find(|version| version.state == state)
    }
}

impl Version {
    /// Whether the string belongs in the Secret.
    #[must_use]
    pub fn is_in_secret(&self) -> bool {
        matches!(self.handover, None | Some(Handover::InSecret { .. }))
    }

    fn was_current(&self) -> bool {
        self.state == VersionState::Current || self.superseded_at.is_some()
    }

    /// Whether a verifier may accept this version at that instant, all else being well.
    #[must_use]
    pub fn is_accepted(&self, now: Timestamp) -> bool {
        match self.state {
            VersionState::Staged | VersionState::Current => true,
            VersionState::Grace => self.not_after.is_some_and(|not_after| now < not_after),
            VersionState::Retired => false,
        }
    }
}

/// How long what `successor` supersedes lives on: the request's own grace where that request is still the one
/// in the manifest, else what key, tier or API say, else half the interval, at most a day. `None`: the
/// successor came from a request that is gone, whose grace nobody can tell any more.
#[must_use]
pub fn grace(
    successor_request: Option<&str>,
    request: Option<&RotationRequest>,
    schedule: &Schedule,
) -> Option<Duration> {
    let scheduled = schedule.grace_period.unwrap_or_else(|| {
        schedule.interval.map_or(LONGEST_DEFAULT_GRACE, |interval| (interval / 2).min(LONGEST_DEFAULT_GRACE))
    });
    match (successor_request, request) {
        (None, _) => Some(scheduled),
        (Some(id), Some(request)) if *request.id == *id => Some(request.grace_period.unwrap_or(scheduled)),
        (Some(_), _) => None,
    }
}

/// When the schedule asks for the next rotation: an interval after the last one, less a part of up to 5 % of
/// the interval (at most an hour) that is fixed by `uid`, so that a fleet does not rotate at once.
#[must_use]
pub fn due(uid: &str, last_rotated_at: Timestamp, interval: Duration) -> Timestamp {
    let spread = (interval / SPREAD_DIVISOR).min(LONGEST_SPREAD);
    let share = f64::from(crc32fast::hash(uid.as_bytes())) / f64::from(u32::MAX);
    after(last_rotated_at, interval.saturating_sub(spread.mul_f64(share)))
}

/// `instant + duration`, or the end of time.
pub(crate) fn after(instant: Timestamp, duration: Duration) -> Timestamp {
    instant.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Instants are stored as whole seconds; rounded up, nothing that is counted from one is cut short.
pub(crate) fn next_whole_second(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second() + i64::from(instant.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn earlier(instant: Timestamp, other: Option<Timestamp>) -> Timestamp {
    other.map_or(instant, |other| other.min(instant))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(millis).unwrap()
    }

    fn version(number: u32, state: VersionState) -> Version {
        let in_grace = state == VersionState::Grace;
        Version {
            not_after: in_grace.then(|| at(3_600_000)),
            superseded_at: in_grace.then(|| at(0)),
            ..fixtures::version(number, state)
        }
    }

    fn states(versions: &Versions) -> Vec<(u32, VersionState)> {
        versions.iter().map(|version| (version.number, version.state)).collect()
    }

    fn list(versions: &[(u32, VersionState)]) -> Versions {
        Versions::new(versions.iter().map(|(number, state)| version(*number, *state)).collect())
    }

    #[test]
    fn grace_is_counted_from_the_next_whole_second_and_ends_with_the_key() {
        use VersionState::{Current, Staged};
        for (now, expires_at, ends) in
            [(1_000, None, 3_601_000), (1_001, None, 3_602_000), (1_001, Some(at(60_000)), 60_000)]
        {
            let promoted = list(&[(2, Staged), (1, Current)]).promote(at(now), HOUR, expires_at);
            assert_eq!(promoted.by_number(1).unwrap().not_after, Some(at(ends)), "{now} {expires_at:?}");
        }
    }

    #[test]
    fn a_full_list_forgets_what_is_retired_first_and_never_the_current_version() {
        use VersionState::{Current, Grace, Retired, Staged};
        for (before, after) in [
            ([(4, Current), (3, Grace), (2, Retired), (1, Grace)], [(5, Staged), (4, Current), (3, Grace), (1, Grace)]),
            ([(4, Current), (3, Grace), (2, Grace), (1, Grace)], [(5, Staged), (4, Current), (3, Grace), (2, Grace)]),
            (
                [(4, Retired), (3, Retired), (2, Retired), (1, Current)],
                [(5, Staged), (4, Retired), (3, Retired), (1, Current)],
            ),
        ] {
            assert_eq!(states(&list(&before).stage(version(5, Staged), HOUR)), after);
        }
    }

    #[test]
    fn without_grace_staging_retires_everything_before() {
        use VersionState::{Current, Grace, Retired, Staged};
        let staged = list(&[(2, Current), (1, Grace)]).stage(version(3, Staged), Duration::ZERO);
        assert_eq!(states(&staged), [(3, Staged), (2, Retired), (1, Retired)]);
    }

    #[test]
    fn what_is_retired_is_handed_over_no_more() {
        use VersionState::{Current, Staged};
        let until = Some(at(0));
        let handovers = [
            (None, None),
            (Some(Handover::InSecret { until }), Some(Handover::Done)),
            (Some(Handover::Sealed { text: "x".into(), until: at(0) }), Some(Handover::Done)),
            (Some(Handover::Done), Some(Handover::Done)),
        ];
        for (before, after) in handovers {
            let current = list(&[(1, Current)]).hand_over(|_| before.clone());
            let staged = current.stage(version(2, Staged), Duration::ZERO);
            assert_eq!(staged.by_number(1).unwrap().handover, after);
        }
    }

    #[test]
    fn grace_comes_from_the_request_then_the_schedule_then_half_the_interval() {
        let request = |grace| RotationRequest { id: "r1".into(), grace_period: grace };
        let schedule = |interval, grace_period| Schedule { interval, grace_period };
        let day = 24 * HOUR;
        for (successor, request, schedule, expected) in [
            (Some("r1"), Some(request(Some(Duration::ZERO))), schedule(None, Some(HOUR)), Some(Duration::ZERO)),
            (Some("r1"), Some(request(None)), schedule(None, Some(HOUR)), Some(HOUR)),
            (Some("r0"), Some(request(Some(day))), schedule(None, Some(HOUR)), None),
            (None, Some(request(Some(day))), schedule(None, Some(HOUR)), Some(HOUR)),
            (None, None, schedule(Some(4 * HOUR), None), Some(2 * HOUR)),
            (None, None, schedule(Some(90 * day), None), Some(day)),
            (None, None, schedule(None, None), Some(day)),
        ] {
            assert_eq!(
                grace(successor, request.as_ref(), &schedule),
                expected,
                "{successor:?} {request:?} {schedule:?}"
            );
        }
    }

    #[test]
    fn rotations_of_a_fleet_are_spread_over_a_twentieth_of_the_interval_and_an_hour_at_most() {
        let early = |uid: u32, interval: Duration| {
            i64::try_from(interval.as_millis()).unwrap() - due(&uid.to_string(), at(0), interval).as_millisecond()
        };
        for (interval, most) in [(Duration::from_secs(60), 3_000), (90 * 24 * HOUR, 3_600_000)] {
            let all: Vec<i64> = (0..1000).map(|uid| early(uid, interval)).collect();
            assert!(all.iter().all(|early| (0..=most).contains(early)), "{interval:?}");
            let spread = all.iter().max().unwrap() - all.iter().min().unwrap();
            assert!(spread > most * 9 / 10, "{interval:?}: only over {spread} ms");
            assert_eq!(early(1, interval), early(1, interval), "fixed by uid");
        }
    }
}
