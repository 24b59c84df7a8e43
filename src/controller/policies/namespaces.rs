//! The labels of namespaces, by which an API says which of them may have keys besides its own. Nothing else of a
//! Namespace is read.

use std::sync::Arc;

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tracing::warn;

use super::kinds::is_foreign;
use super::{Policies, wake_keys};
use crate::controller::KeyRef;
use crate::core::selector::Labels;
use crate::resources::ApiKey;
use crate::telemetry::chain;

/// Follows every Namespace, and wakes the keys of those whose labels have changed.
pub(super) fn follow(
    client: &Client,
    keys: &Store<DeserializeGuard<ApiKey>>,
    wake: &mpsc::UnboundedSender<KeyRef>,
    policies: &Arc<Policies>,
) -> impl Future<Output = ()> + Send + 'static {
    let api = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let follower = Follower { keys: keys.clone(), wake: wake.clone(), policies: Arc::clone(policies) };
    async move {
        pin_mut!(events);
        let mut listed = Vec::new();
        let mut listed_before = false;
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(namespace)) => listed.push(labels(&namespace)),
                Ok(watcher::Event::InitDone) => {
                    follower.replace(&std::mem::take(&mut listed));
                    if !std::mem::replace(&mut listed_before, true) {
                        follower.policies.listed();
                    }
                }
                Ok(watcher::Event::Apply(namespace)) => follower.enter(&labels(&namespace)),
                Ok(watcher::Event::Delete(namespace)) => follower.remove(&namespace.name_any()),
                Err(error) => warn!(error = chain(&error), "watching Namespaces failed; it is tried again"),
            }
        }
    }
}

struct Follower {
    keys: Store<DeserializeGuard<ApiKey>>,
    wake: mpsc::UnboundedSender<KeyRef>,
    policies: Arc<Policies>,
}

/// A namespace by name, and its labels.
type Labelled = (Arc<str>, Labels);

impl Follower {
    /// Takes a new list over whole: what is not on it is gone.
    fn replace(&self, listed: &[Labelled]) {
        self.policies.update(|policies| policies.namespaces = listed.iter().cloned().collect());
        wake_keys(&self.keys, &self.wake, is_foreign);
    }

    /// Most changes of a Namespace are about something else than its labels.
    fn enter(&self, (name, labels): &Labelled) {
        if self.policies.current().policies.namespaces.get(name) == Some(labels) {
            return;
        }
        self.policies.update(|policies| {
            policies.namespaces.insert(Arc::clone(name), labels.clone());
        });
        self.wake_keys_of(name);
    }

    fn remove(&self, name: &str) {
        self.policies.update(|policies| {
            policies.namespaces.remove(name);
        });
        self.wake_keys_of(name);
    }

    fn wake_keys_of(&self, namespace: &str) {
        let concerned = |key: &ApiKey| key.metadata.namespace.as_deref() == Some(namespace) && is_foreign(key);
        wake_keys(&self.keys, &self.wake, concerned);
    }
}

fn labels(namespace: &PartialObjectMeta<Namespace>) -> Labelled {
    (namespace.name_any().into(), namespace.labels().clone())
}
