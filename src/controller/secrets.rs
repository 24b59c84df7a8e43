//! Which Secrets each key has. Only their metadata is watched, so that no string rests in this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The Secrets of every key.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_uid: Mutex<ByUid>,
    read: watch::Sender<bool>,
}

/// By the key's namespace and uid: a label is what anybody can write, and one that names a key of another
/// namespace says nothing about that key.
type ByUid = HashMap<(String, String), Owned>;

/// What belongs to one key.
#[derive(Debug, Default)]
struct Owned {
    /// `None`: no Secret says whose it is.
    key: Option<KeyRef>,
    secrets: SecretsOfKey,
}

impl Secrets {
    /// The Secrets of the key's namespace that carry its uid, as far as has been heard.
    pub(super) fn of(&self, namespace: &str, uid: &str) -> SecretsOfKey {
        let key = (namespace.to_owned(), uid.to_owned());
        self.by_uid().get(&key).map(|owned| owned.secrets.clone()).unwrap_or_default()
    }

    /// Waits until all of them have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.read.subscribe().wait_for(|read| *read).await;
    }

    /// Takes a new list over whole: what is not on it is gone, which its key has to hear as well.
    fn replace(&self, listed: &[PartialObjectMeta<Secret>], wake: &mpsc::UnboundedSender<KeyRef>) {
        let mut by_uid = ByUid::new();
        for secret in listed {
            enter(&mut by_uid, secret);
        }
        let mut known = self.by_uid();
        let keys: HashSet<&KeyRef> =
            known.values().chain(by_uid.values()).filter_map(|owned| owned.key.as_ref()).collect();
        for key in keys {
            // Nobody listens any more once the controller stops.
            let _ = wake.send(key.clone());
        }
        *known = by_uid;
        self.read.send_replace(true);
    }

    fn by_uid(&self) -> MutexGuard<'_, ByUid> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
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
                    enter(&mut followed.by_uid(), &secret);
                    wake_owner(&wake, &secret);
                }
                Ok(watcher::Event::Delete(secret)) => {
                    remove(&mut followed.by_uid(), &secret);
                    wake_owner(&wake, &secret);
                }
                Err(error) => warn!(error = chain(&error), "watching Secrets failed; it is tried again"),
            }
        }
    }));
    secrets
}

fn enter(by_uid: &mut ByUid, secret: &PartialObjectMeta<Secret>) {
    if let (Some(key), Some(resource_version)) = (key_of(secret), secret.resource_version()) {
        let meta = SecretMeta { resource_version, staged: secret.labels().contains_key(STAGED_LABEL) };
        let owned = by_uid.entry(key).or_default();
        owned.key = owner(secret).or_else(|| owned.key.take());
        owned.secrets.insert(secret.name_any(), meta);
    }
}

fn remove(by_uid: &mut ByUid, secret: &PartialObjectMeta<Secret>) {
    let Some(key) = key_of(secret) else { return };
    if let Some(owned) = by_uid.get_mut(&key) {
        owned.secrets.remove(&secret.name_any());
        if owned.secrets.is_empty() {
            by_uid.remove(&key);
        }
    }
}

fn key_of(secret: &PartialObjectMeta<Secret>) -> Option<(String, String)> {
    Some((secret.namespace()?, secret.labels().get(APIKEY_UID_LABEL)?.clone()))
}

fn owner(secret: &PartialObjectMeta<Secret>) -> Option<KeyRef> {
    let name = secret.annotations().get(APIKEY_NAME_ANNOTATION)?;
    Some(KeyRef::new(name).within(secret.meta().namespace.as_ref()?))
}

fn wake_owner(wake: &mpsc::UnboundedSender<KeyRef>, secret: &PartialObjectMeta<Secret>) {
    if let Some(key) = owner(secret) {
        // Nobody listens any more once the controller stops.
        let _ = wake.send(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, key: &str) -> PartialObjectMeta<Secret> {
        serde_json::from_value(json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": {
                "name": name, "namespace": "speech", "resourceVersion": "7",
                "labels": {APIKEY_UID_LABEL: format!("uid-of-{key}")},
                "annotations": {APIKEY_NAME_ANNOTATION: key},
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_list_wakes_the_keys_of_secrets_that_are_gone_as_well() {
        let secrets = Secrets::default();
        let (wake, mut woken) = mpsc::unbounded_channel();
        let mut replace = |listed: &[PartialObjectMeta<Secret>]| {
            secrets.replace(listed, &wake);
            let mut names: Vec<String> = std::iter::from_fn(|| woken.try_recv().ok()).map(|key| key.name).collect();
            names.sort();
            names
        };
        assert_eq!(replace(&[secret("a", "a"), secret("b", "b")]), ["a", "b"]);
        assert_eq!(replace(&[secret("b", "b"), secret("c", "c")]), ["a", "b", "c"]);
        assert_eq!(secrets.of("speech", "uid-of-a"), SecretsOfKey::new());
        assert_eq!(secrets.of("speech", "uid-of-c").len(), 1);
    }

    #[test]
    fn a_label_in_another_namespace_says_nothing_about_a_key() {
        let mut stranger = secret("ci", "ci");
        stranger.metadata.namespace = Some("team-b".to_owned());
        stranger.metadata.resource_version = Some("9".to_owned());
        let secrets = Secrets::default();
        enter(&mut secrets.by_uid(), &secret("ci", "ci"));
        let before = secrets.of("speech", "uid-of-ci");
        enter(&mut secrets.by_uid(), &stranger);
        assert_eq!(secrets.of("speech", "uid-of-ci"), before);
        remove(&mut secrets.by_uid(), &stranger);
        assert_eq!(secrets.of("speech", "uid-of-ci"), before);
    }
}
