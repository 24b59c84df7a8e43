//! What is to be done for one key next: a pure function from what is there to the next single write.
//!
//! The controller looks at the [`World`], asks [`plan`] for one [`Step`], does it, and looks again. Since every
//! step is planned from what is stored, a controller that dies between any two writes is continued by the next
//! one without knowing about it. A world that needs nothing has no step, and [`Plan::next_look`] says when time
//! alone will change that.
//!
//! Minting and rotating make before they break: stage the string beside, make its digest known, wait until
//! every verifier knows it, put the string into the Secret, only then begin the old version's grace.

mod outcome;
#[cfg(test)]
mod simulation;
mod world;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::acceptance::{Accepted, Reason, Rejection};
use super::policy::{Key, RotationRequest};
use super::rotation::{self, Version, VersionState};
pub use outcome::{Cause, Event, Plan, Report, SecretState, State, Step};
pub use world::{Minted, MovedSecret, Record, Revocation, Secret, StagedSecret, World};

/// How long a rotation waits for a verifier that lives but does not catch up.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How soon to look whether a name that somebody else's Secret has is free again: such Secrets are not watched.
const TAKEN_NAME_POLL: Duration = Duration::from_secs(30);

/// Decides what is to be done next.
#[must_use]
pub fn plan(world: &World<'_>, now: Timestamp) -> Plan {
    let step = next_step(world, now);
    // What a status write reports is the world as it is once written.
    let record = match &step {
        Some(Step::Record { record, .. }) => record,
        _ => &world.record,
    };
    Plan { report: report(world, record, now), next_look: next_look(world, record, now), step }
}

fn next_step(world: &World<'_>, now: Timestamp) -> Option<Step> {
    if is_revoked(world) {
        return finish_revocation(world, now);
    }
    let accepted = world.acceptance.as_ref().ok();
    if let Some(step) = settle_graces(world, accepted, now) {
        return Some(step);
    }
    // Nothing is minted or moved while the key is not accepted, or once it has expired.
    let accepted = accepted.filter(|accepted| !has_expired(accepted, now))?;
    if let Some(staged) = world.record.versions.staged() {
        return finish_staged(world, accepted, staged, now);
    }
    // Somebody else has the name: a string would have nowhere to go.
    if world.secret == Secret::Foreign {
        return None;
    }
    if let Some(step) = mint_missing(world, accepted, now) {
        return Some(step);
    }
    // Before it is superseded, the current string stands where it belongs and nowhere else.
    if let Some(step) = maintain_secret(world) {
        return Some(step);
    }
    if let Some(cause) = cause_to_rotate(world, accepted, now) {
        return Some(stage(world, accepted, Some(cause), now));
    }
    delete_leftover(world)
}

/// Permanent: the record first, so that un-revoking is refused from then on; then every string goes.
fn finish_revocation(world: &World<'_>, now: Timestamp) -> Option<Step> {
    if world.record.revocation.is_none() {
        let revocation = Some(Revocation { at: now, reversible: false });
        let record =
            Record { revocation, versions: world.record.versions.clone().abandon_staged(), ..world.record.clone() };
        return Some(Step::Record { record, event: Some(Event::Revoked) });
    }
    if let Some(step) = delete_leftover(world) {
        return Some(step);
    }
    if matches!(world.secret, Secret::Ours { .. }) {
        return Some(Step::DeleteSecret { name: Arc::clone(&world.key.secret_name) });
    }
    delete_moved(world)
}

fn settle_graces(world: &World<'_>, accepted: Option<&Accepted>, now: Timestamp) -> Option<Step> {
    let versions = &world.record.versions;
    let expires_at = accepted.and_then(|accepted| accepted.expires_at);
    let settled = versions.clone().settle(now, expires_at, |successor| {
        accepted.and_then(|accepted| grace_after(world, accepted, successor.request.as_deref()))
    });
    if settled == *versions {
        return None;
    }
    let ended = versions.iter().find(|version| {
        version.state == VersionState::Grace
            && settled.by_number(version.number).is_some_and(|settled| settled.state == VersionState::Retired)
    });
    let event = ended.map(|version| Event::GraceEnded { number: version.number });
    Some(Step::Record { record: Record { versions: settled, ..world.record.clone() }, event })
}

/// Steps 3 to 5 for a version that is known to verifiers but not yet current.
fn finish_staged(world: &World<'_>, accepted: &Accepted, staged: &Version, now: Timestamp) -> Option<Step> {
    let number = staged.number;
    if world.secret.is_in_order_for(number) {
        return Some(promote(world, accepted, staged, now));
    }
    let kept = world.staged.iter().any(|kept| kept.number == number && kept.digest == Some(staged.digest));
    if !kept && !is_kept(world, number) {
        let versions = world.record.versions.clone().abandon_staged();
        let event = Some(Event::StagedLost { number });
        return Some(Step::Record { record: Record { versions, ..world.record.clone() }, event });
    }
    if world.secret == Secret::Foreign {
        return None;
    }
    if world.known_to_verifiers {
        return Some(Step::Publish { number, event: None });
    }
    let at_most = LONGEST_WAIT.saturating_sub(world.waited);
    if at_most.is_zero() {
        return Some(Step::Publish { number, event: Some(Event::VerifiersBehind { number }) });
    }
    Some(Step::AwaitVerifiers { at_most })
}

fn promote(world: &World<'_>, accepted: &Accepted, staged: &Version, now: Timestamp) -> Step {
    let number = staged.number;
    let first = world.record.last_rotated_at.is_none();
    // A request that was edited away meanwhile leaves the grace to what is said for all rotations.
    let grace = grace_after(world, accepted, staged.request.as_deref());
    let grace = grace.or_else(|| grace_after(world, accepted, None)).unwrap_or_default();
    let record = Record {
        versions: world.record.versions.clone().promote(now, grace, accepted.expires_at),
        rotation_request: staged.request.clone().or_else(|| world.record.rotation_request.clone()),
        // As it will be read back: what is computed from it must not change by being stored.
        last_rotated_at: Some(rotation::next_whole_second(now)),
        secret_name: world.record.secret_name.clone().or_else(|| Some(Arc::clone(&world.key.secret_name))),
        ..world.record.clone()
    };
    let event = if first { Event::Minted { number } } else { Event::Rotated { number } };
    Step::Record { record, event: Some(event) }
}

/// The first version, and one for a string that is nowhere any more.
fn mint_missing(world: &World<'_>, accepted: &Accepted, now: Timestamp) -> Option<Step> {
    let Some(current) = world.record.versions.current() else {
        let rotated_without_grace = world.record.last_rotated_at.map(|_| Cause::Request);
        return Some(stage(world, accepted, rotated_without_grace, now));
    };
    (!is_kept(world, current.number)).then(|| stage(world, accepted, Some(Cause::SecretLost), now))
}

fn cause_to_rotate(world: &World<'_>, accepted: &Accepted, now: Timestamp) -> Option<Cause> {
    if open_request(world).is_some() {
        return Some(Cause::Request);
    }
    let due = rotation_due(world.key, accepted, &world.record)?;
    (now >= due).then_some(Cause::Schedule)
}

/// Steps 1 and 2.
fn stage(world: &World<'_>, accepted: &Accepted, cause: Option<Cause>, now: Timestamp) -> Step {
    let number = world.record.versions.next_number();
    let Some((staged, minted)) = world.staged.iter().find_map(|staged| Some((staged, staged.fresh.as_ref()?))) else {
        // What an interrupted run left behind: nobody knows its string, and its name is needed.
        let left = world.staged.iter().find(|staged| staged.number >= number);
        return match left {
            Some(left) => Step::DeleteStaged { number: left.number },
            None => Step::Stage { number },
        };
    };
    // The request that is there at the first mint counts as answered.
    let first = world.record.last_rotated_at.is_none();
    let request = if first { world.key.rotation_request.as_ref() } else { open_request(world) };
    let request = request.map(|request| Arc::clone(&request.id));
    let grace = grace_after(world, accepted, request.as_deref()).unwrap_or_default();
    let version = Version {
        number: staged.number,
        digest: minted.digest,
        pepper: Arc::clone(&minted.pepper),
        start: Arc::clone(&minted.start),
        minted_at: minted.at,
        state: VersionState::Staged,
        not_after: None,
        superseded_at: None,
        request,
    };
    let before = world.record.versions.clone().settle(now, accepted.expires_at, |_| None);
    let versions = before.clone().stage(version, grace);
    let cut = before.iter().find(|old| old.is_accepted(now) && versions.by_number(old.number).is_none());
    let event = match (cut, cause) {
        (Some(cut), _) => Some(Event::GraceCut { number: cut.number }),
        (None, Some(cause)) => Some(Event::RotationStarted { number: staged.number, cause }),
        // Of the first version people hear when it is there.
        (None, None) => None,
    };
    let id = world.record.id.clone().or_else(|| Some(Arc::clone(&minted.id)));
    Step::Record { record: Record { id, versions, ..world.record.clone() }, event }
}

/// Step 6, and what interrupted runs left behind.
fn delete_leftover(world: &World<'_>) -> Option<Step> {
    let left = world.staged.first()?;
    Some(Step::DeleteStaged { number: left.number })
}

/// Puts right what was changed by hand, and follows a new name or data key with the same string.
fn maintain_secret(world: &World<'_>) -> Option<Step> {
    let current = world.record.versions.current()?;
    if !world.secret.is_in_order_for(current.number) {
        let number = current.number;
        let moved = world.secret == Secret::Absent;
        return Some(Step::Publish { number, event: (!moved).then_some(Event::SecretCorrected { number }) });
    }
    if let Some(step) = delete_moved(world) {
        return Some(step);
    }
    let secret_name = Some(Arc::clone(&world.key.secret_name));
    if world.record.secret_name != secret_name {
        return Some(Step::Record { record: Record { secret_name, ..world.record.clone() }, event: None });
    }
    None
}

fn delete_moved(world: &World<'_>) -> Option<Step> {
    let moved = world.moved_secrets.first()?;
    Some(Step::DeleteSecret { name: Arc::clone(&moved.name) })
}

/// Whether the string of this version stands in one of the key's Secrets.
fn is_kept(world: &World<'_>, number: u32) -> bool {
    world.secret.holds(number) || world.moved_secrets.iter().any(|moved| moved.holds.contains(&number))
}

/// A request in the manifest that has not been answered.
fn open_request<'a>(world: &World<'a>) -> Option<&'a RotationRequest> {
    let request = world.key.rotation_request.as_ref()?;
    (world.record.rotation_request.as_ref() != Some(&request.id)).then_some(request)
}

fn grace_after(world: &World<'_>, accepted: &Accepted, successor_request: Option<&str>) -> Option<Duration> {
    rotation::grace(successor_request, world.key.rotation_request.as_ref(), &accepted.schedule)
}

fn is_revoked(world: &World<'_>) -> bool {
    world.key.revoked || world.record.revocation.is_some_and(|revocation| !revocation.reversible)
}

fn has_expired(accepted: &Accepted, now: Timestamp) -> bool {
    accepted.expires_at.is_some_and(|expires_at| expires_at <= now)
}

/// When the schedule asks for the next version; a disabled key's waits.
fn rotation_due(key: &Key, accepted: &Accepted, record: &Record) -> Option<Timestamp> {
    if !key.enabled {
        return None;
    }
    Some(rotation::due(&key.uid, record.last_rotated_at?, accepted.schedule.interval?))
}

fn report(world: &World<'_>, record: &Record, now: Timestamp) -> Report {
    let accepted = world.acceptance.as_ref();
    let revoked = is_revoked(world);
    let expires_at = accepted.ok().and_then(|accepted| accepted.expires_at);
    let expired = accepted.is_ok_and(|accepted| has_expired(accepted, now));
    let taken = !revoked && !expired && world.secret == Secret::Foreign;
    let accepted =
        accepted.map(|_| ()).map_err(Clone::clone).and_then(|()| if taken { Err(name_taken(world)) } else { Ok(()) });
    let current = record.versions.current();
    let state = if revoked {
        State::Revoked
    } else if accepted.is_err() {
        State::Rejected
    } else if expired {
        State::Expired
    } else if !world.key.enabled {
        State::Disabled
    } else if record.versions.staged().is_some() && record.last_rotated_at.is_some() {
        State::Rotating
    } else if current.is_some() {
        State::Active
    } else {
        State::Pending
    };
    let secret = match (&world.secret, current) {
        _ if revoked => SecretState::Deleted,
        (Secret::Foreign, _) => SecretState::NameTaken,
        (_, None) => SecretState::Pending,
        (_, Some(current)) if is_kept(world, current.number) => SecretState::Synced,
        _ => SecretState::Lost,
    };
    let next_rotation_at = match state {
        State::Active | State::Rotating => {
            world.acceptance.as_ref().ok().and_then(|accepted| rotation_due(world.key, accepted, record))
        }
        _ => None,
    };
    Report { state, accepted, secret, expires_at, next_rotation_at }
}

fn name_taken(world: &World<'_>) -> Rejection {
    let name = &world.key.secret_name;
    let message = format!(
        "spec.secret.name: Secret {name} is there already and was not made for this key; delete it or choose another name"
    );
    Rejection::new(Reason::SecretNameTaken, message)
}

fn next_look(world: &World<'_>, record: &Record, now: Timestamp) -> Option<Timestamp> {
    if is_revoked(world) {
        return None;
    }
    let alive = world.acceptance.as_ref().ok().filter(|accepted| !has_expired(accepted, now));
    let taken = (alive.is_some() && world.secret == Secret::Foreign).then(|| rotation::after(now, TAKEN_NAME_POLL));
    let instants = [
        record.versions.next_grace_end(),
        alive.and_then(|accepted| accepted.expires_at),
        alive.and_then(|accepted| rotation_due(world.key, accepted, record)),
        taken,
    ];
    instants.into_iter().flatten().filter(|at| *at > now).min()
}
