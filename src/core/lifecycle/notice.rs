//! What people are told of in time: that a key is about to expire, that an old version is still in use shortly
//! before it is refused, and that little is left of its quotas and credits.
//!
//! What was told stands in the status, so that it is told once, whichever controller looks next.

use std::time::Duration;

use jiff::Timestamp;

use super::outcome::{Event, Step};
use super::world::{Record, World};
use super::{low, revocation};
use crate::core::ledger::low::Told;
use crate::core::rotation::{self, Version, VersionState};
use crate::core::usage::VersionUse;

/// How long before its expiry a key is told to expire.
pub const EXPIRY_NOTICE: Duration = Duration::from_secs(7 * 86_400);

/// How much later than the plan says the last use of a version may be asked for without missing the look.
const EARLY: Duration = Duration::from_secs(1);

/// What was told of a key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Notices {
    /// The expiry that was told last.
    pub expiry: Option<Timestamp>,
    /// For each old version the last use that was told.
    pub uses: Vec<VersionUse>,
    /// Of which quotas and credits was told that little is left.
    pub budgets: Box<[Told]>,
}

/// The last part of a version's grace.
struct LastTenth {
    /// Use from here on counts as use shortly before.
    nearly: Timestamp,
    begin: Timestamp,
    /// When to look once more.
    middle: Timestamp,
    end: Timestamp,
}

impl LastTenth {
    fn of(version: &Version) -> Option<Self> {
        let in_grace = version.state == VersionState::Grace;
        let (since, end) = (version.superseded_at.filter(|_| in_grace)?, version.not_after?);
        let grace = end.duration_since(since).unsigned_abs();
        let at = |share: u32| rotation::after(since, grace * share / 20);
        Some(Self { nearly: at(16), begin: at(18), middle: at(19), end })
    }
}

/// Whether the last use of old versions has to be known.
#[must_use]
pub fn concerns_last_use(record: &Record, now: Timestamp) -> bool {
    let soon = rotation::after(now, EARLY);
    record.versions.iter().filter_map(LastTenth::of).any(|tenth| tenth.begin <= soon && now < tenth.end)
}

/// Tells what has not been told yet.
pub(super) fn tell(world: &World<'_>, now: Timestamp) -> Option<Step> {
    if revocation::is_revoked(world) {
        return None;
    }
    let in_time = expiry(world, now).or_else(|| use_of_old_version(world, now));
    let (notices, event) = in_time.or_else(|| low::tell(world, now))?;
    Some(Step::Record { record: Record { notices, ..world.record.clone() }, event: Some(event) })
}

fn expiry(world: &World<'_>, now: Timestamp) -> Option<(Notices, Event)> {
    let at = world.acceptance.as_ref().ok()?.expires_at?;
    let told = &world.record.notices;
    let expiry = Some(as_stored(at));
    if now < notice_of(at) || at <= now || told.expiry == expiry {
        return None;
    }
    Some((Notices { expiry, ..told.clone() }, Event::ExpiresSoon { at }))
}

fn use_of_old_version(world: &World<'_>, now: Timestamp) -> Option<(Notices, Event)> {
    let told = &world.record.notices;
    world.record.versions.iter().find_map(|version| {
        let number = version.number;
        let tenth = LastTenth::of(version).filter(|tenth| (tenth.begin..tenth.end).contains(&now))?;
        let last = world.last_uses.iter().find(|last| last.number == number)?;
        let last = VersionUse { at: as_stored(last.at), ..*last };
        let before = told.uses.iter().find(|before| before.number == number);
        // Once for each look.
        let is_news = before.is_none_or(|before| before.at < last.at && before.at < tenth.middle);
        if last.at < tenth.nearly || !is_news {
            return None;
        }
        let known =
            |other: &&VersionUse| other.number != number && world.record.versions.by_number(other.number).is_some();
        let uses = told.uses.iter().filter(known).copied().chain([last]).collect();
        let event = Event::OldVersionInUse { number, last: last.at, end: tenth.end };
        Some((Notices { uses, ..told.clone() }, event))
    })
}

/// When there may be something to tell.
pub(super) fn next_looks(world: &World<'_>, record: &Record) -> impl Iterator<Item = Timestamp> {
    let expires_at = world.acceptance.as_ref().ok().and_then(|accepted| accepted.expires_at);
    let tenths = record.versions.iter().filter_map(LastTenth::of).flat_map(|tenth| [tenth.begin, tenth.middle]);
    expires_at.map(notice_of).into_iter().chain(tenths.collect::<Vec<_>>())
}

/// The status holds whole seconds: what was told must be found again in it.
fn as_stored(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn notice_of(expires_at: Timestamp) -> Timestamp {
    expires_at.checked_sub(EXPIRY_NOTICE).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Plan, Revocation, Secret, plan};
    use super::*;
    use crate::core::acceptance::accept;
    use crate::core::fixtures::{self, version};
    use crate::core::policy::{Key, ObjectName, Policies};
    use crate::core::rotation::Versions;

    const DAY: i64 = 86_400;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The plan for a key whose current string is where it belongs, with these notices of it given.
    fn planned(key: &Key, record: Record, last_uses: &[VersionUse], now: i64) -> Plan {
        let api = ObjectName::new("speech", "transcripts");
        let policies = Policies { apis: [(api, Ok(Arc::new(fixtures::api())))].into(), ..Policies::default() };
        let acceptance = accept(key, &policies);
        let current = record.versions.current().unwrap().number;
        let base = fixtures::world(key, &acceptance);
        let secret = Secret::Ours { holds: vec![current], in_order_for: Some(current), fixed: false };
        let world = World { record, secret, last_uses: last_uses.to_vec(), ..base };
        plan(&world, at(now))
    }

    fn record(versions: Vec<Version>) -> Record {
        Record {
            versions: Versions::new(versions),
            last_rotated_at: Some(at(0)),
            secret_name: Some("ci".into()),
            usage: Some("usage".into()),
            ..Record::default()
        }
    }

    /// What was told, and the record that says so.
    fn told(plan: &Plan) -> Option<(Event, Record)> {
        match &plan.step {
            Some(Step::Record { record, event: Some(event) }) => Some((event.clone(), record.clone())),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_told_to_expire_once_for_each_expiry() {
        let expires_at = |at: Timestamp| Key { expires_at: Some(at), ..fixtures::key() };
        let key = expires_at(at(10 * DAY));
        let first = record(vec![version(1, VersionState::Current)]);
        let before = planned(&key, first.clone(), &[], 3 * DAY - 1);
        assert_eq!((told(&before), before.next_look), (None, Some(at(3 * DAY))));

        let (event, noted) = told(&planned(&key, first.clone(), &[], 3 * DAY)).unwrap();
        assert_eq!(event, Event::ExpiresSoon { at: at(10 * DAY) });
        let after = planned(&key, noted.clone(), &[], 3 * DAY);
        assert_eq!((told(&after), after.next_look), (None, Some(at(10 * DAY))));
        assert_eq!(told(&planned(&key, first.clone(), &[], 10 * DAY)), None, "it has expired");

        let broken = expires_at(at(10 * DAY).checked_add(Duration::from_millis(7)).unwrap());
        assert_eq!(told(&planned(&broken, noted.clone(), &[], 4 * DAY)), None, "the status holds whole seconds");
        let (event, _) = told(&planned(&expires_at(at(9 * DAY)), noted.clone(), &[], 4 * DAY)).unwrap();
        assert_eq!(event, Event::ExpiresSoon { at: at(9 * DAY) });
        assert_eq!(told(&planned(&expires_at(at(90 * DAY)), noted, &[], 4 * DAY)), None);
        let revoked = Record { revocation: Some(Revocation { at: at(0), reversible: true }), ..first };
        assert_eq!(told(&planned(&Key { revoked: true, ..key }, revoked, &[], 4 * DAY)), None);
    }

    /// Superseded at 0, refused from 1,000 on.
    fn old(number: u32) -> Version {
        Version { superseded_at: Some(at(0)), not_after: Some(at(1_000)), ..version(number, VersionState::Grace) }
    }

    fn used(number: u32, second: i64) -> VersionUse {
        VersionUse { number, at: at(second) }
    }

    fn in_use(number: u32, last: i64) -> Event {
        Event::OldVersionInUse { number, last: at(last), end: at(1_000) }
    }

    #[test]
    fn an_old_version_that_is_still_in_use_is_told_of_in_the_last_tenth() {
        let rotated = record(vec![version(2, VersionState::Current), old(1)]);
        for (now, uses, expected) in [
            (899, vec![used(1, 899)], None),
            (900, vec![], None),
            (900, vec![used(2, 899)], None),
            (900, vec![used(1, 799)], None),
            (900, vec![used(1, 800)], Some(in_use(1, 800))),
            (999, vec![used(2, 999), used(1, 990)], Some(in_use(1, 990))),
        ] {
            let found = told(&planned(&fixtures::key(), rotated.clone(), &uses, now)).map(|(event, _)| event);
            assert_eq!(found, expected, "at {now} with {uses:?}");
        }
    }

    #[test]
    fn it_is_told_of_again_where_it_is_used_again() {
        let rotated = record(vec![version(2, VersionState::Current), old(1)]);
        let (_, noted) = told(&planned(&fixtures::key(), rotated, &[used(1, 850)], 900)).unwrap();
        let next = |record: &Record, last, now| told(&planned(&fixtures::key(), record.clone(), &[used(1, last)], now));
        assert_eq!(next(&noted, 850, 950), None);
        let (event, noted) = next(&noted, 955, 960).unwrap();
        assert_eq!(event, in_use(1, 955));
        assert_eq!(next(&noted, 970, 980), None, "two looks, two events");
    }

    #[test]
    fn several_old_versions_are_told_of_one_after_the_other() {
        let rotated = record(vec![version(3, VersionState::Current), old(2), old(1)]);
        let uses = [used(2, 900), used(1, 901)];
        let (first, noted) = told(&planned(&fixtures::key(), rotated, &uses, 910)).unwrap();
        let (second, noted) = told(&planned(&fixtures::key(), noted, &uses, 910)).unwrap();
        assert_eq!((first, second), (in_use(2, 900), in_use(1, 901)));
        assert_eq!(told(&planned(&fixtures::key(), noted, &uses, 910)), None);
    }

    #[test]
    fn it_is_looked_at_twice_and_the_last_use_is_asked_for_then_only() {
        let rotated = record(vec![version(2, VersionState::Current), old(1)]);
        for (now, next) in [(0, 900), (900, 950), (949, 950), (950, 1_000)] {
            assert_eq!(planned(&fixtures::key(), rotated.clone(), &[], now).next_look, Some(at(next)), "{now}");
        }
        for (now, concerned) in [(0, false), (898, false), (899, true), (999, true), (1_000, false)] {
            assert_eq!(concerns_last_use(&rotated, at(now)), concerned, "{now}");
        }
    }
}
