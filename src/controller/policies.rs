//! What keys refer to: kept at hand, parsed, for acceptance, and told in each object's own `Accepted`.

mod kinds;
mod status;

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::{StreamExt as _, pin_mut};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::scope::Scope;
use super::{KeyRef, key_ref};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::policy::{self, ObjectName};
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};
use crate::telemetry::chain;
use kinds::Kind;

/// Kinds that have to be listed before any key is judged.
const KINDS: usize = 4;

/// Every API, tier and role, as acceptance sees them.
#[derive(Debug)]
pub(super) struct Policies {
    current: ArcSwap<Revision>,
    listed: watch::Sender<usize>,
}

/// One state of all of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Revision {
    /// Grows with every change.
    pub(super) number: u64,
    pub(super) policies: policy::Policies,
}

impl Policies {
    pub(super) fn current(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    /// Waits until all of them have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.listed.subscribe().wait_for(|listed| *listed >= KINDS).await;
    }

    fn update(&self, change: impl Fn(&mut policy::Policies)) {
        self.current.rcu(|revision| {
            let mut next = Revision::clone(revision);
            next.number += 1;
            change(&mut next.policies);
            next
        });
    }
}

/// Follows all kinds that keys refer to, and wakes the keys that a change concerns.
pub(super) fn follow(
    client: &Client,
    scope: &Scope,
    keys: &Store<DeserializeGuard<ApiKey>>,
    wake: &mpsc::UnboundedSender<KeyRef>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Policies> {
    let policies = Arc::new(Policies { current: ArcSwap::default(), listed: watch::Sender::new(0) });
    let follower = Follower { client, scope, keys, wake, shutdown, tasks, policies: &policies };
    follower.spawn::<ProtectedApi>();
    follower.spawn::<ApiKeyTier>();
    follower.spawn::<ApiKeyRole>();
    follower.spawn::<ApiKeyOwner>();
    policies
}

struct Follower<'a> {
    client: &'a Client,
    scope: &'a Scope,
    keys: &'a Store<DeserializeGuard<ApiKey>>,
    wake: &'a mpsc::UnboundedSender<KeyRef>,
    shutdown: &'a CancellationToken,
    tasks: &'a TaskTracker,
    policies: &'a Arc<Policies>,
}

impl Follower<'_> {
    fn spawn<K: Kind>(&self) {
        let events = watcher(self.scope.api::<DeserializeGuard<K>>(self.client), watcher::Config::default());
        let one = OneKind::<K> {
            client: self.client.clone(),
            keys: self.keys.clone(),
            wake: self.wake.clone(),
            policies: Arc::clone(self.policies),
            listed: Vec::new(),
        };
        self.tasks.spawn(self.shutdown.clone().run_until_cancelled_owned(one.run(events)));
    }
}

struct OneKind<K: Kind> {
    client: Client,
    keys: Store<DeserializeGuard<ApiKey>>,
    wake: mpsc::UnboundedSender<KeyRef>,
    policies: Arc<Policies>,
    /// Objects of a list that is not complete yet.
    listed: Vec<DeserializeGuard<K>>,
}

impl<K: Kind> OneKind<K> {
    async fn run(
        mut self,
        events: impl futures::Stream<Item = Result<watcher::Event<DeserializeGuard<K>>, watcher::Error>>,
    ) {
        let events = events.default_backoff();
        pin_mut!(events);
        let mut listed_before = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => self.listed.clear(),
                Ok(watcher::Event::InitApply(object)) => self.listed.push(object),
                Ok(watcher::Event::InitDone) => {
                    self.replace().await;
                    if !std::mem::replace(&mut listed_before, true) {
                        self.policies.listed.send_modify(|listed| *listed += 1);
                    }
                }
                Ok(watcher::Event::Apply(object)) => self.enter(object).await,
                Ok(watcher::Event::Delete(object)) => {
                    let name = name_of(&object);
                    self.policies.update(|policies| K::remove(&name, policies));
                    self.wake_keys(|key| K::concerns(&name, key));
                }
                Err(error) => {
                    warn!(kind = %K::kind(&()), error = chain(&error), "a watch failed; it is tried again");
                }
            }
        }
    }

    /// Takes a new list over whole: what is not on it is gone.
    async fn replace(&mut self) {
        let listed = std::mem::take(&mut self.listed);
        self.policies.update(|policies| {
            K::clear(policies);
            for object in &listed {
                K::enter(&name_of(object), parsed(object), policies);
            }
        });
        self.wake_keys(|_| true);
        for object in listed {
            self.tell(object).await;
        }
    }

    async fn enter(&self, object: DeserializeGuard<K>) {
        let name = name_of(&object);
        self.policies.update(|policies| K::enter(&name, parsed(&object), policies));
        self.wake_keys(|key| K::concerns(&name, key));
        self.tell(object).await;
    }

    fn wake_keys(&self, concerned: impl Fn(&ApiKey) -> bool) {
        for key in self.keys.state() {
            if let Ok(key) = &key.0
                && concerned(key)
            {
                // Nobody listens any more once the controller stops.
                let _ = self.wake.send(key_ref(key));
            }
        }
    }

    async fn tell(&self, object: DeserializeGuard<K>) {
        match object.0 {
            Ok(object) => status::tell(&self.client, object).await,
            Err(error) => {
                warn!(kind = %K::kind(&()), object = error.metadata.name, error = error.error, "an object cannot be read");
            }
        }
    }
}

fn parsed<K: Kind>(object: &DeserializeGuard<K>) -> Result<K::Parsed, Rejection> {
    match &object.0 {
        Ok(object) => object.judge(),
        Err(error) => {
            let message = format!("it cannot be read ({}); apply it anew", error.error);
            Err(Rejection::new(Reason::Invalid, message))
        }
    }
}

fn name_of<K: Kind>(object: &DeserializeGuard<K>) -> ObjectName {
    ObjectName::new(&object.namespace().unwrap_or_default(), &object.name_any())
}
