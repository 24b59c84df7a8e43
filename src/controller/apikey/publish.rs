//! Tells what became of a key: status, conditions, events.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::runtime::events;
use kube::{Resource as _, ResourceExt as _};
use tracing::{info, warn};

use super::apply::Error;
use super::gather::Observed;
use super::{Context, audit, delivery, record};
use crate::controller::post_params;
use crate::controller::usages::{self, USAGE_LOST, say_lost};
use crate::core::acceptance;
use crate::core::lifecycle::{Cause, Event, LONGEST_WAIT, Record, Report, SecretState, State};
use crate::resources::apikey::{ApiKeyStatus, KeyState, Revocation};
use crate::resources::condition::{self, ACCEPTED, READY, SECRET_SYNCED, Statement};
use crate::resources::references::SecretKeyRef;
use crate::telemetry::chain;

/// Reason of what is said about keys whose pepper is lost.
const PEPPER_LOST: &str = "PepperLost";

/// Writes the record and the report, unless the status is so already.
pub(super) async fn status(
    context: &Context,
    observed: &mut Observed,
    report: &Report,
    now: Timestamp,
) -> Result<(), Error> {
    let before = observed.object.status.clone().unwrap_or_default();
    let after = stored(observed, report, &before, now);
    write(context, observed, before, after, now).await
}

/// For a manifest that cannot be parsed: says so, and leaves everything else as it is.
pub(super) async fn invalid(context: &Context, observed: &mut Observed, now: Timestamp) -> Result<(), Error> {
    let Err(rejection) = &observed.acceptance else { return Ok(()) };
    let before = observed.object.status.clone().unwrap_or_default();
    let generation = observed.object.metadata.generation;
    let mut after = ApiKeyStatus { observed_generation: generation, state: Some(KeyState::Rejected), ..before.clone() };
    let ready = Statement { kind: READY, holds: Some(false), reason: "Rejected", message: &rejection.message };
    condition::set(&mut after.conditions, Statement::accepted(Err(rejection)), generation, now);
    condition::set(&mut after.conditions, ready, generation, now);
    write(context, observed, before, after, now).await
}

async fn write(
    context: &Context,
    observed: &mut Observed,
    before: ApiKeyStatus,
    mut after: ApiKeyStatus,
    now: Timestamp,
) -> Result<(), Error> {
    audit::tell(context, &observed.object, &before, &mut after, now).await;
    // Compared as stored: instants there are whole seconds.
    if serde_json::to_value(&before).ok() == serde_json::to_value(&after).ok() {
        return Ok(());
    }
    let news = news(&before, &after).into_iter().chain(news_of_delivery(&before, &after));
    let news: Vec<_> = news.collect();
    let mut object = observed.object.clone();
    object.status = Some(after);
    let written = context.api_of(&object).replace_status(&object.name_any(), &post_params(), &object).await;
    observed.object = written.map_err(Error::Status)?;
    context.unstored.stored(&observed.object);
    context.progress.wrote(observed);
    for (type_, reason, message) in news {
        emit(context, observed, type_, &reason, message).await;
    }
    Ok(())
}

/// What a new status tells that is worth an event: a refusal, and the key's going out of use and coming back.
fn news(before: &ApiKeyStatus, after: &ApiKeyStatus) -> Option<(events::EventType, String, String)> {
    use events::EventType::{Normal, Warning};
    let of = |status: &ApiKeyStatus, kind| status.conditions.iter().find(|it| it.type_ == kind).cloned();
    let told = |condition: Condition, type_| Some((type_, condition.reason, condition.message));
    let (was, is) = (of(before, ACCEPTED), of(after, ACCEPTED)?);
    if is.status == "False" {
        let same = was.is_some_and(|was| was.status == is.status && was.reason == is.reason);
        return if same { None } else { told(is, Warning) };
    }
    for reason in [PEPPER_LOST, USAGE_LOST] {
        let locked_out = |status| of(status, READY).filter(|ready| ready.reason == reason);
        if let (None, Some(ready)) = (locked_out(before), locked_out(after)) {
            return told(ready, Warning);
        }
    }
    let out_of_use = |state| matches!(state, Some(KeyState::Disabled | KeyState::Expired | KeyState::Rejected));
    match after.state {
        same if same == before.state => None,
        Some(KeyState::Disabled | KeyState::Expired) => told(of(after, READY)?, Normal),
        Some(KeyState::Active) if out_of_use(before.state) && before.last_rotated_at.is_some() => {
            told(of(after, READY)?, Normal)
        }
        _ => None,
    }
}

/// What somebody has to do so that strings are handed out, or taken.
fn news_of_delivery(before: &ApiKeyStatus, after: &ApiKeyStatus) -> Option<(events::EventType, String, String)> {
    let of = |status: &ApiKeyStatus| status.conditions.iter().find(|it| it.type_ == SECRET_SYNCED).cloned();
    let is = of(after)?;
    let same = of(before).is_some_and(|was| was.reason == is.reason);
    let worth_an_event = delivery::WARNINGS.contains(&is.reason.as_str());
    (worth_an_event && !same).then_some((events::EventType::Warning, is.reason, is.message))
}

fn stored(observed: &Observed, report: &Report, before: &ApiKeyStatus, now: Timestamp) -> ApiKeyStatus {
    let record = &observed.record;
    let generation = observed.object.metadata.generation;
    let mut status = ApiKeyStatus {
        observed_generation: generation,
        id: record.id.as_deref().map(Into::into),
        state: Some(match report.state {
            State::Pending => KeyState::Pending,
            State::Active => KeyState::Active,
            State::Rotating => KeyState::Rotating,
            State::Disabled => KeyState::Disabled,
            State::Expired => KeyState::Expired,
            State::Revoked => KeyState::Revoked,
            State::Rejected => KeyState::Rejected,
        }),
        start: start(record).or_else(|| before.start.clone()),
        versions: record::stored_versions(&record.versions),
        rotation_request: record.rotation_request.as_deref().map(Into::into),
        last_rotated_at: record.last_rotated_at.map(Time),
        next_rotation_at: report.next_rotation_at.map(Time),
        expires_at: report.expires_at.map(Time),
        secret_ref: record
            .secret_name
            .as_deref()
            .map(|name| SecretKeyRef { name: name.to_owned(), key: observed.object.spec.secret.key.clone() }),
        notices: record::stored_notices(&record.notices),
        revocation: record
            .revocation
            .map(|revocation| Revocation { at: Time(revocation.at), reversible: revocation.reversible }),
        usage: record.usage.as_deref().map(|uid| usages::reference(&observed.object, uid)),
        conditions: before.conditions.clone(),
        history: before.history.clone(),
        audited_spec: before.audited_spec.clone(),
    };
    let note = observed.key.as_ref().ok().zip(observed.acceptance.as_ref().ok());
    let note = note.and_then(|(key, accepted)| acceptance::capped(key, accepted));
    let mut accepted = Statement::accepted(report.accepted.as_ref().copied());
    if let (Some(note), Ok(())) = (&note, &report.accepted) {
        accepted.message = note;
    }
    let misread = delivery::misread(&observed.object, observed.own_secret());
    let (holds, reason, message) = delivery::told(&report.secret, misread.as_deref());
    let secret_synced = Statement { kind: SECRET_SYNCED, holds: Some(holds), reason, message: &message };
    let (holds, reason, message) = ready(report);
    let ready = Statement { kind: READY, holds: Some(holds), reason, message: &message };
    for statement in [accepted, ready, secret_synced] {
        condition::set(&mut status.conditions, statement, generation, now);
    }
    status
}

/// Of a string of which only the hash is known, nothing can be shown.
fn start(record: &Record) -> Option<String> {
    let start = &record.versions.current()?.start;
    (!start.is_empty()).then(|| start.to_string())
}

fn ready(report: &Report) -> (bool, &'static str, Cow<'static, str>) {
    let (holds, reason, message) = match report.state {
        State::Active | State::Rotating if let Some(pepper) = &report.locked_out_by => {
            let message = format!(
                "Secret keyturn-pepper does not hold pepper {pepper}, by which the current string is recognised, so nobody is let in; put the pepper back, or rotate the key by spec.rotation.request"
            );
            return (false, PEPPER_LOST, message.into());
        }
        State::Active | State::Rotating if let Some(uid) = &report.usage_lost => {
            return (false, USAGE_LOST, say_lost(uid).into());
        }
        State::Active => (true, "Active", "requests with this key are let in"),
        State::Rotating => {
            (true, "Rotating", "a new version is being handed to the verifiers; the present one works on")
        }
        State::Pending => (false, "Pending", "the first version is being handed to the verifiers"),
        State::Disabled => (false, "Disabled", "spec.enabled is false; set it to true to let the key in again"),
        State::Expired => (
            false,
            "Expired",
            "spec.expiresAt, the API's expiresAfter or the tier's maxLifetime has passed; set a later spec.expiresAt, as far as the tier allows",
        ),
        State::Revoked if report.secret == SecretState::Deleted => {
            (false, "Revoked", "the key is revoked for good; create another one")
        }
        State::Revoked => (false, "Revoked", "the key is revoked; set spec.revoked to false to let it in again"),
        State::Rejected => (false, "Rejected", "the Accepted condition says why"),
    };
    (holds, reason, message.into())
}

/// Tells people what happened; a cluster that takes no events changes nothing else.
pub(super) async fn event(context: &Context, observed: &Observed, event: Option<Event>) {
    use events::EventType::{Normal, Warning};
    let (type_, reason, note) = match event {
        None => return,
        Some(Event::Minted { number }) => {
            (Normal, "Minted", format!("version {number} is handed out and accepted everywhere"))
        }
        Some(Event::Imported { number }) => {
            (Normal, "Imported", format!("version {number} is the string that spec.source names"))
        }
        Some(Event::Adopted { number }) => (
            Normal,
            "Adopted",
            format!("version {number} and the key's id come from its Secret, which outlived its status"),
        ),
        Some(Event::RotationStarted { number, cause: Cause::Schedule }) => {
            (Normal, "RotationStarted", format!("version {number} is staged, as scheduled"))
        }
        Some(Event::RotationStarted { number, cause: Cause::Request }) => {
            (Normal, "RotationStarted", format!("version {number} is staged, as requested"))
        }
        Some(Event::RotationStarted { number, cause: Cause::SecretLost }) => (
            Warning,
            "SecretLost",
            format!("the string in the Secret was removed or changed; version {number} is staged to replace it"),
        ),
        Some(Event::RotationStarted { number, cause: Cause::PepperLost }) => (
            Warning,
            PEPPER_LOST,
            format!("the pepper of the current version is lost; version {number} is staged to replace it"),
        ),
        Some(Event::Rotated { number }) => {
            (Normal, "Rotated", format!("version {number} is handed out; the grace of its predecessor has begun"))
        }
        Some(Event::GraceCut { number }) => (
            Warning,
            "GraceCut",
            format!(
                "version {number} is refused before its grace has ended, since four versions are remembered at most"
            ),
        ),
        Some(Event::GraceEnded { number }) => {
            (Normal, "GraceEnded", format!("version {number} is refused from now on"))
        }
        Some(Event::StagedLost { number }) => (
            Warning,
            "StagedLost",
            format!("the staged Secret of version {number} is gone or changed; another version is minted"),
        ),
        Some(Event::VerifiersBehind { number }) => (
            Warning,
            "VerifiersBehind",
            format!(
                "version {number} is handed out although a verifier has not applied it in {} s",
                LONGEST_WAIT.as_secs()
            ),
        ),
        Some(Event::SecretCorrected { number }) => {
            (Normal, "SecretCorrected", format!("the Secret holds version {number} as the manifest says again"))
        }
        Some(Event::Delivered { number }) => {
            (Normal, "Delivered", format!("version {number} is acknowledged; its string is kept nowhere any more"))
        }
        Some(Event::DeliveryTimedOut { number }) => (
            Warning,
            "DeliveryTimedOut",
            format!(
                "nobody has acknowledged version {number} within spec.secret.onceTtl; its string is kept nowhere any more"
            ),
        ),
        Some(Event::Revoked { reversible: false }) => {
            (Warning, "Revoked", "the key is revoked for good; its Secret is deleted".to_owned())
        }
        Some(Event::Revoked { reversible: true }) => {
            (Warning, "Revoked", "the key is revoked until spec.revoked is false again; its strings stay".to_owned())
        }
        Some(Event::Reinstated) => {
            (Normal, "Reinstated", "the key is revoked no more; the same string is let in again".to_owned())
        }
        Some(Event::ExpiresSoon { at }) => (
            Warning,
            "ExpiresSoon",
            format!(
                "the key expires at {at}; set a later spec.expiresAt, as far as its tier allows, if it is to live on"
            ),
        ),
        Some(Event::LowBudget(low)) => (Warning, low.reason(), low.sentence()),
        Some(Event::OldVersionInUse { number, last, end }) => (
            Warning,
            "OldVersionInUse",
            format!(
                "version {number} is still in use, the last time at {last}, and refused from {end} on; let whoever uses it read the current string"
            ),
        ),
    };
    emit(context, observed, type_, reason, note).await;
}

async fn emit(context: &Context, observed: &Observed, type_: events::EventType, reason: &str, note: String) {
    let key = observed.object.name_any();
    context.metrics.told(reason);
    info!(key, namespace = observed.object.namespace(), reason, note, "told");
    let event = events::Event {
        type_,
        reason: reason.to_owned(),
        // The API takes 1,024 bytes.
        note: Some(note.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    let about = observed.object.object_ref(&());
    let told = context.recorder.publish(&event, &about);
    match tokio::time::timeout(Duration::from_secs(5), told).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(key, reason, error = chain(&error), "an event could not be recorded"),
        Err(_) => warn!(key, reason, "an event could not be recorded in time"),
    }
}
