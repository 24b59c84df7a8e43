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

    fn end_graces(&mut self, now: Timestamp) {
        self.retire(|version| {
            version.state == VersionState::Grace && version.not_after.is_none_or(|not_after| not_after <= now)
        });
    }

    fn retire(&mut self, which: impl Fn(&Version) -> bool) {
        for version in self.0.iter_mut().filter(|version| which(version)) {
            version.state = VersionState::Retired;
        }
    }

    fn in_state(&self, state: VersionState) -> Option<&Version> {
        self.0.iter().find(|version| version.state == state)
    }
}

impl Version {
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

fn next_whole_second(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_second() + i64::from(instant.subsec_nanosecond() > 0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn earlier(instant: Timestamp, other: Option<Timestamp>) -> Timestamp {
    other.map_or(instant, |other| other.min(instant))
}
