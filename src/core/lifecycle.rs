//! What is to be done for one key next: a pure function from what is there to the next single write.
//!
//! The controller looks at the [`World`], asks [`plan`] for one [`Step`], does it, and looks again. Since every
//! step is planned from what is stored, a controller that dies between any two writes is continued by the next
//! one without knowing about it. A world that needs nothing has no step, and [`Plan::next_look`] says when time
//! alone will change that.
//!
//! Minting and rotating make before they break: stage the string beside, make its digest known, wait until
//! every verifier knows it, put the string into the Secret, only then begin the old version's grace.

mod delivery;
mod first;
mod low;
mod notice;
mod outcome;
mod revocation;
#[cfg(test)]
mod simulation;
mod usage;
mod world;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::acceptance::{Accepted, Reason, Rejection};
use super::handover::Handover;
use super::policy::{Delivery, Key, RotationRequest};
use super::rotation::{self, Version, VersionState};
use super::source::Source;
pub use first::IMPORTED;
pub use notice::{EXPIRY_NOTICE, Notices, concerns_last_use};
pub use outcome::{Cause, Event, Plan, Report, SecretState, State, Step};
pub use world::{
    Minted, MovedSecret, Obstacle, Record, Redigested, Restored, Revocation, SealedString, Secret, StagedSecret, World,
};

/// How long a rotation waits for a verifier that lives but does not catch up.
pub const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How soon to look again at what is not watched: the Secret of somebody else, whose name or string is needed, and
/// the older key with the same string, of whose end one may not have heard.
const UNWATCHED_POLL: Duration = Duration::from_secs(30);

/// Decides what is to be done next.
#[must_use]
pub fn plan(world: &World<'_>, now: Timestamp) -> Plan {
    let step = next_step(world, now).or_else(|| notice::tell(world, now));
    let step = usage::name(world, step);
    // What a status write reports is the world as it is once written.
    let record = match &step {
        Some(Step::Record { record, .. }) => record,
        _ => &world.record,
    };
    Plan { report: report(world, record, now), next_look: next_look(world, record, now), step }
}

fn next_step(world: &World<'_>, now: Timestamp) -> Option<Step> {
    if let Some(step) = revocation::record(world, now) {
        return Some(step);
    }
    if revocation::is_permanent(world) {
        return revocation::remove_strings(world);
    }
    let accepted = world.acceptance.as_ref().ok();
    let ended = settle_graces(world, accepted, now);
    let ended = ended.or_else(|| delivery::settle(world, now)).or_else(|| delivery::remove(world));
    // A key that can be brought back keeps what it has, and gets nothing new.
    if ended.is_some() || revocation::is_revoked(world) {
        return ended;
    }
    if let Some(step) = redigest(world) {
        return Some(step);
    }
    // Nothing is minted or moved while the key is not accepted, or once it has expired.
    let accepted = accepted.filter(|accepted| !has_expired(accepted, now))?;
    if let Some(step) = usage::create(world) {
        return Some(step);
    }
    if let Some(staged) = world.record.versions.staged() {
        return finish_staged(world, accepted, staged, now);
    }
    if let Some(step) = first::take_over(world, now) {
        return Some(step);
    }
    // A string would have nowhere to go.
    if world.obstacle.is_some() || (world.secret == Secret::Foreign && !world.key.delivery.is_sealed()) {
        return delete_useless(world);
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

/// Brings digests under the active pepper, so that the others can be taken away.
fn redigest(world: &World<'_>) -> Option<Step> {
    if world.redigested.is_empty() {
        return None;
    }
    let versions = world.redigested.iter().fold(world.record.versions.clone(), |versions, anew| {
        versions.redigest(anew.number, anew.digest, &anew.pepper)
    });
    Some(Step::Record { record: Record { versions, ..world.record.clone() }, event: None })
}

/// Steps 3 to 5 for a version that is known to verifiers but not yet current.
fn finish_staged(world: &World<'_>, accepted: &Accepted, staged: &Version, now: Timestamp) -> Option<Step> {
    let number = staged.number;
    if !staged.is_in_secret() {
        return Some(match await_verifiers(world, number) {
            // What can be read from a Secret must be accepted, and the current string soon is no more.
            Ok(behind) => delete_secret(world).unwrap_or_else(|| promote(world, accepted, staged, behind, now)),
            Err(at_most) => Step::AwaitVerifiers { at_most },
        });
    }
    if world.secret.is_in_order_for(number) {
        return Some(promote(world, accepted, staged, None, now));
    }
    let kept = world.staged.iter().any(|kept| kept.number == number && kept.digest == Some(staged.digest));
    // Nobody has read it, and it is to be in no Secret any more.
    let unwanted = world.key.delivery.is_sealed();
    if unwanted && !is_kept(world, number) && world.record.versions.current().is_none() {
        // Until there is another, it is the only one that is accepted.
        return if world.obstacle.is_none() { mint_missing(world, accepted, now) } else { None };
    }
    if (!kept || unwanted) && !is_kept(world, number) {
        let versions = world.record.versions.clone().abandon_staged();
        let event = (!kept).then_some(Event::StagedLost { number });
        return Some(Step::Record { record: Record { versions, ..world.record.clone() }, event });
    }
    if world.secret == Secret::Foreign || world.obstacle.is_some() {
        return None;
    }
    Some(match await_verifiers(world, number) {
        Err(at_most) => Step::AwaitVerifiers { at_most },
        Ok(_) if world.secret.is_fixed() => Step::DeleteSecret { name: Arc::clone(&world.key.secret_name) },
        Ok(event) => Step::Publish { number, event },
    })
}

/// Step 3: what to tell when it is over, or how much longer it may take.
fn await_verifiers(world: &World<'_>, number: u32) -> Result<Option<Event>, Duration> {
    let left = LONGEST_WAIT.saturating_sub(world.waited);
    match (world.known_to_verifiers, left.is_zero()) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(Event::VerifiersBehind { number })),
        (false, false) => Err(left),
    }
}

fn promote(world: &World<'_>, accepted: &Accepted, staged: &Version, event: Option<Event>, now: Timestamp) -> Step {
    let number = staged.number;
    let first = world.record.last_rotated_at.is_none();
    // A request that was edited away meanwhile leaves the grace to what is said for all rotations.
    let grace = grace_after(world, accepted, staged.request.as_deref());
    let grace = grace.or_else(|| grace_after(world, accepted, None)).unwrap_or_default();
    // A scheduled version waits for as long as it takes: nobody knows that there is one to fetch.
    let expected = first || staged.request.is_some();
    let until = world.key.delivery.ttl().filter(|_| expected);
    let until = until.map(|ttl| rotation::after(rotation::next_whole_second(now), ttl));
    let versions = world.record.versions.clone().promote(now, grace, accepted.expires_at);
    let versions = versions.hand_over(|version| match &version.handover {
        Some(Handover::InSecret { .. }) if version.number == number => Some(Handover::InSecret { until }),
        // Its successor stands in its place.
        Some(Handover::InSecret { .. }) => Some(Handover::Done),
        unchanged => unchanged.clone(),
    });
    let secret_name = world.record.secret_name.as_ref().unwrap_or(&world.key.secret_name);
    let record = Record {
        versions,
        rotation_request: staged.request.clone().or_else(|| world.record.rotation_request.clone()),
        // As it will be read back: what is computed from it must not change by being stored.
        last_rotated_at: Some(rotation::next_whole_second(now)),
        secret_name: staged.is_in_secret().then(|| Arc::clone(secret_name)),
        ..world.record.clone()
    };
    let event = event.unwrap_or(match (first, &world.key.source) {
        (true, Some(Source::Secret { .. })) => Event::Imported { number },
        (true, _) => Event::Minted { number },
        (false, _) => Event::Rotated { number },
    });
    Step::Record { record, event: Some(event) }
}

/// The first version, and one for a string that is nowhere any more.
fn mint_missing(world: &World<'_>, accepted: &Accepted, now: Timestamp) -> Option<Step> {
    let Some(current) = world.record.versions.current() else {
        let rotated_without_grace = world.record.last_rotated_at.map(|_| Cause::Request);
        return Some(stage(world, accepted, rotated_without_grace, now));
    };
    let lost = current.is_in_secret() && !is_kept(world, current.number) && !is_copied(world, current);
    let cause = if world.lost_pepper.is_some() { Cause::PepperLost } else { Cause::SecretLost };
    lost.then(|| stage(world, accepted, Some(cause), now))
}

fn cause_to_rotate(world: &World<'_>, accepted: &Accepted, now: Timestamp) -> Option<Cause> {
    if open_request(world).is_some() {
        return Some(Cause::Request);
    }
    // Nobody could open what is sealed to a key that was meant for another string.
    let due = rotation_due(world.key, accepted, &world.record).filter(|_| !world.key.delivery.is_sealed())?;
    (now >= due).then_some(Cause::Schedule)
}

/// Steps 1 and 2.
fn stage(world: &World<'_>, accepted: &Accepted, cause: Option<Cause>, now: Timestamp) -> Step {
    let number = world.record.versions.next_number();
    let Some((number, minted, handover)) = fresh(world, now) else {
        // What an interrupted run left behind: nobody knows its string, and its name is needed.
        let left = world.staged.iter().find(|staged| staged.number >= number);
        return match left {
            Some(left) => Step::DeleteStaged { number: left.number },
            None if world.key.delivery.is_sealed() => Step::Seal { number },
            None => Step::Stage { number },
        };
    };
    // The request that is there at the first mint counts as answered.
    let first = world.record.last_rotated_at.is_none();
    let request = if first { world.key.rotation_request.as_ref() } else { open_request(world) };
    let request = request.map(|request| Arc::clone(&request.id));
    let grace = grace_after(world, accepted, request.as_deref()).unwrap_or_default();
    let version = Version { request, handover, ..minted.staged(number) };
    let before = world.record.versions.clone().abandon_staged().settle(now, accepted.expires_at, |_| None);
    let versions = before.clone().stage(version, grace);
    let cut = before.iter().find(|old| old.is_accepted(now) && versions.by_number(old.number).is_none());
    let event = match (cut, cause) {
        (Some(cut), _) => Some(Event::GraceCut { number: cut.number }),
        (None, Some(cause)) => Some(Event::RotationStarted { number, cause }),
        // Of the first version people hear when it is there.
        (None, None) => None,
    };
    let id = world.record.id.clone().or_else(|| Some(Arc::clone(&minted.id)));
    Step::Record { record: Record { id, versions, ..world.record.clone() }, event }
}

/// What this very run has minted for the next version, and how it is handed over.
fn fresh<'w>(world: &'w World<'_>, now: Timestamp) -> Option<(u32, &'w Minted, Option<Handover>)> {
    if let Delivery::Sealed { ttl } = world.key.delivery {
        let next = world.record.versions.next_number();
        let sealed = world.sealed.as_ref().filter(|sealed| sealed.number == next)?;
        let until = rotation::after(rotation::next_whole_second(now), ttl);
        let handover = Handover::Sealed { text: Arc::clone(&sealed.text), until };
        return Some((sealed.number, &sealed.minted, Some(handover)));
    }
    let (number, minted) = world.staged.iter().find_map(|staged| Some((staged.number, staged.fresh.as_ref()?)))?;
    let handover = (world.key.delivery != Delivery::Retain).then_some(Handover::InSecret { until: None });
    Some((number, minted, handover))
}

/// Step 6, and what interrupted runs left behind.
fn delete_leftover(world: &World<'_>) -> Option<Step> {
    let left = world.staged.first()?;
    Some(Step::DeleteStaged { number: left.number })
}

/// What was staged for nothing, while the current string may be kept beside.
fn delete_useless(world: &World<'_>) -> Option<Step> {
    let current = world.record.versions.current().map(|current| current.digest);
    let useless = world.staged.iter().find(|staged| current.is_none() || staged.digest != current)?;
    Some(Step::DeleteStaged { number: useless.number })
}

/// Puts right what was changed by hand, and follows a new name or data key with the same string.
fn maintain_secret(world: &World<'_>) -> Option<Step> {
    let current = world.record.versions.current().filter(|current| current.is_in_secret())?;
    // Where strings go into Secrets no more, one stays under its old name instead.
    if world.secret == Secret::Foreign {
        return None;
    }
    if world.secret.is_fixed() && current.handover.is_none() {
        return Some(delivery::remake(world, current));
    }
    // What is handed over once is not copied anywhere for the sake of its looks.
    if !world.secret.is_in_order_for(current.number) && !world.secret.is_fixed() {
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

/// Every Secret that holds strings, one after the other.
fn delete_secret(world: &World<'_>) -> Option<Step> {
    let ours = matches!(world.secret, Secret::Ours { .. } | Secret::Restored(_));
    let present = ours.then(|| Step::DeleteSecret { name: Arc::clone(&world.key.secret_name) });
    present.or_else(|| delete_moved(world))
}

fn delete_moved(world: &World<'_>) -> Option<Step> {
    let moved = world.moved_secrets.first()?;
    Some(Step::DeleteSecret { name: Arc::clone(&moved.name) })
}

/// Whether the string of this version stands in one of the key's Secrets.
fn is_kept(world: &World<'_>, number: u32) -> bool {
    world.secret.holds(number) || world.moved_secrets.iter().any(|moved| moved.holds.contains(&number))
}

/// Whether the string of this version stands in one of its staged Secrets.
fn is_copied(world: &World<'_>, version: &Version) -> bool {
    world.staged.iter().any(|staged| staged.digest == Some(version.digest))
}

/// A request in the manifest that has not been answered.
fn open_request<'a>(world: &World<'a>) -> Option<&'a RotationRequest> {
    let request = world.key.rotation_request.as_ref()?;
    (world.record.rotation_request.as_ref() != Some(&request.id)).then_some(request)
}

fn grace_after(world: &World<'_>, accepted: &Accepted, successor_request: Option<&str>) -> Option<Duration> {
    rotation::grace(successor_request, world.key.rotation_request.as_ref(), &accepted.schedule)
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
    let revoked = revocation::is_revoked(world);
    let expires_at = accepted.ok().and_then(|accepted| accepted.expires_at);
    let expired = accepted.is_ok_and(|accepted| has_expired(accepted, now));
    let current = record.versions.current();
    // A string that was handed over works on without a Secret.
    let taken = !revoked && !expired && current.is_none_or(Version::is_in_secret) && needs_taken_name(world, now);
    let accepted =
        accepted.map(|_| ()).map_err(Clone::clone).and_then(|()| if taken { Err(name_taken(world)) } else { Ok(()) });
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
    let alive = world.acceptance.as_ref().ok().filter(|_| !revoked && !expired);
    let secret = delivery::report(world, record, alive, now);
    let next_rotation_at = match state {
        State::Active | State::Rotating => {
            world.acceptance.as_ref().ok().and_then(|accepted| rotation_due(world.key, accepted, record))
        }
        _ => None,
    };
    let locked_out_by = world.lost_pepper.clone().filter(|lost| current.is_some_and(|current| current.pepper == *lost));
    Report { state, accepted, secret, locked_out_by, usage_lost: usage::lost(world), expires_at, next_rotation_at }
}

fn name_taken(world: &World<'_>) -> Rejection {
    let name = &world.key.secret_name;
    let message = format!(
        "spec.secret.name: Secret {name} is there already and was not made for this key; delete it or choose another name"
    );
    Rejection::new(Reason::SecretNameTaken, message)
}

/// Whether a string has nowhere to go because somebody else's Secret has the name.
fn needs_taken_name(world: &World<'_>, now: Timestamp) -> bool {
    if world.secret != Secret::Foreign || world.key.delivery.is_sealed() {
        return false;
    }
    let versions = &world.record.versions;
    let wanted = || world.acceptance.as_ref().is_ok_and(|accepted| cause_to_rotate(world, accepted, now).is_some());
    versions.staged().is_some() || versions.current().is_none_or(Version::is_in_secret) || wanted()
}

fn next_look(world: &World<'_>, record: &Record, now: Timestamp) -> Option<Timestamp> {
    if revocation::is_permanent(world) {
        return None;
    }
    let alive = world.acceptance.as_ref().ok().filter(|accepted| !has_expired(accepted, now));
    let alive = alive.filter(|_| !revocation::is_revoked(world));
    let taken = alive.is_some() && needs_taken_name(world, now);
    let waits = |rejection: &Rejection| matches!(rejection.reason, Reason::SourceNotFound | Reason::DuplicateKey);
    let unwatched = taken || world.acceptance.as_ref().is_err_and(waits);
    let notices = notice::next_looks(world, record).filter(|_| !revocation::is_revoked(world));
    let instants = [
        record.versions.next_grace_end(),
        delivery::next_end(record),
        delivery::overdue_at(record),
        alive.and_then(|accepted| accepted.expires_at),
        alive.and_then(|accepted| rotation_due(world.key, accepted, record)),
        unwatched.then(|| rotation::after(now, UNWATCHED_POLL)),
    ];
    instants.into_iter().flatten().chain(notices).filter(|at| *at > now).min()
}
