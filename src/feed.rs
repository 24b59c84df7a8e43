//! Keeps the engine's index the image of what the API server holds, and tells the controller how far it is.
//!
//! ```text
//!  ApiKey, ProtectedApi, ApiKeyTier, ApiKeyRole,       Secret keyturn-pepper
//!  ApiKeyOwner, Namespace (metadata only)                    │
//!        │ one list+watch loop each                          │ once
//!        ▼                                                   ▼
//!      apply: one task, one report at a time ──► index ──► engine ──► transport
//!        │                         └──────────► gate: how long ago each kind was last heard of
//!        └─ highest ApiKey resourceVersion ───► Lease ──► controller
//! ```

mod apply;
mod backoff;
mod convert;
mod lease;
mod pepper;
mod progress;
mod watch;

use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::core::{DeserializeGuard, NamespaceResourceScope, PartialObjectMeta};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch as channel};
use tokio_util::sync::CancellationToken;

use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};
use crate::verify::engine::Engine;
use crate::verify::gate::{Gate, Watched};
use crate::verify::index::Index;

use apply::{Applier, Update};
use lease::Holder;

/// Reports on their way from the watches to the index.
const QUEUE: usize = 1024;

/// `leaseDurationSeconds`. A process refuses everything long before, once its watches are silent; a Lease that
/// lay unchanged for this long belongs to nobody any more.
const LEASE_DURATION: Duration = Duration::from_mins(15);

/// What the feed works with.
pub struct Options {
    pub client: Client,
    /// The only namespace whose keys are judged; `None` for all.
    pub namespace: Option<String>,
    /// Where the pepper and the Leases are.
    pub operator_namespace: String,
    /// Pod or host, for the name of the Lease.
    pub process: String,
    /// For how long a watch may be silent before every request is refused.
    pub max_watch_age: Duration,
}

/// The engine as the feed brings it about, and what is still missing.
pub struct Feed {
    options: Options,
    index: Arc<Index>,
    gate: Arc<Gate>,
    engine: Arc<OnceLock<Engine>>,
    no_pepper: Mutex<Option<String>>,
    held: channel::Sender<bool>,
}

impl Feed {
    #[must_use]
    pub fn new(options: Options) -> Self {
        let gate = Gate::new(options.max_watch_age);
        // Keys of the only namespace can belong to no other's API.
        let gate = if options.namespace.is_some() { gate.without(Watched::Namespaces) } else { gate };
        Self {
            index: Arc::default(),
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
        let lease = (!*self.held.borrow()).then(|| "there is no Lease yet".to_owned());
        let pepper = self.no_pepper().clone();
        let silent = self.gate.missing(now).map(|kind| match self.gate.age(kind, now) {
            None => format!("{} are not listed yet", kind.as_str()),
            Some(age) => format!("{} have not been heard of for {} s", kind.as_str(), age.as_secs()),
        });
        lease.into_iter().chain(pepper).chain(silent).collect()
    }

    fn no_pepper(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.no_pepper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the engine until `stop`, then releases the Lease. Nothing may be answered any more by then.
    pub async fn run(&self, stop: CancellationToken) {
        let leases: Api<Lease> = Api::namespaced(self.options.client.clone(), &self.options.operator_namespace);
        let holder = Holder { process: self.options.process.clone(), duration: LEASE_DURATION };
        let (applied, progress) = channel::channel(None);
        let keeping = lease::keep(leases, holder, progress, self.held.clone(), stop.clone());
        // Boxed: six watches with their buffers are much to carry on the stack.
        let feeding = Box::pin(stop.run_until_cancelled(self.feed(applied)));
        tokio::join!(keeping, feeding);
    }

    /// Claims come before lists: what is listed after the claim is at least as new as what the controller waits
    /// for once it has seen the Lease.
    async fn feed(&self, applied: channel::Sender<Option<u64>>) {
        let mut held = self.held.subscribe();
        if held.wait_for(|&held| held).await.is_err() {
            return;
        }
        tokio::join!(self.read_pepper(), self.follow(applied));
    }

    async fn read_pepper(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.options.client.clone(), &self.options.operator_namespace);
        let pepper = pepper::wait(&secrets, |reason| *self.no_pepper() = Some(reason)).await;
        self.engine.get_or_init(|| Engine::new(Arc::clone(&self.index), Arc::clone(&self.gate), pepper));
        *self.no_pepper() = None;
    }

    async fn follow(&self, applied: channel::Sender<Option<u64>>) {
        let (reports, mut queue) = mpsc::channel(QUEUE);
        let writer = Applier { index: Arc::clone(&self.index), gate: Arc::clone(&self.gate), applied };
        let applying = async {
            while let Some(update) = queue.recv().await {
                writer.apply(update);
            }
        };
        tokio::join!(
            watch::follow(self.api(), reports.clone(), Update::Keys),
            watch::follow(self.api(), reports.clone(), Update::Apis),
            watch::follow(self.api(), reports.clone(), Update::Tiers),
            watch::follow(self.api(), reports.clone(), Update::Roles),
            watch::follow(self.api(), reports.clone(), Update::Owners),
            self.follow_namespaces(reports),
            progress::ask_for(self.api::<ApiKey>()),
            progress::ask_for(self.api::<ProtectedApi>()),
            progress::ask_for(self.api::<ApiKeyTier>()),
            progress::ask_for(self.api::<ApiKeyRole>()),
            progress::ask_for(self.api::<ApiKeyOwner>()),
            applying,
        );
    }

    /// By labels of namespaces an API says which of them may have keys besides its own.
    async fn follow_namespaces(&self, reports: mpsc::Sender<Update>) {
        if self.options.namespace.is_some() {
            return;
        }
        let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(self.options.client.clone());
        let following = watch::follow(namespaces.clone(), reports, Update::Namespaces);
        tokio::join!(following, progress::ask_for(namespaces));
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
