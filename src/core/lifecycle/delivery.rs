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
