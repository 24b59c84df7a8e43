//! Looks after ApiKeyOwners: makes the ApiKeyUsage of one that has quotas, says in its status what is made of it, and
//! tells when little is left of a quota.

mod low;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Controller, WatchStreamExt as _, controller, reflector, watcher};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::low::Ledgers;
use super::policies::Policies;
use super::scope::Scope;
use super::usages::{self, OwnUsage, USAGE_LOST, Usages, Whose, say_lost};
use super::{OwnerRef, post_params};
use crate::clock::{now, since_boot};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::ledger::low::Low;
use crate::core::policy::ObjectName;
use crate::core::usage::object::{Standing, UsageObject};
use crate::metrics::Metrics;
use crate::resources::ApiKeyOwner;
use crate::resources::apikeyowner::OwnerStatus;
use crate::resources::condition::{self, READY, Statement};
use crate::resources::names::RESET_USAGE_ANNOTATION;
use crate::telemetry::chain;

type Guarded = DeserializeGuard<ApiKeyOwner>;

/// Owners that are worked on at the same time.
const CONCURRENCY: u16 = 8;

/// Pause before an owner is tried again after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Pause after a conflict: the change that caused it is about to be seen.
const RETRY_CONFLICT: Duration = Duration::from_millis(100);

/// What every look at an owner works with.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) recorder: Recorder,
    pub(super) policies: Arc<Policies>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) usages: Arc<Usages>,
    pub(super) ledgers: Arc<Ledgers>,
}

/// An owner could not be looked after this time.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("looking for the ApiKeyUsage")]
    Find(#[source] kube::Error),
    #[error("making the ApiKeyUsage")]
    Create(#[source] kube::Error),
    #[error("writing the status")]
    Status(#[source] kube::Error),
}

/// Looks after every owner that changes or is woken.
pub(super) async fn follow(
    context: Context,
    scope: Scope,
    (store, written): (Store<Guarded>, Writer<Guarded>),
    mut woken: mpsc::UnboundedReceiver<OwnerRef>,
) {
    // Nothing is concluded from what was merely not read yet.
    context.policies.read().await;
    context.usages.read().await;
    let ledgers = Arc::clone(&context.ledgers);
    let watched = watcher(scope.api::<Guarded>(&context.client), watcher::Config::default());
    let touched = reflector(written, watched).default_backoff().applied_objects();
    let woken = futures::stream::poll_fn(move |task| woken.poll_recv(task));
    Controller::for_stream(touched, store)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_on(woken)
        .run(reconcile, retry, Arc::new(context))
        .for_each(async |outcome| match outcome {
            Ok((owner, _)) => debug!(%owner, "looked after"),
            Err(controller::Error::ObjectNotFound(owner)) => {
                let namespace = owner.namespace.as_deref().unwrap_or_default();
                ledgers.forget(&Whose::Owner(OwnerRef::new(&owner.name).within(namespace)));
            }
            // Said where it is known what failed.
            Err(controller::Error::ReconcilerFailed(..)) => {}
            Err(error) => warn!(error = chain(&error), "the queue of owners failed; it goes on"),
        })
        .await;
}

async fn reconcile(owner: Arc<DeserializeGuard<ApiKeyOwner>>, context: Arc<Context>) -> Result<Action, Error> {
    match &owner.0 {
        Ok(owner) => look_after(owner, &context).await?,
        Err(error) => {
            warn!(owner = error.metadata.name, error = error.error, "an ApiKeyOwner cannot be read; apply it anew");
        }
    }
    Ok(Action::await_change())
}

async fn look_after(owner: &ApiKeyOwner, context: &Context) -> Result<(), Error> {
    let name = ObjectName::new(&owner.namespace().unwrap_or_default(), &owner.name_any());
    let claim = owner.claim();
    let judgement = context.policies.current().policies.owners.judge(&name, &claim);
    let before = owner.status.clone().unwrap_or_default();
    let named = before.usage.as_ref().map(|usage| usage.uid.as_str().into());
    let own = OwnUsage::of(&context.client, owner);
    let mut usage = UsageObject {
        found: own.find(&context.usages, named.as_ref()).await.map_err(Error::Find)?,
        metered: !owner.spec.quotas.is_empty(),
        reset: owner.annotations().get(RESET_USAGE_ANNOTATION).map(|uid| uid.as_str().into()),
    };
    // One that never had quotas needs none, and one that does not speak for its external id has no keys.
    let speaks = judgement.as_ref().err().is_none_or(|rejection| rejection.reason != Reason::ExternalIdTaken);
    let wanted = speaks && (usage.metered || named.is_some());
    if wanted && usage.standing(named.as_ref()) == Standing::Missing {
        usage.found = own.create().await.map_err(Error::Create)?;
    }
    let standing = usage.standing(named.as_ref());
    let mut after = before.clone();
    if wanted && let Standing::Unnamed(uid) = &standing {
        after.usage = Some(usages::reference(owner, uid));
        // What was told was about the ledger of another.
        after.notices = None;
    }
    state(&mut after, judgement.as_ref().copied(), &standing, owner.metadata.generation, now());
    let whose = Whose::Owner(OwnerRef::new(&name.name).within(&name.namespace));
    let ledger = context.ledgers.found(&whose);
    let lows = match (&judgement, &claim.owner, &ledger) {
        (Ok(()), Ok(speaking), Some(ledger)) => low::note(&mut after, speaking, ledger, now()),
        _ => Vec::new(),
    };
    if before != after {
        write(owner, before, after, &lows, context).await?;
    }
    context.ledgers.settle(whose, ledger.as_ref(), since_boot());
    Ok(())
}

/// Says what is made of an owner.
fn state(
    status: &mut OwnerStatus,
    judgement: Result<(), &Rejection>,
    standing: &Standing,
    generation: Option<i64>,
    now: Timestamp,
) {
    let lost = match standing {
        Standing::Lost(uid) => Some(say_lost(uid)),
        Standing::Kept | Standing::Missing | Standing::Unnamed(_) => None,
    };
    let (holds, reason, message) = match (judgement, &lost) {
        (_, Some(message)) => (false, USAGE_LOST, message.as_str()),
        (Err(_), None) => (false, "Rejected", "the Accepted condition says why"),
        (Ok(()), None) => (true, "Ready", "the limits that its keys share can be counted"),
    };
    let ready = Statement { kind: READY, holds: Some(holds), reason, message };
    status.observed_generation = generation;
    for statement in [Statement::accepted(judgement), ready] {
        condition::set(&mut status.conditions, statement, generation, now);
    }
}

/// The object's resourceVersion goes along: a newer one is never overwritten.
async fn write(
    owner: &ApiKeyOwner,
    before: OwnerStatus,
    after: OwnerStatus,
    lows: &[Low],
    context: &Context,
) -> Result<(), Error> {
    let reason = |status: &OwnerStatus, kind| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == kind);
        condition.map(|condition| condition.reason.clone()).unwrap_or_default()
    };
    let lost = |status: &OwnerStatus| reason(status, READY) == USAGE_LOST;
    let is_news = lost(&after) && !lost(&before);
    let news = after.conditions.iter().find(|condition| is_news && condition.type_ == READY).cloned();
    let mut object = owner.clone();
    object.status = Some(after);
    let api = Api::<ApiKeyOwner>::namespaced(context.client.clone(), &owner.namespace().unwrap_or_default());
    let name = owner.name_any();
    api.replace_status(&name, &post_params(), &object).await.map_err(Error::Status)?;
    info!(owner = name, namespace = owner.namespace(), "an owner's status was brought up to date");
    if let Some(condition) = news {
        tell(owner, &condition.reason, condition.message, context).await;
    }
    for low in lows {
        tell(owner, low.reason(), low.sentence(), context).await;
    }
    Ok(())
}

async fn tell(owner: &ApiKeyOwner, reason: &str, note: String, context: &Context) {
    context.metrics.told(reason);
    let event = Event {
        type_: EventType::Warning,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    if let Err(error) = context.recorder.publish(&event, &owner.object_ref(&())).await {
        warn!(owner = owner.name_any(), reason, error = chain(&error), "an event could not be recorded");
    }
}

fn retry(owner: Arc<DeserializeGuard<ApiKeyOwner>>, error: &Error, _: Arc<Context>) -> Action {
    if matches!(error, Error::Status(kube::Error::Api(status)) if status.is_conflict()) {
        return Action::requeue(RETRY_CONFLICT);
    }
    warn!(owner = owner.name_any(), error = chain(error), "looking after an owner failed; it is tried again");
    Action::requeue(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_ready_unless_it_does_not_count_or_nobody_knows_what_was_spent() {
        let taken = Rejection::new(Reason::ExternalIdTaken, "somebody else has it");
        let lost = || Standing::Lost("u1".into());
        for (judgement, standing, accepted, ready) in [
            (Ok(()), Standing::Missing, "True Accepted", "True Ready"),
            (Ok(()), Standing::Kept, "True Accepted", "True Ready"),
            (Ok(()), Standing::Unnamed("u1".into()), "True Accepted", "True Ready"),
            (Ok(()), lost(), "True Accepted", "False UsageLost"),
            (Err(&taken), Standing::Kept, "False ExternalIdTaken", "False Rejected"),
            (Err(&taken), lost(), "False ExternalIdTaken", "False UsageLost"),
        ] {
            let mut status = OwnerStatus::default();
            state(&mut status, judgement, &standing, Some(3), Timestamp::UNIX_EPOCH);
            let said: Vec<_> = status.conditions.iter().map(|it| format!("{} {}", it.status, it.reason)).collect();
            assert_eq!((status.observed_generation, said), (Some(3), vec![accepted.to_owned(), ready.to_owned()]));
        }
    }
}
