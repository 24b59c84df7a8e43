//! Looks after one ApiKey: gather what is there, plan the next write, apply it, publish what came of it, until
//! nothing is left to be done.

mod apply;
mod audit;
mod build;
mod delivery;
mod duplicate;
mod enforce;
mod gather;
mod place;
mod progress;
mod publish;
mod record;
mod restored;
mod source;
mod template;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt as _};

use super::actors::Actors;
use super::audit::AuditLog;
use super::judging::Judging;
use super::lanes::{Lanes, Urgency};
use super::leader::Term;
use super::low::Ledgers;
use super::peppers;
use super::places::Places;
use super::policies::Policies;
use super::secrets::Secrets;
use super::strings::Strings;
use super::usages::{Usages, Whose};
use super::{key_named, key_ref};
use crate::clock;
use crate::core::lifecycle::{self, Step};
use crate::core::policy::ObjectName;
use crate::metrics::{Metrics, Reconciled};
use crate::resources::ApiKey;
use crate::resources::apikey::VersionState;
use crate::telemetry::chain;
pub(super) use audit::Unstored;
pub(super) use progress::Progress;
use progress::Rests;

/// Writes that one key needs at the most before it is at rest; more of them would be a loop.
const MOST_STEPS: usize = 32;

/// Pause before a key is tried again after a failure.
const RETRY: Duration = Duration::from_secs(2);

/// Pause after a conflict: the change that caused it is about to be seen.
const RETRY_CONFLICT: Duration = Duration::from_millis(100);

/// What every reconcile works with.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) term: Term,
    pub(super) metrics: Arc<Metrics>,
    pub(super) recorder: Recorder,
    pub(super) peppers: Arc<peppers::Kept>,
    pub(super) strings: Strings,
    pub(super) lanes: Arc<Lanes>,
    pub(super) places: Arc<Places>,
    /// Every key, once the queue runs.
    pub(super) keys: Store<DeserializeGuard<ApiKey>>,
    pub(super) policies: Arc<Policies>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) usages: Arc<Usages>,
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) judging: Arc<Judging>,
    pub(super) progress: Progress,
    pub(super) audit: AuditLog,
    pub(super) actors: Arc<Actors>,
    /// What was told of keys whose status was not written yet.
    pub(super) unstored: Unstored,
}

impl Context {
    /// Where the key is.
    fn api_of(&self, key: &ApiKey) -> Api<ApiKey> {
        Api::namespaced(self.client.clone(), &key.namespace().unwrap_or_default())
    }

    /// The key is gone.
    pub(super) fn forget(&self, namespace: &str, name: &str) {
        self.progress.forget(namespace, name);
        let name = ObjectName::new(namespace, name);
        self.ledgers.forget(&Whose::Key(key_named(&name)));
        self.strings.forget(&name);
        self.lanes.forget(&key_named(&name));
        self.places.leave(&name);
        self.unstored.forget(&name);
    }
}

/// A key could not be looked after this time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("reading the key anew after a failure")]
    ReadAnew(#[source] kube::Error),
    #[error("reading what belongs to the key")]
    Gather(#[source] gather::Error),
    #[error("asking how far the verifiers have come")]
    Judging(#[source] kube::Error),
    #[error("carrying out a step")]
    Apply(#[source] apply::Error),
    #[error("another controller may lead by now")]
    NotLeading,
    #[error("the plan for the key does not come to an end")]
    Endless,
}

/// Brings one key to what its manifest says, and measures that.
pub(super) async fn reconcile(key: Arc<DeserializeGuard<ApiKey>>, context: Arc<Context>) -> Result<Action, Error> {
    let began = clock::since_boot();
    let outcome = Box::pin(bring_about(key, &context)).await;
    let took = clock::since_boot().saturating_sub(began);
    context.metrics.leading().reconciled(outcome.as_ref().map_or(Reconciled::Failed, |_| Reconciled::Done), took);
    outcome
}

async fn bring_about(key: Arc<DeserializeGuard<ApiKey>>, context: &Context) -> Result<Action, Error> {
    let key = match &key.0 {
        Ok(key) => key,
        Err(error) => {
            tracing::warn!(key = error.metadata.name, error = error.error, "an ApiKey cannot be read; apply it anew");
            return Ok(Action::await_change());
        }
    };
    // What was doubtful stays so while the key waits.
    let Some(_place) = context.lanes.enter(&key_ref(key), urgency(key)) else { return Ok(Action::await_change()) };
    let outcome = if context.progress.take_doubt(key) {
        match read_anew(key, context).await {
            Ok(Some(key)) => Box::pin(look_after(&key, context)).await,
            Ok(None) => Ok(Action::await_change()),
            Err(error) => Err(error),
        }
    } else {
        Box::pin(look_after(key, context)).await
    };
    if outcome.is_err() {
        context.progress.doubt(key);
    }
    outcome
}

/// What is told of the present generation, and enforced, is all that anybody waits for.
fn urgency(key: &ApiKey) -> Urgency {
    let Some(status) = key.status.as_ref() else { return Urgency::Asked };
    let told = status.observed_generation == key.metadata.generation && enforce::is_enforced(key);
    match status.versions.iter().any(|version| version.state == VersionState::Staged) {
        _ if !told => Urgency::Asked,
        true => Urgency::Begun,
        false => Urgency::Patient,
    }
}

/// A write that failed may have taken effect all the same, and the watch may not have told of it yet: what to do
/// next is decided by what is stored.
async fn read_anew(key: &ApiKey, context: &Context) -> Result<Option<ApiKey>, Error> {
    context.api_of(key).get_opt(&key.name_any()).await.map_err(Error::ReadAnew)
}

async fn look_after(key: &ApiKey, context: &Context) -> Result<Action, Error> {
    match context.progress.rests(key, context, clock::now()) {
        Some(Rests::Enforced { next_look }) => return Ok(progress::wake_at(next_look, clock::now())),
        Some(Rests::Unenforced(settled)) => {
            return enforce::conclude(context, key.clone(), settled, clock::now()).await;
        }
        Some(Rests::Outdated) => return Ok(Action::await_change()),
        None => {}
    }
    duplicate::learn_all(context);
    place::learn_all(context, clock::now());
    let mut observed = gather::gather(context, key).await.map_err(Error::Gather)?;
    for _ in 0..MOST_STEPS {
        if !context.term.holds(clock::since_boot()) {
            return Err(Error::NotLeading);
        }
        let now = clock::now();
        ask_verifiers(context, &mut observed).await?;
        duplicate::refuse(context, &mut observed);
        place::take(context, &mut observed, now);
        let Some(plan) = observed.world().map(|world| lifecycle::plan(&world, now)) else {
            // The manifest says something that the schema should have refused: that is told, nothing else.
            publish::invalid(context, &mut observed, now).await.map_err(Error::Apply)?;
            return Box::pin(rest(context, observed, None, now)).await;
        };
        match plan.step {
            None => {
                publish::status(context, &mut observed, &plan.report, now).await.map_err(Error::Apply)?;
                return Box::pin(rest(context, observed, plan.next_look, now)).await;
            }
            Some(Step::AwaitVerifiers { at_most }) => {
                publish::status(context, &mut observed, &plan.report, now).await.map_err(Error::Apply)?;
                context.progress.wait(&observed, clock::since_boot());
                return Ok(Action::requeue(at_most));
            }
            Some(step) => apply::apply(context, &mut observed, step, &plan.report, now).await.map_err(Error::Apply)?,
        }
    }
    Err(Error::Endless)
}

/// Nothing is left to be done, but to see that what is stored now is honoured everywhere.
async fn rest(
    context: &Context,
    observed: gather::Observed,
    next_look: Option<Timestamp>,
    now: Timestamp,
) -> Result<Action, Error> {
    let settled = context.progress.rest(&observed, next_look);
    let whose = Whose::Key(key_ref(&observed.object));
    context.ledgers.settle(whose, observed.ledger.as_ref(), clock::since_boot());
    enforce::conclude(context, observed.object, settled, now).await
}

/// When to try again after a failure.
pub(super) fn retry(key: Arc<DeserializeGuard<ApiKey>>, error: &Error, _: Arc<Context>) -> Action {
    if matches!(error, Error::Apply(error) if error.is_conflict()) {
        return Action::requeue(RETRY_CONFLICT);
    }
    let name = key.0.as_ref().map_or_else(|error| error.metadata.name.clone(), |key| key.metadata.name.clone());
    tracing::warn!(key = name, error = chain(error), "looking after a key failed; it is tried again");
    Action::requeue(RETRY)
}

/// Asks whether the verifiers know the staged version, until they do: nothing else waits for them.
async fn ask_verifiers(context: &Context, observed: &mut gather::Observed) -> Result<(), Error> {
    if observed.record.versions.staged().is_some()
        && !observed.known_to_verifiers
        && let Some(version) = observed.resource_version()
    {
        let answer = context.judging.have_applied(version, key_ref(&observed.object)).await;
        observed.known_to_verifiers = answer.map_err(Error::Judging)?;
    }
    Ok(())
}
