//! Keeps the engine's index the image of what the API server holds, and tells the controller how far it is.
//!
//! ```text
//!  ApiKey, ProtectedApi, ApiKeyTier, ApiKeyRole,       Secret keyturn-pepper
//!  ApiKeyOwner, Namespace (metadata only)                    │
//!        │ one list+watch loop each                          │ watched by name
//!        ▼                                                   ▼
//!      apply: one task, one report at a time ──► index ──► engine ──► transport
//!        │                         └──────────► gate: how long ago each kind was last heard of, the permit
//!        └─ highest ApiKey resourceVersion ──► permit ◄── check: consistent LIST
//!                                               │  ▲
//!                                               ▼  │ written
//!                                              Lease ──► controller
//! ```
//!
//! Beside it, [`usage`] writes what keys were used for into their ApiKeyUsages, and [`reservations`] has quotas and credits
//! handed out from there.
//!
//! All of the above happens under one Lease. When that or the permit is lost, nothing is answered any more, the Lease is
//! released, and everything begins anew under another one.

mod apply;
mod backoff;
mod check;
mod convert;
mod date;
#[cfg(test)]
mod fixtures;
mod lease;
mod living;
mod pepper;
mod permit;
mod progress;
mod reservations;
mod stored;
mod usage;
mod watch;

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::core::enforced::cadence::Cadence;
use crate::core::enforced::permit::Over;
use crate::metrics::Metrics;
use crate::telemetry::chain;
use crate::verify::engine::Engine;
use crate::verify::gate::{Gate, Watched};
use crate::verify::index::Index;
use crate::verify::reports::Reports;
use crate::verify::spender::Supplier;

use apply::{Applier, Update};
use lease::{Claim, Holder};
use pepper::Keeper;
use permit::Held;
use reservations::Reservations;
use watch::{Follower, Report};

pub use date::ServerClock;

/// Reports on their way from the watches to the index.
const QUEUE: usize = 1024;

/// What the feed works with.
pub struct Options {
    pub client: Client,
    /// The only namespace whose keys are judged; `None` for all.
    pub namespace: Option<String>,
    /// Where the pepper and the Leases are.
    pub operator_namespace: String,
    /// Pod or host, for the name of the Lease.
    pub process: String,
    /// For how long requests are answered without the API server confirming that nothing is missed; whole seconds,
    /// since `leaseDurationSeconds` is the same.
    pub max_staleness: Duration,
    /// For how long a key's usage is collected before it is written.
    pub usage_interval: Duration,
    /// Rate limits are counted outside of this process.
    pub limits_elsewhere: bool,
    pub metrics: Arc<Metrics>,
}

/// Why nothing may be answered any more under a Lease.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the Lease is gone, or somebody else has changed it")]
    LeaseLost,
    #[error(transparent)]
    Over(Over),
    #[error("nothing is watched any more")]
    FeedEnded,
}

/// The engine as the feed brings it about, and what is still missing.
pub struct Feed {
    options: Options,
    index: Arc<Index>,
    gate: Arc<Gate>,
    engine: Arc<OnceLock<Engine>>,
    no_pepper: Mutex<Option<String>>,
    held: channel::Sender<bool>,
    reservations: Reservations,
}

impl Feed {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let gate = Gate::new(options.max_staleness);
        // Keys of the only namespace can belong to no other's API.
        let gate = if options.namespace.is_some() { gate.without(Watched::Namespaces) } else { gate };
        let index = Arc::<Index>::default();
        let (client, metrics) = (options.client.clone(), Arc::clone(&options.metrics));
        Self {
            reservations: Reservations::new(client, Arc::clone(&index), metrics),
            index,
            gate: Arc::new(gate),
            options,
            engine: Arc::default(),
            no_pepper: Mutex::new(Some("the pepper is not read yet".to_owned())),
            held: channel::Sender::new(false),
        }
    }

    /// The engine, in place once there is a pepper. It refuses by itself while watches are silent.
    #[must_use]
    pub fn engine(&self) -> Arc<OnceLock<Engine>> {
        Arc::clone(&self.engine)
    }

    /// Whom requests that are short of quotas or credits wait for.
    #[must_use]
    pub fn supplier(&self) -> Arc<dyn Supplier> {
        Arc::new(self.reservations.clone())
    }

    /// Where is counted what proxies report.
    #[must_use]
    pub fn reports(&self) -> Reports {
        Reports::new(Arc::clone(&self.index), Arc::clone(&self.gate))
    }

    /// What the engine judges by.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// How fresh that is.
    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// What is missing before requests can be judged, one sentence each. `now` is time since boot.
    #[must_use]
    pub fn missing(&self, now: Duration) -> Vec<String> {
        let lease = match (*self.held.borrow(), self.gate.is_permitted(now)) {
            (false, _) => Some("there is no Lease yet".to_owned()),
            (true, false) => Some("the API server has not confirmed yet that nothing is missed".to_owned()),
            (true, true) => None,
        };
        let pepper = self.no_pepper().clone();
        let silent = self.gate.missing(now).map(|kind| match self.gate.age(kind, now) {
            None => format!("{} are not listed yet", kind.as_str()),
            Some(age) => format!("{} have not been heard of for {} s", kind.as_str(), age.as_secs()),
        });
        let uncounted = "it is not known yet how many processes judge keys, among which limits are shared";
        let uncounted = self.index.processes().is_none().then(|| uncounted.to_owned());
        lease.into_iter().chain(pepper).chain(silent).chain(uncounted).collect()
    }

    fn no_pepper(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.no_pepper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the engine until `stop`, then releases the Lease. Nothing is answered any more from then on.
    pub async fn run(&self, stop: CancellationToken) {
        let secrets: Api<Secret> = Api::namespaced(self.options.client.clone(), &self.options.operator_namespace);
        let tell = Box::new(|news| self.take_peppers(news));
        let peppers = Keeper::new(secrets, self.options.max_staleness, tell);
        // Boxed: a watch with its buffers is much to carry on the stack.
        let keeping = Box::pin(stop.run_until_cancelled(peppers.keep()));
        let reserving = self.reservations.run(&stop);
        tokio::join!(keeping, self.keep_feeding(&peppers, &stop), self.write_usage(&stop), reserving);
    }

    /// Under whatever Lease it was counted.
    async fn write_usage(&self, stop: &CancellationToken) {
        let Options { client, operator_namespace, usage_interval, metrics, .. } = &self.options;
        let leases: Api<Lease> = Api::namespaced(client.clone(), operator_namespace);
        let writer = usage::Writer::new(usage::Options {
            client: client.clone(),
            index: Arc::clone(&self.index),
            metrics: Arc::clone(metrics),
            interval: *usage_interval,
        });
        let tell = |living: usize| {
            let processes = u32::try_from(living).ok().and_then(NonZeroU32::new);
            self.index.set_processes(processes.unwrap_or(NonZeroU32::MIN));
        };
        tokio::join!(stop.run_until_cancelled(living::follow(leases, tell)), Box::pin(writer.run(stop)));
    }

    async fn keep_feeding(&self, peppers: &Keeper<'_>, stop: &CancellationToken) {
        let leases: Api<Lease> = Api::namespaced(self.options.client.clone(), &self.options.operator_namespace);
        let duration = self.options.max_staleness;
        let holder = Holder { process: self.options.process.clone(), duration, quiet: self.cadence().lease_write };
        while let Some(mut claim) = stop.run_until_cancelled(lease::claim(&leases, &holder)).await {
            info!(lease = claim.name(), "the Lease is held");
            self.held.send_replace(true);
            // Boxed: six watches with their buffers are much to carry on the stack.
            let feeding = Box::pin(self.feed(&mut claim, peppers));
            if let Some(end) = stop.run_until_cancelled(feeding).await {
                warn!(lease = claim.name(), reason = chain(&end), "no request is answered; starting over");
            }
            self.held.send_replace(false);
            // The order matters: whoever has released its Lease is not waited for any more.
            self.gate.close();
            claim.release().await;
        }
    }

    /// Feeds the engine under one Lease until that comes to an end. Claims come before lists: what is listed after
    /// the claim is at least as new as what the controller waits for once it has seen the Lease.
    async fn feed(&self, claim: &mut Claim, peppers: &Keeper<'_>) -> End {
        self.gate.forget();
        let held = Arc::new(Held::new(claim.begun, self.options.max_staleness, Arc::clone(&self.gate)));
        tokio::select! {
            () = claim.renew_while_held(&held) => End::LeaseLost,
            over = held.over() => End::Over(over),
            () = self.follow(&held, peppers) => End::FeedEnded,
        }
    }

    fn take_peppers(&self, news: pepper::News) {
        match news {
            pepper::News::Missing(reason) => *self.no_pepper() = Some(reason),
            pepper::News::Use(peppers) => {
                let new = || {
                    let engine = Engine::new(Arc::clone(&self.index), Arc::clone(&self.gate), peppers.clone());
                    if self.options.limits_elsewhere { engine.with_limits_elsewhere() } else { engine }
                };
                self.engine.get_or_init(new).set_peppers(peppers.clone());
                *self.no_pepper() = None;
            }
        }
    }

    async fn follow(&self, held: &Arc<Held>, peppers: &Keeper<'_>) {
        let (reports, mut queue) = mpsc::channel(QUEUE);
        let writer = Applier { index: Arc::clone(&self.index), gate: Arc::clone(&self.gate), held: Arc::clone(held) };
        let applying = async {
            while let Some(update) = queue.recv().await {
                if let Update::Keys(report) = &update {
                    peppers.know(&report.change).await;
                }
                writer.apply(update);
            }
        };
        tokio::join!(
            check::keep_checking(self.api(), held, self.cadence().check),
            self.watch(self.api(), &reports, Update::Keys),
            self.watch_quiet(self.api(), &reports, Update::Apis),
            self.watch_quiet(self.api(), &reports, Update::Tiers),
            self.watch_quiet(self.api(), &reports, Update::Roles),
            self.watch_quiet(self.api(), &reports, Update::Owners),
            self.follow_namespaces(&reports),
            applying,
        );
    }

    /// By labels of namespaces an API says which of them may have keys besides its own.
    async fn follow_namespaces(&self, reports: &mpsc::Sender<Update>) {
        if self.options.namespace.is_some() {
            return;
        }
        self.watch_quiet(Api::all(self.options.client.clone()), reports, Update::Namespaces).await;
    }

    /// Watches a kind that nothing else is asked about, and which has to be heard of although it never changes.
    async fn watch_quiet<O>(&self, api: Api<O>, reports: &mpsc::Sender<Update>, wrap: fn(Report<O>) -> Update)
    where
        O: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        tokio::join!(self.watch(api.clone(), reports, wrap), progress::ask_for(api, self.cadence().progress));
    }

    async fn watch<O>(&self, api: Api<O>, reports: &mpsc::Sender<Update>, wrap: fn(Report<O>) -> Update)
    where
        O: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let length = self.cadence().watch;
        watch::follow(Follower {
            api,
            length,
            reports: reports.clone(),
            wrap,
            metrics: Arc::clone(&self.options.metrics),
        })
        .await;
    }

    fn cadence(&self) -> Cadence {
        Cadence::of(self.options.max_staleness)
    }

    fn api<K>(&self) -> Api<DeserializeGuard<K>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let client = self.options.client.clone();
        match &self.options.namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        }
    }
}
