//! Which Secrets each key has. Only their metadata is watched, so that no string rests in this process.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::KeyRef;
use super::scope::Scope;
use crate::resources::names::{APIKEY_NAME_ANNOTATION, APIKEY_UID_LABEL, STAGED_LABEL};
use crate::telemetry::chain;

/// One Secret of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SecretMeta {
    pub(super) resource_version: String,
    pub(super) staged: bool,
}

/// The Secrets of one key by name.
pub(super) type SecretsOfKey = BTreeMap<String, SecretMeta>;

/// The Secrets of every key, by the key's uid.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_uid: Mutex<HashMap<String, SecretsOfKey>>,
    read: watch::Sender<bool>,
}

impl Secrets {
    /// The Secrets that carry the uid of this key, as far as has been heard.
    pub(super) fn of(&self, uid: &str) -> SecretsOfKey {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    /// Waits until all of them have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.read.subscribe().wait_for(|read| *read).await;
    }

    fn update(&self, change: impl FnOnce(&mut HashMap<String, SecretsOfKey>)) {
        change(&mut self.by_uid.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Follows the Secrets that carry the uid of an ApiKey, and wakes that key when one of them changes.
pub(super) fn follow(
    client: &Client,
    scope: &Scope,
    wake: &mpsc::UnboundedSender<KeyRef>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Secrets> {
    let secrets = Arc::new(Secrets::default());
    let config = watcher::Config::default().labels(APIKEY_UID_LABEL);
    let events = watcher(scope.api::<PartialObjectMeta<Secret>>(client), config).default_backoff();
    let (followed, wake) = (Arc::clone(&secrets), wake.clone());
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
        pin_mut!(events);
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(secret)) => listed.push(secret),
                Ok(watcher::Event::InitDone) => followed.replace(&std::mem::take(&mut listed), &wake),
                Ok(watcher::Event::Apply(secret)) => {
                    followed.update(|by_uid| enter(by_uid, &secret));
                    wake_owner(&wake, &secret);
                }
                Ok(watcher::Event::Delete(secret)) => {
                    followed.update(|by_uid| remove(by_uid, &secret));
                    wake_owner(&wake, &secret);
                }
                Err(error) => warn!(error = chain(&error), "watching Secrets failed; it is tried again"),
            }
        }
    }));
    secrets
}

impl Secrets {
    /// Takes a new list over whole: what is not on it is gone.
    fn replace(&self, listed: &[PartialObjectMeta<Secret>], wake: &mpsc::UnboundedSender<KeyRef>) {
        let mut by_uid = HashMap::new();
        listed.iter().for_each(|secret| enter(&mut by_uid, secret));
        self.update(|old| *old = by_uid);
        listed.iter().for_each(|secret| wake_owner(wake, secret));
        self.read.send_replace(true);
    }
}

fn enter(by_uid: &mut HashMap<String, SecretsOfKey>, secret: &PartialObjectMeta<Secret>) {
    let labels = secret.labels();
    if let (Some(uid), Some(resource_version)) = (labels.get(APIKEY_UID_LABEL), secret.resource_version()) {
        let meta = SecretMeta { resource_version, staged: labels.contains_key(STAGED_LABEL) };
        by_uid.entry(uid.clone()).or_default().insert(secret.name_any(), meta);
    }
}

fn remove(by_uid: &mut HashMap<String, SecretsOfKey>, secret: &PartialObjectMeta<Secret>) {
    let Some(uid) = secret.labels().get(APIKEY_UID_LABEL) else { return };
    if let Some(secrets) = by_uid.get_mut(uid) {
        secrets.remove(&secret.name_any());
        if secrets.is_empty() {
            by_uid.remove(uid);
        }
    }
}

fn wake_owner(wake: &mpsc::UnboundedSender<KeyRef>, secret: &PartialObjectMeta<Secret>) {
    if let (Some(name), Some(namespace)) = (secret.annotations().get(APIKEY_NAME_ANNOTATION), &secret.meta().namespace)
    {
        // Nobody listens any more once the controller stops.
        let _ = wake.send(KeyRef::new(name).within(namespace));
    }
}
