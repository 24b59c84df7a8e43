//! The peppers as their Secret holds them now.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{KeyRef, key_ref};
use crate::core::pepper::Peppers;
use crate::resources::ApiKey;
use crate::resources::names::PEPPER_SECRET;
use crate::resources::pepper;
use crate::telemetry::chain;

/// The peppers, kept up to date. What cannot be used changes nothing.
pub(super) struct Kept {
    current: ArcSwap<Revision>,
    /// resourceVersion of the Secret that was read last.
    version: Mutex<Option<String>>,
}

/// One state of them.
pub(super) struct Revision {
    /// Grows with every change.
    pub(super) number: u64,
    pub(super) all: Peppers,
}

impl Kept {
    pub(super) fn new(first: Peppers, version: Option<String>) -> Self {
        Self { current: ArcSwap::from_pointee(Revision { number: 0, all: first }), version: Mutex::new(version) }
    }

    pub(super) fn current(&self) -> Arc<Revision> {
        self.current.load_full()
    }

    /// Follows the Secret, and wakes every key when it changes: digests may have to be made anew.
    pub(super) async fn follow(
        self: Arc<Self>,
        client: Client,
        operator_namespace: String,
        keys: Store<DeserializeGuard<ApiKey>>,
        wake: mpsc::UnboundedSender<KeyRef>,
    ) {
        let secrets = Api::<Secret>::namespaced(client, &operator_namespace);
        let events = watcher::watch_object(secrets, PEPPER_SECRET).default_backoff();
        pin_mut!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(Some(secret)) => {
                    let changed = self.take(secret);
                    for key in keys.state().iter().filter_map(|key| key.0.as_ref().ok()).filter(|_| changed) {
                        // Nobody listens any more once the controller stops.
                        let _ = wake.send(key_ref(key));
                    }
                }
                Ok(None) => error!("Secret {PEPPER_SECRET} is gone; restore it before any process starts anew"),
                Err(error) => warn!(error = chain(&error), "watching Secret {PEPPER_SECRET} failed; it is tried again"),
            }
        }
    }

    /// Whether there are other peppers than before.
    fn take(&self, mut secret: Secret) -> bool {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        if *version == secret.resource_version() {
            return false;
        }
        match pepper::parse(&mut secret) {
            Ok(all) => {
                *version = secret.resource_version();
                let names: Vec<_> = all.iter().map(|pepper| pepper.name().to_owned()).collect();
                info!(active = names[0], ?names, "the peppers have changed");
                self.current.store(Arc::new(Revision { number: self.current.load().number + 1, all }));
                true
            }
            Err(unusable) => {
                error!(error = chain(&unusable), "the peppers cannot be used as they are now; those known so far are");
                false
            }
        }
    }
}
