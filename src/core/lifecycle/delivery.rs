//! How strings leave the cluster again: deliveries Once and Sealed.
//!
//! A version keeps the way in which it was minted. A change of `spec.secret.delivery` mints nothing and takes
//! nothing away: what stood in the Secret stays there until it is acknowledged or superseded.

use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::{Event, SecretState, Step};
use super::world::{Record, Secret, World};
use super::{is_copied, is_kept, needs_taken_name, rotation_due};
use crate::core::acceptance::Accepted;
use crate::core::handover::Handover;
use crate::core::policy::Delivery;
use crate::core::rotation::{self, Version, VersionState};

/// Why a handover is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Acknowledged,
    TimedOut,
}

/// Records what was acknowledged, what has waited long enough, and what the manifest now wants otherwise.
pub(super) fn settle(world: &World<'_>, now: Timestamp) -> Option<Step> {
    let before = &world.record.versions;
    let versions = before.clone().hand_over(|version| next(world, version, now));
    if versions == *before {
        return None;
    }
    let ended = before.iter().find_map(|version| Some((version.number, end(world, version, now)?)));
    let event = ended.map(|(number, end)| match end {
        End::Acknowledged => Event::Delivered { number },
        End::TimedOut => Event::DeliveryTimedOut { number },
    });
    let stands = versions.current().is_none_or(Version::is_in_secret);
    let secret_name = world.record.secret_name.clone().filter(|_| stands);
    Some(Step::Record { record: Record { versions, secret_name, ..world.record.clone() }, event })
}

fn next(world: &World<'_>, version: &Version, now: Timestamp) -> Option<Handover> {
    if end(world, version, now).is_some() {
        return Some(Handover::Done);
    }
    let handed_out = version.state == VersionState::Current;
    match &version.handover {
        // Workloads may read it from the Secret: it goes when somebody says so, at no time of its own.
        None if handed_out && world.key.delivery != Delivery::Retain => Some(Handover::InSecret { until: None }),
        Some(Handover::InSecret { .. }) if world.key.delivery == Delivery::Retain => None,
        unchanged => unchanged.clone(),
    }
}

fn end(world: &World<'_>, version: &Version, now: Timestamp) -> Option<End> {
    let handover = version.handover.as_ref()?;
    let acknowledged = world.acknowledged.contains(&version.number);
    let over = match handover {
        Handover::Done => return None,
        // Nobody has been able to read it.
        Handover::InSecret { .. } if version.state == VersionState::Staged => return None,
        Handover::InSecret { .. } if is_gone(world, version) => true,
        Handover::InSecret { .. } if world.key.delivery == Delivery::Retain => return None,
        Handover::InSecret { .. } | Handover::Sealed { .. } => acknowledged,
    };
    if over {
        return Some(End::Acknowledged);
    }
    handover.until().filter(|until| *until <= now).map(|_| End::TimedOut)
}

/// Whether the reader has removed the string. A Secret that is there without its string was changed by hand
/// instead, which the next version heals where there can be one.
fn is_gone(world: &World<'_>, version: &Version) -> bool {
    let changed = matches!(world.secret, Secret::Ours { .. }) && version.state == VersionState::Current;
    // It makes way for a successor that stands in no Secret.
    let makes_way = world.record.versions.staged().is_some_and(|staged| !staged.is_in_secret());
    !is_kept(world, version.number) && !makes_way && (!changed || world.key.delivery.is_sealed())
}

/// Takes away what was handed over.
pub(super) fn remove(world: &World<'_>) -> Option<Step> {
    let versions = &world.record.versions;
    let is_done = |version: &Version| version.handover == Some(Handover::Done);
    let staged = world.staged.iter().find(|staged| {
        staged.digest.is_some_and(|digest| versions.iter().any(|version| version.digest == digest && is_done(version)))
    });
    if let Some(staged) = staged {
        return Some(Step::DeleteStaged { number: staged.number });
    }
    let current_is_elsewhere = versions.current().is_some_and(|current| !current.is_in_secret());
    // It holds no string that it is there for, and none that it was there for waits any longer.
    let is_over = |holds: &[u32]| {
        let held = || holds.iter().filter_map(|number| versions.by_number(*number));
        let belongs = |version: &Version| {
            version.is_in_secret() && matches!(version.state, VersionState::Staged | VersionState::Current)
        };
        !held().any(belongs) && (current_is_elsewhere || held().any(is_done))
    };
    if matches!(&world.secret, Secret::Ours { holds, .. } if is_over(holds)) {
        return Some(Step::DeleteSecret { name: Arc::clone(&world.key.secret_name) });
    }
    let moved = world.moved_secrets.iter().find(|moved| is_over(&moved.holds))?;
    Some(Step::DeleteSecret { name: Arc::clone(&moved.name) })
}

/// The type of a Secret cannot be changed, nor anything of one that was made immutable: it is made anew, and
/// meanwhile its string is kept beside.
pub(super) fn remake(world: &World<'_>, current: &Version) -> Step {
    let number = current.number;
    if is_copied(world, current) {
        return Step::DeleteSecret { name: Arc::clone(&world.key.secret_name) };
    }
    if world.staged.iter().any(|staged| staged.number == number) {
        return Step::DeleteStaged { number };
    }
    Step::KeepBeside { number }
}

/// From when on people are told that a scheduled version waits to be acknowledged: three quarters through the
/// grace of the one before.
pub(super) fn overdue_at(record: &Record) -> Option<Timestamp> {
    let current = record.versions.current()?;
    if current.handover != Some(Handover::InSecret { until: None }) {
        return None;
    }
    let before = record.versions.iter().find(|version| version.superseded_at.is_some())?;
    let (since, until) = (before.superseded_at?, before.not_after?);
    Some(rotation::after(since, until.duration_since(since).unsigned_abs() * 3 / 4))
}

/// When the next handover ends by itself.
pub(super) fn next_end(record: &Record) -> Option<Timestamp> {
    record.versions.iter().filter_map(|version| version.handover.as_ref()?.until()).min()
}

/// What there is to tell about where the strings are. `alive`: the key is neither refused nor past its time.
pub(super) fn report(world: &World<'_>, record: &Record, alive: Option<&Accepted>, now: Timestamp) -> SecretState {
    if record.revocation.is_some_and(|revocation| !revocation.reversible) {
        return SecretState::Deleted;
    }
    if let Some(obstacle) = &world.obstacle {
        return SecretState::Obstructed(obstacle.clone());
    }
    if needs_taken_name(world, now) {
        return SecretState::NameTaken;
    }
    let Some(current) = record.versions.current() else { return SecretState::Pending };
    let due = alive.and_then(|accepted| rotation_due(world.key, accepted, record));
    if world.key.delivery.is_sealed() && due.is_some_and(|due| due <= now) {
        return SecretState::RotationDue;
    }
    let kept = is_kept(world, current.number) || is_copied(world, current);
    match &current.handover {
        Some(Handover::Done) => SecretState::Delivered,
        Some(Handover::Sealed { .. }) => SecretState::Sealed,
        Some(Handover::InSecret { .. }) if overdue_at(record).is_some_and(|at| at <= now) => SecretState::Undelivered,
        Some(Handover::InSecret { .. }) if kept => SecretState::Waiting,
        None if kept => SecretState::Synced,
        None | Some(Handover::InSecret { .. }) => SecretState::Lost,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::acceptance::{Reason, Rejection};
    use crate::core::fixtures;
    use crate::core::policy::Key;
    use crate::core::rotation::Versions;
    use Delivery::{Once, Retain, Sealed};

    const TTL: Duration = Duration::from_secs(3600);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn version(number: u32, state: VersionState, handover: Option<Handover>) -> Version {
        let in_grace = state == VersionState::Grace;
        Version {
            not_after: in_grace.then(|| at(400)),
            superseded_at: in_grace.then(|| at(0)),
            handover,
            ..fixtures::version(number, state)
        }
    }

    fn key(delivery: Delivery) -> Key {
        Key { delivery, ..fixtures::key() }
    }

    fn world<'a>(key: &'a Key, acceptance: &'a Result<Accepted, Rejection>, versions: Vec<Version>) -> World<'a> {
        let world = fixtures::world(key, acceptance);
        let record = Record { versions: Versions::new(versions), ..world.record };
        World { record, secret: ours(&[1]), ..world }
    }

    fn ours(holds: &[u32]) -> Secret {
        Secret::Ours { holds: holds.to_vec(), in_order_for: holds.first().copied(), fixed: false }
    }

    fn refused() -> Result<Accepted, Rejection> {
        Err(Rejection::new(Reason::Invalid, "spec.expiresAt: it cannot be read"))
    }

    const WAITS: Option<Handover> = Some(Handover::InSecret { until: None });

    fn until(second: i64) -> Handover {
        Handover::InSecret { until: Some(at(second)) }
    }

    fn sealed(second: i64) -> Handover {
        Handover::Sealed { text: "x".into(), until: at(second) }
    }

    #[test]
    fn a_handover_ends_when_it_is_acknowledged_removed_or_out_of_time() {
        use End::{Acknowledged, TimedOut};
        use VersionState::{Current, Staged};
        let (once, to_key, retain) = (Once { ttl: TTL }, Sealed { ttl: TTL }, Retain);
        let nobody: &[u32] = &[];
        for (delivery, state, handover, acknowledged, secret, expected) in [
            (once, Current, None, &[1][..], ours(&[1]), None),
            (once, Current, Some(Handover::Done), &[1], Secret::Absent, None),
            (once, Current, WAITS, nobody, ours(&[1]), None),
            (once, Current, WAITS, &[2], ours(&[1]), None),
            (once, Current, Some(until(101)), nobody, ours(&[1]), None),
            (once, Staged, WAITS, &[1], Secret::Absent, None),
            // Changed by hand: the next version heals that, where there can be one.
            (once, Current, WAITS, nobody, ours(&[]), None),
            (to_key, Current, WAITS, nobody, ours(&[]), Some(Acknowledged)),
            (once, Current, WAITS, &[1], ours(&[1]), Some(Acknowledged)),
            (once, Current, WAITS, nobody, Secret::Absent, Some(Acknowledged)),
            (once, Current, WAITS, nobody, Secret::Foreign, Some(Acknowledged)),
            (once, Current, Some(until(100)), nobody, ours(&[1]), Some(TimedOut)),
            // What is to stay stays, but what is gone is gone.
            (retain, Current, Some(until(100)), &[1], ours(&[1]), None),
            (retain, Current, Some(until(100)), nobody, Secret::Absent, Some(Acknowledged)),
            (to_key, Staged, Some(sealed(101)), nobody, Secret::Absent, None),
            (to_key, Staged, Some(sealed(101)), &[1], Secret::Absent, Some(Acknowledged)),
            (retain, Current, Some(sealed(100)), nobody, Secret::Absent, Some(TimedOut)),
        ] {
            let (key, acceptance) = (key(delivery), refused());
            let version = version(1, state, handover);
            let mut world = world(&key, &acceptance, vec![version.clone()]);
            world.secret = secret;
            world.acknowledged = acknowledged.to_vec();
            assert_eq!(end(&world, &version, at(100)), expected, "{delivery:?} {version:?} {world:?}");
        }
    }

    #[test]
    fn a_change_of_delivery_takes_nothing_away() {
        let (once, to_key) = (Once { ttl: TTL }, Sealed { ttl: TTL });
        for (delivery, before, after) in [
            (Retain, None, None),
            (once, None, WAITS),
            (to_key, None, WAITS),
            (Retain, Some(until(200)), None),
            (to_key, Some(until(200)), Some(until(200))),
            (Retain, Some(sealed(200)), Some(sealed(200))),
            (once, Some(sealed(200)), Some(sealed(200))),
            (Retain, Some(Handover::Done), Some(Handover::Done)),
        ] {
            let (key, acceptance) = (key(delivery), refused());
            let version = version(1, VersionState::Current, before);
            let world = world(&key, &acceptance, vec![version.clone()]);
            assert_eq!(next(&world, &version, at(100)), after, "{delivery:?} {version:?}");
        }
    }

    #[test]
    fn a_secret_goes_when_the_strings_it_is_there_for_are_handed_over() {
        use VersionState::{Current, Grace, Staged};
        let done = || Some(Handover::Done);
        for (versions, secret, goes) in [
            (vec![version(1, Current, None)], ours(&[1]), false),
            (vec![version(1, Current, WAITS)], ours(&[1]), false),
            (vec![version(1, Current, done())], Secret::Foreign, false),
            (vec![version(2, Staged, WAITS), version(1, Current, done())], ours(&[2]), false),
            (vec![version(2, Current, WAITS), version(1, Grace, done())], ours(&[2, 1]), false),
            (vec![version(1, Current, done())], ours(&[1]), true),
            (vec![version(1, Current, done())], ours(&[]), true),
            (vec![version(2, Current, done()), version(1, Grace, None)], ours(&[2, 1]), true),
            (vec![version(2, Current, Some(sealed(200))), version(1, Grace, None)], ours(&[1]), true),
        ] {
            let (key, acceptance) = (key(Once { ttl: TTL }), refused());
            let mut world = world(&key, &acceptance, versions);
            world.secret = secret;
            let expected = goes.then(|| Step::DeleteSecret { name: "ci".into() });
            assert_eq!(remove(&world), expected, "{world:?}");
        }
    }

    #[test]
    fn a_scheduled_version_is_overdue_three_quarters_through_the_grace_before_it() {
        use VersionState::{Current, Grace};
        for (current, before, expected) in [
            (WAITS, Grace, Some(at(300))),
            (Some(until(1000)), Grace, None),
            (None, Grace, None),
            (Some(Handover::Done), Grace, None),
            (WAITS, VersionState::Retired, None),
        ] {
            let versions = vec![version(2, Current, current), version(1, before, None)];
            let record = Record { versions: Versions::new(versions), ..Record::default() };
            assert_eq!(overdue_at(&record), expected, "{record:?}");
        }
    }
}
