//! Which ApiKeyUsages there are. Only their metadata is watched: verifiers change what they say all the time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, pin_mut};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::KeyRef;
use super::scope::Scope;
use crate::resources::ApiKeyUsage;
use crate::resources::names::usage_of_key;
use crate::telemetry::chain;

type Meta = PartialObjectMeta<ApiKeyUsage>;

/// The ApiKeyUsages of keys.
#[derive(Debug, Default)]
pub(super) struct Usages {
    by_key: Mutex<ByKey>,
    read: watch::Sender<bool>,
}

/// By the uid of the key.
type ByKey = HashMap<Arc<str>, Known>;

#[derive(Debug)]
struct Known {
    uid: Arc<str>,
    key: KeyRef,
}

impl Usages {
    /// Uid of the one that counts for the key with this uid, as far as has been heard.
    pub(super) fn of(&self, key: &str) -> Option<Arc<str>> {
        self.by_key().get(key).map(|known| Arc::clone(&known.uid))
    }

    /// Waits until all of them have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.read.subscribe().wait_for(|read| *read).await;
    }

    /// Takes a new list over whole, and answers the keys for which that makes a difference.
    fn replace(&self, listed: Vec<Meta>) -> Vec<KeyRef> {
        let listed: ByKey = listed.iter().filter_map(known).collect();
        let mut by_key = self.by_key();
        let differs = |one: &ByKey, other: &ByKey| -> Vec<KeyRef> {
            let gone = |(key, known): &(&Arc<str>, &Known)| other.get(*key).is_none_or(|it| it.uid != known.uid);
            one.iter().filter(gone).map(|(_, known)| known.key.clone()).collect()
        };
        let mut concerned = differs(&by_key, &listed);
        concerned.extend(differs(&listed, &by_key));
        *by_key = listed;
        self.read.send_replace(true);
        concerned
    }

    /// Answers the key, if this is another one than was known.
    fn enter(&self, usage: &Meta) -> Option<KeyRef> {
        let (key, found) = known(usage)?;
        let owner = found.key.clone();
        let uid = Arc::clone(&found.uid);
        let before = self.by_key().insert(key, found);
        before.is_none_or(|before| before.uid != uid).then_some(owner)
    }

    /// Answers the key that has none any more.
    fn remove(&self, usage: &Meta) -> Option<KeyRef> {
        let (key, gone) = known(usage)?;
        let mut by_key = self.by_key();
        // One of the same name may have been heard of since.
        by_key.get(&key).filter(|known| known.uid == gone.uid)?;
        by_key.remove(&key).map(|known| known.key)
    }

    fn by_key(&self) -> MutexGuard<'_, ByKey> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key that it counts for, as it says itself: nobody but Keyturn may write one.
fn known(usage: &Meta) -> Option<(Arc<str>, Known)> {
    let owner = usage.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    if usage.name_any() != usage_of_key(&owner.uid) {
        return None;
    }
    let key = KeyRef::new(&owner.name).within(&usage.namespace()?);
    Some((owner.uid.as_str().into(), Known { uid: usage.uid()?.into(), key }))
}

/// Follows the ApiKeyUsages, and wakes a key when its own comes or goes.
pub(super) fn follow(
    client: &Client,
    scope: &Scope,
    wake: &mpsc::UnboundedSender<KeyRef>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Usages> {
    let usages = Arc::new(Usages::default());
    let events = watcher(scope.api::<Meta>(client), watcher::Config::default()).default_backoff();
    let (followed, wake) = (Arc::clone(&usages), wake.clone());
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
        pin_mut!(events);
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            let concerned = match event {
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    Vec::new()
                }
                Ok(watcher::Event::InitApply(usage)) => {
                    listed.push(usage);
                    Vec::new()
                }
                Ok(watcher::Event::InitDone) => followed.replace(std::mem::take(&mut listed)),
                Ok(watcher::Event::Apply(usage)) => followed.enter(&usage).into_iter().collect(),
                Ok(watcher::Event::Delete(usage)) => followed.remove(&usage).into_iter().collect(),
                Err(error) => {
                    warn!(error = chain(&error), "watching ApiKeyUsages failed; it is tried again");
                    Vec::new()
                }
            };
            for key in concerned {
                // Nobody listens any more once the controller stops.
                let _ = wake.send(key);
            }
        }
    }));
    usages
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(key: &str, uid: &str) -> Meta {
        of(json!({"name": format!("key-{key}"), "uid": uid, "ownerReferences": [owner(key)]}))
    }

    fn owner(key: &str) -> Value {
        json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "name": key, "uid": key, "controller": true})
    }

    fn of(mut metadata: Value) -> Meta {
        metadata["namespace"] = json!("team-a");
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn key(name: &str) -> KeyRef {
        KeyRef::new(name).within("team-a")
    }

    #[test]
    fn a_key_is_woken_when_its_own_comes_or_goes_and_not_by_what_it_counts() {
        let usages = Usages::default();
        assert_eq!(usages.enter(&meta("a", "u1")), Some(key("a")));
        assert_eq!(usages.enter(&meta("a", "u1")), None);
        assert_eq!(usages.enter(&meta("a", "u2")), Some(key("a")));
        assert_eq!(usages.remove(&meta("a", "u1")), None, "it is another one by now");
        assert_eq!(usages.of("a").as_deref(), Some("u2"));
        assert_eq!(usages.remove(&meta("a", "u2")), Some(key("a")));
        assert_eq!(usages.of("a"), None);
    }

    #[test]
    fn a_list_tells_what_has_come_and_gone_meanwhile() {
        let usages = Usages::default();
        let mut first = usages.replace(vec![meta("a", "u1"), meta("b", "u2")]);
        first.sort_by_key(|key| key.name.clone());
        assert_eq!(first, [key("a"), key("b")]);
        assert_eq!(usages.replace(vec![meta("a", "u1"), meta("c", "u3")]).len(), 2);
        assert_eq!(["a", "b", "c"].map(|uid| usages.of(uid).is_some()), [true, false, true]);
    }

    #[test]
    fn what_counts_for_no_key_is_left_alone() {
        let usages = Usages::default();
        for other in [
            of(json!({"name": "owner-a", "uid": "u1", "ownerReferences": [owner("a")]})),
            of(json!({"name": "key-a", "uid": "u1"})),
            of(json!({"name": "key-b", "uid": "u1", "ownerReferences": [owner("a")]})),
        ] {
            assert_eq!(usages.enter(&other), None, "{other:?}");
        }
        assert_eq!((usages.of("a"), usages.of("b")), (None, None));
    }
}
