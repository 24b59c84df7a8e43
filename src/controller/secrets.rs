//! Which Secrets each key has. Only their metadata is watched, so that no string rests in this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::KeyRef;
use super::metadata::{self, Book, Followed};
use super::scope::Scope;
use crate::resources::names::{APIKEY_NAME_ANNOTATION, APIKEY_UID_LABEL, STAGED_LABEL};

type Meta = PartialObjectMeta<Secret>;

/// One Secret of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct SecretMeta {
    pub(super) resource_version: String,
    pub(super) staged: bool,
}

/// The Secrets of one key by name.
pub(super) type SecretsOfKey = BTreeMap<String, SecretMeta>;

/// The Secrets of every key.
pub(super) type Secrets = Followed<ByUid>;

/// By the key's namespace and uid: a label is what anybody can write, and one that names a key of another
/// namespace says nothing about that key.
#[derive(Debug, Default)]
pub(super) struct ByUid(HashMap<(String, String), Owned>);

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
        self.book().of(namespace, uid)
    }
}

impl ByUid {
    fn of(&self, namespace: &str, uid: &str) -> SecretsOfKey {
        let key = (namespace.to_owned(), uid.to_owned());
        self.0.get(&key).map(|owned| owned.secrets.clone()).unwrap_or_default()
    }
}

impl Book for ByUid {
    type Object = Secret;
    type Concerned = KeyRef;

    fn enter(&mut self, secret: &Meta) -> Option<KeyRef> {
        if let (Some(key), Some(resource_version)) = (key_of(secret), secret.resource_version()) {
            let meta = SecretMeta { resource_version, staged: secret.labels().contains_key(STAGED_LABEL) };
            let owned = self.0.entry(key).or_default();
            owned.key = owner(secret).or_else(|| owned.key.take());
            owned.secrets.insert(secret.name_any(), meta);
        }
        owner(secret)
    }

    fn remove(&mut self, secret: &Meta) -> Option<KeyRef> {
        if let Some(key) = key_of(secret)
            && let Some(owned) = self.0.get_mut(&key)
        {
            owned.secrets.remove(&secret.name_any());
            if owned.secrets.is_empty() {
                self.0.remove(&key);
            }
        }
        owner(secret)
    }

    /// What is gone has to be heard of by its key as well.
    fn replace(&mut self, listed: &[Meta]) -> Vec<KeyRef> {
        let mut new = Self::default();
        for secret in listed {
            new.enter(secret);
        }
        let known = self.0.values().chain(new.0.values());
        let concerned: HashSet<KeyRef> = known.filter_map(|owned| owned.key.clone()).collect();
        *self = new;
        concerned.into_iter().collect()
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
    let wake = wake.clone();
    let wake = move |key| {
        // Nobody listens any more once the controller stops.
        let _ = wake.send(key);
    };
    let config = watcher::Config::default().labels(APIKEY_UID_LABEL);
    metadata::follow(scope.api(client), config, wake, shutdown, tasks)
}

fn key_of(secret: &Meta) -> Option<(String, String)> {
    Some((secret.namespace()?, secret.labels().get(APIKEY_UID_LABEL)?.clone()))
}

fn owner(secret: &Meta) -> Option<KeyRef> {
    let name = secret.annotations().get(APIKEY_NAME_ANNOTATION)?;
    Some(KeyRef::new(name).within(secret.meta().namespace.as_ref()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(name: &str, key: &str) -> Meta {
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
        let mut secrets = ByUid::default();
        let mut replace = |listed: &[Meta]| {
            let mut names: Vec<String> = secrets.replace(listed).into_iter().map(|key| key.name).collect();
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
        let mut secrets = ByUid::default();
        assert_eq!(secrets.enter(&secret("ci", "ci")).map(|key| key.name).as_deref(), Some("ci"));
        let before = secrets.of("speech", "uid-of-ci");
        secrets.enter(&stranger);
        assert_eq!(secrets.of("speech", "uid-of-ci"), before);
        secrets.remove(&stranger);
        assert_eq!(secrets.of("speech", "uid-of-ci"), before);
    }
}
