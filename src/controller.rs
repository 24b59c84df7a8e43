//! Mints, rotates and revokes: brings the cluster to what the manifests say.
//!
//! ```text
//!  ApiKeys ──────────────────┐ one reconcile a key: gather → plan (core, pure) → apply → publish, until at rest
//!  Secrets, metadata only ───┤
//!  ApiKeyUsages, the same ───┤ where little is left of quotas or credits: `low`
//!  APIs, tiers, roles ───────┤ wake the keys that they concern
//!  ApiKeyOwners ─────────────┤ the same; and their own ApiKeyUsages are looked after
//!  Leases of verifiers ──────┘
//! ```
//!
//! Of several controllers one leads, and only that one does any of this.
//!
//! All lists are complete before the first key is looked at, so that nothing is refused or minted because of
//! something that was merely not read yet.

mod actors;
mod apikey;
mod audit;
mod gone;
mod judging;
mod lanes;
mod leader;
mod low;
mod metadata;
mod notices;
mod owner;
mod pepper;
mod peppers;
mod places;
mod policies;
mod scope;
mod secrets;
mod strings;
mod usages;

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use kube::api::PostParams;
use kube::core::DeserializeGuard;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, WatchStreamExt as _, controller, reflector, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::core::policy::ObjectName;
use crate::entropy::{self, EntropyError};
use crate::metrics::Metrics;
use crate::resources::names::CONTROLLER_MANAGER;
use crate::resources::{ApiKey, ApiKeyOwner};
use crate::telemetry::chain;
use actors::Actors;
use apikey::Context;
pub use audit::AuditLog;
use leader::{Election, Term};
use scope::Scope;

/// Keys that are worked on at the same time. A key spends its time waiting for the API server.
const CONCURRENCY: u16 = 64;

/// How an ApiKey is addressed in the queue. Guarded, so that one that cannot be read disturbs no other.
type KeyRef = ObjectRef<DeserializeGuard<ApiKey>>;

/// How an ApiKeyOwner is addressed in its queue.
type OwnerRef = ObjectRef<DeserializeGuard<ApiKeyOwner>>;

fn key_ref(key: &ApiKey) -> KeyRef {
    KeyRef::new(&key.name_any()).within(&key.namespace().unwrap_or_default())
}

/// The place in the queue of the key of that name.
fn key_named(name: &ObjectName) -> KeyRef {
    KeyRef::new(&name.name).within(&name.namespace)
}

/// How the controller writes.
fn post_params() -> PostParams {
    PostParams { field_manager: Some(CONTROLLER_MANAGER.to_owned()), ..PostParams::default() }
}

/// What the controller works with.
pub struct Options {
    pub client: Client,
    pub metrics: Arc<Metrics>,
    /// The only namespace to look after; `None` for all.
    pub namespace: Option<String>,
    /// Where Keyturn's own objects are.
    pub operator_namespace: String,
    /// Names this process among the controllers, such as the pod's name.
    pub process: String,
    /// For how long a controller leads without renewing its Lease; whole seconds.
    pub leader_lease: Duration,
    /// Where it is written down who does what to keys.
    pub audit: AuditLog,
    /// Told how far this process has come.
    pub phase: watch::Sender<Phase>,
}

/// How far a controller has come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Phase {
    /// It does not know yet whether another one leads.
    #[default]
    Starting,
    /// Another one leads, or it has just ceased to lead itself.
    StandingBy,
    /// It leads from the beginning, and reads what there is.
    Reading,
    /// It leads after it stood by, and reads what there is.
    TakingOver,
    /// It leads, and looks after the keys.
    AtWork,
}

/// The controller cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("preparing the pepper")]
    Pepper(#[source] pepper::Error),
    #[error("naming this process among the controllers")]
    Name(#[source] EntropyError),
}

/// Leads or stands by until told to stop, and finishes what it has begun. A process that must not lead any more drops
/// everything at once and stands by again.
///
/// # Errors
/// When there is no pepper that could be used.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), Error> {
    let Options { client, operator_namespace, process, leader_lease, phase, .. } = &options;
    let me = format!("{process}-{}", entropy::nonce(5).map_err(Error::Name)?);
    let mut election = Election::new(client, operator_namespace, &me, *leader_lease);
    loop {
        let stands_by = || {
            phase.send_if_modified(|phase| std::mem::replace(phase, Phase::StandingBy) != Phase::StandingBy);
        };
        if shutdown.run_until_cancelled(election.win(stands_by)).await.is_none() {
            return Ok(());
        }
        phase.send_modify(|phase| {
            *phase = if *phase == Phase::StandingBy { Phase::TakingOver } else { Phase::Reading };
        });
        let term = election.term();
        let stop = shutdown.child_token();
        tokio::select! {
            ended = Box::pin(lead(&options, term, stop.clone())) => {
                election.release().await;
                return ended;
            }
            () = election.keep() => {
                stop.cancel();
                phase.send_replace(Phase::StandingBy);
                warn!("this controller must not lead any more; it drops what it was doing and stands by");
            }
        }
    }
}

/// Reconciles until told to stop, and finishes what it has begun.
async fn lead(options: &Options, term: Term, shutdown: CancellationToken) -> Result<(), Error> {
    let Options { client, metrics, namespace, operator_namespace, audit, phase, .. } = options;
    let scope = Scope::new(namespace.clone());
    let Some(pepper) = shutdown.run_until_cancelled(pepper::ensure(client, &scope, operator_namespace)).await else {
        return Ok(());
    };
    let (first, version) = pepper.map_err(Error::Pepper)?;

    let (wake, woken) = mpsc::unbounded_channel::<KeyRef>();
    let (wake_owner, woken_owners) = mpsc::unbounded_channel::<OwnerRef>();
    let (store, written) = reflector::store();
    let watched = watcher(scope.api::<DeserializeGuard<ApiKey>>(client), watcher::Config::default());
    let tasks = TaskTracker::new();
    let policies = policies::follow(client, &scope, &store, (&wake, &wake_owner), &shutdown, &tasks);
    let places = Arc::new(places::Places::new(Arc::clone(&policies), wake.clone()));
    let (mut gone, log, left) = (gone::Gone::new(store.clone()), audit.clone(), Arc::clone(&places));
    let watched = watched.inspect_ok(move |event| {
        for key in gone.by(event) {
            log.tell_deletion(&key);
            left.leave(&ObjectName::new(&key.namespace().unwrap_or_default(), &key.name_any()));
        }
    });
    // Deletions as well: what is remembered of a key goes with it, and another may take its place.
    let touched = reflector(written, watched).default_backoff().touched_objects();
    let keys = Controller::for_stream(touched, store.clone());
    let secrets = secrets::follow(client, &scope, &wake, &shutdown, &tasks);
    let ledgers = Arc::<low::Ledgers>::default();
    let wakes = usages::Wake { keys: wake.clone(), owners: wake_owner };
    let usages = usages::follow(client, &scope, wakes.clone(), Arc::clone(&ledgers), &shutdown, &tasks);
    let judging = judging::follow(client, operator_namespace, &wake, &shutdown, &tasks);
    let peppers = Arc::new(peppers::Kept::new(first, version));
    let strings = strings::Strings::new(wake.clone(), Arc::clone(metrics));
    let lanes = Arc::new(lanes::Lanes::new(wake.clone()));
    let following = Arc::clone(&peppers).follow(client.clone(), operator_namespace.clone(), store.clone(), wake);
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(following));
    let actors = Arc::new(Actors::new(client, operator_namespace));
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(Arc::clone(&actors).follow()));
    let counting = notices::count(store.clone(), Arc::clone(metrics));
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(counting));
    let reporter = Reporter { controller: "keyturn".into(), instance: None };
    let recorder = Recorder::new(client.clone(), reporter);
    let (owners, written) = reflector::store();
    let looker = low::Looker {
        client: client.clone(),
        ledgers: Arc::clone(&ledgers),
        keys: store.clone(),
        owners: owners.clone(),
        policies: Arc::clone(&policies),
        wake: wakes,
        metrics: Arc::clone(metrics),
    };
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(looker.follow()));
    let counting = low::count(store.clone(), owners.clone(), Arc::clone(&policies), Arc::clone(metrics));
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(counting));
    let looking_after = owner::Context {
        client: client.clone(),
        recorder: recorder.clone(),
        metrics: Arc::clone(metrics),
        policies: Arc::clone(&policies),
        usages: Arc::clone(&usages),
        ledgers: Arc::clone(&ledgers),
    };
    let following = owner::follow(looking_after, scope.clone(), (owners, written), woken_owners);
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(following));
    tasks.close();

    let context = Arc::new(Context {
        recorder,
        client: client.clone(),
        term,
        metrics: Arc::clone(metrics),
        peppers,
        strings,
        lanes,
        places,
        keys: store.clone(),
        policies: Arc::clone(&policies),
        secrets: Arc::clone(&secrets),
        usages: Arc::clone(&usages),
        ledgers,
        judging: Arc::clone(&judging),
        progress: apikey::Progress::default(),
        audit: audit.clone(),
        actors,
        unstored: apikey::Unstored::default(),
    });
    let all_read = async {
        policies.read().await;
        secrets.read().await;
        usages.read().await;
        judging.read().await;
    };
    if shutdown.run_until_cancelled(all_read).await.is_some() {
        info!("every kind has been read; keys are looked after");
        phase.send_replace(Phase::AtWork);
        look_after(keys, store, woken, context, &shutdown).await;
    }
    tasks.wait().await;
    audit.flush().await;
    Ok(())
}

/// Looks after keys until told to stop, and finishes what it has begun.
async fn look_after(
    keys: Controller<DeserializeGuard<ApiKey>>,
    store: Store<DeserializeGuard<ApiKey>>,
    woken: mpsc::UnboundedReceiver<KeyRef>,
    context: Arc<Context>,
    shutdown: &CancellationToken,
) {
    let woken = futures::stream::unfold(woken, |mut woken| async { woken.recv().await.map(|key| (key, woken)) });
    let stopped = shutdown.clone();
    let watched = Arc::clone(&context);
    let looking_after = keys
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .reconcile_on(woken)
        .graceful_shutdown_on(async move { stopped.cancelled().await })
        .run(apikey::reconcile, apikey::retry, context)
        .for_each(|outcome| {
            match outcome {
                Ok((key, _)) => debug!(%key, "looked after"),
                Err(controller::Error::ObjectNotFound(key)) => {
                    watched.forget(key.namespace.as_deref().unwrap_or_default(), &key.name);
                }
                // Said where it is known what failed.
                Err(controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => warn!(error = chain(&error), "the queue of keys failed; it goes on"),
            }
            futures::future::ready(())
        });
    // Before the keys are listed nothing has begun that would have to be finished, and the queue would wait
    // for a list that does not come any more.
    let stopped_before_the_list = async {
        shutdown.cancelled().await;
        if store.wait_until_ready().now_or_never().is_none() {
            return;
        }
        futures::future::pending::<()>().await;
    };
    tokio::select! {
        () = looking_after => {}
        () = stopped_before_the_list => {}
    }
}
