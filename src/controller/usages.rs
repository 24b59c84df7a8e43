//! Which ApiKeyUsages there are: heard of, looked for, and made. Only their metadata is watched, for verifiers change
//! what they say all the time; that they do is told to whoever looks into them.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::low::Ledgers;
use super::metadata::{self, Book, Followed};
use super::scope::Scope;
use super::{KeyRef, OwnerRef, post_params};
use crate::clock::since_boot;
use crate::resources::apikeyusage::ApiKeyUsageSpec;
use crate::resources::names::{MANAGED_BY, MANAGED_BY_LABEL, RESET_USAGE_ANNOTATION, usage_of_key, usage_of_owner};
use crate::resources::references::UsageRef;
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyUsage};

/// Reason of what is said where nobody knows any more what was spent of quotas and credits.
pub(super) const USAGE_LOST: &str = "UsageLost";

/// Says so. `uid`: of the ApiKeyUsage that is gone.
pub(super) fn say_lost(uid: &str) -> String {
    format!(
        "the ApiKeyUsage that status.usage names is gone, and with it what was spent of quotas and credits; to begin anew with all of them unspent, set annotation {RESET_USAGE_ANNOTATION} to {uid}"
    )
}

type Meta = PartialObjectMeta<ApiKeyUsage>;

/// The ApiKeyUsages of keys and owners.
pub(super) type Usages = Followed<ByWhom>;

/// By the uid of whom it counts for.
#[derive(Debug, Default)]
pub(super) struct ByWhom(HashMap<Arc<str>, Known>);

#[derive(Debug)]
struct Known {
    uid: Arc<str>,
    version: Arc<str>,
    whose: Whose,
}

/// What has become of an ApiKeyUsage.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum News {
    /// There is one, another one, or none any more.
    Other(Whose),
    /// It says something else.
    Changed(Whose),
}

/// For whom an ApiKeyUsage counts.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Whose {
    Key(KeyRef),
    Owner(OwnerRef),
}

/// The queues of keys and of owners.
#[derive(Clone, Debug)]
pub(super) struct Wake {
    pub(super) keys: mpsc::UnboundedSender<KeyRef>,
    pub(super) owners: mpsc::UnboundedSender<OwnerRef>,
}

impl Wake {
    pub(super) fn wake(&self, whose: Whose) {
        // Nobody listens any more once the controller stops.
        match whose {
            Whose::Key(key) => drop(self.keys.send(key)),
            Whose::Owner(owner) => drop(self.owners.send(owner)),
        }
    }
}

impl Usages {
    /// Uid of the one that counts for the key or owner with this uid, as far as has been heard.
    pub(super) fn of(&self, whom: &str) -> Option<Arc<str>> {
        self.book().0.get(whom).map(|known| Arc::clone(&known.uid))
    }
}

impl Book for ByWhom {
    type Object = ApiKeyUsage;
    type Concerned = News;

    fn enter(&mut self, usage: &Meta) -> Option<News> {
        let (whom, found) = known(usage)?;
        let news = found.news(self.0.get(&whom));
        self.0.insert(whom, found);
        news
    }

    /// Answers who has none any more.
    fn remove(&mut self, usage: &Meta) -> Option<News> {
        let (whom, gone) = known(usage)?;
        // One of the same name may have been heard of since.
        self.0.get(&whom).filter(|known| known.uid == gone.uid)?;
        self.0.remove(&whom).map(|known| News::Other(known.whose))
    }

    fn replace(&mut self, listed: &[Meta]) -> Vec<News> {
        let listed: HashMap<_, _> = listed.iter().filter_map(known).collect();
        let gone = self.0.iter().filter(|(whom, _)| !listed.contains_key(*whom));
        let mut concerned: Vec<_> = gone.map(|(_, known)| News::Other(known.whose.clone())).collect();
        concerned.extend(listed.iter().filter_map(|(whom, found)| found.news(self.0.get(whom))));
        self.0 = listed;
        concerned
    }
}

impl Known {
    /// What this tells to those who know of another one, or of none.
    fn news(&self, before: Option<&Self>) -> Option<News> {
        match before {
            Some(before) if before.uid == self.uid => {
                (before.version != self.version).then(|| News::Changed(self.whose.clone()))
            }
            _ => Some(News::Other(self.whose.clone())),
        }
    }
}

/// For whom it counts, as it says itself: nobody but Keyturn may write one.
fn known(usage: &Meta) -> Option<(Arc<str>, Known)> {
    let owner = usage.owner_references().iter().find(|owner| owner.controller == Some(true))?;
    let (name, namespace) = (usage.name_any(), usage.namespace()?);
    let whose = if name == usage_of_key(&owner.uid) && owner.kind == ApiKey::kind(&()) {
        Whose::Key(KeyRef::new(&owner.name).within(&namespace))
    } else if name == usage_of_owner(&owner.uid) && owner.kind == ApiKeyOwner::kind(&()) {
        Whose::Owner(OwnerRef::new(&owner.name).within(&namespace))
    } else {
        return None;
    };
    let version = usage.resource_version().unwrap_or_default().into();
    Some((owner.uid.as_str().into(), Known { uid: usage.uid()?.into(), version, whose }))
}

/// Follows the ApiKeyUsages, and wakes a key or an owner when its own comes or goes. `changed` hears that it says
/// something else.
pub(super) fn follow(
    client: &Client,
    scope: &Scope,
    wake: Wake,
    changed: Arc<Ledgers>,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Usages> {
    let tell = move |news| match news {
        News::Other(whose) => wake.wake(whose),
        News::Changed(whose) => changed.look_at(whose, since_boot()),
    };
    metadata::follow(scope.api(client), watcher::Config::default(), tell, shutdown, tasks)
}

/// How the status of a key or an owner names its ApiKeyUsage.
pub(super) fn reference<K: Counted>(whom: &K, uid: &str) -> UsageRef {
    UsageRef { name: K::usage(whom.meta().uid.as_deref().unwrap_or_default()), uid: uid.to_owned() }
}

/// A kind for which is counted.
pub(super) trait Counted: Resource<DynamicType = ()> {
    /// Name of the ApiKeyUsage, by the uid of whom it counts for.
    fn usage(uid: &str) -> String;
}

impl Counted for ApiKey {
    fn usage(uid: &str) -> String {
        usage_of_key(uid)
    }
}

impl Counted for ApiKeyOwner {
    fn usage(uid: &str) -> String {
        usage_of_owner(uid)
    }
}

/// The ApiKeyUsage of one key or owner.
pub(super) struct OwnUsage {
    name: String,
    /// Of whom it counts for.
    uid: String,
    owner: OwnerReference,
    usages: Api<ApiKeyUsage>,
}

impl OwnUsage {
    pub(super) fn of<K: Counted>(client: &Client, whom: &K) -> Self {
        let uid = whom.meta().uid.clone().unwrap_or_default();
        let owner = OwnerReference {
            api_version: K::api_version(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            name: whom.meta().name.clone().unwrap_or_default(),
            uid: uid.clone(),
            controller: Some(true),
            // Nobody has to wait for it to be gone, and nobody needs a right to say so.
            block_owner_deletion: None,
        };
        let usages = Api::namespaced(client.clone(), whom.meta().namespace.as_deref().unwrap_or_default());
        Self { name: K::usage(&uid), uid, owner, usages }
    }

    /// The uid of the one that is there. `named`: the one that the status names.
    pub(super) async fn find(&self, heard: &Usages, named: Option<&Arc<str>>) -> Result<Option<Arc<str>>, kube::Error> {
        let heard = heard.of(&self.uid);
        // Nothing is concluded from not having heard of one that the status names.
        if named.is_none() || heard.as_ref() == named {
            return Ok(heard);
        }
        self.look().await
    }

    async fn look(&self) -> Result<Option<Arc<str>>, kube::Error> {
        let found = self.usages.get_metadata_opt(&self.name).await?;
        Ok(found.and_then(|found| found.uid()).map(Arc::from))
    }

    /// What verifiers have written into it.
    pub(super) async fn read(&self) -> Result<Option<ApiKeyUsage>, kube::Error> {
        self.usages.get_opt(&self.name).await
    }

    /// Makes an empty one, and answers its uid. Who made one that is there already can only have been a controller,
    /// for nobody else may.
    pub(super) async fn create(&self) -> Result<Option<Arc<str>>, kube::Error> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        };
        let wanted = ApiKeyUsage { metadata, spec: ApiKeyUsageSpec {}, status: None };
        match self.usages.create(&post_params(), &wanted).await {
            Ok(created) => Ok(created.uid().map(Arc::from)),
            Err(kube::Error::Api(status)) if status.is_already_exists() => self.look().await,
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn meta(key: &str, uid: &str) -> Meta {
        version(key, uid, "1")
    }

    fn version(key: &str, uid: &str, version: &str) -> Meta {
        let owners = [owner("ApiKey", key)];
        of(json!({"name": format!("key-{key}"), "uid": uid, "resourceVersion": version, "ownerReferences": owners}))
    }

    fn owner(kind: &str, name: &str) -> Value {
        json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "name": name, "uid": name, "controller": true})
    }

    fn of(mut metadata: Value) -> Meta {
        metadata["namespace"] = json!("team-a");
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    fn key(name: &str) -> Whose {
        Whose::Key(KeyRef::new(name).within("team-a"))
    }

    fn other(name: &str) -> News {
        News::Other(key(name))
    }

    fn changed(name: &str) -> News {
        News::Changed(key(name))
    }

    fn found(book: &ByWhom, whom: &str) -> Option<String> {
        book.0.get(whom).map(|known| known.uid.to_string())
    }

    #[test]
    fn a_key_is_woken_when_its_own_comes_or_goes_and_others_hear_what_it_counts() {
        let mut usages = ByWhom::default();
        assert_eq!(usages.enter(&meta("a", "u1")), Some(other("a")));
        assert_eq!(usages.enter(&meta("a", "u1")), None);
        assert_eq!(usages.enter(&version("a", "u1", "2")), Some(changed("a")));
        assert_eq!(usages.enter(&meta("a", "u2")), Some(other("a")));
        assert_eq!(usages.remove(&meta("a", "u1")), None, "it is another one by now");
        assert_eq!(found(&usages, "a").as_deref(), Some("u2"));
        assert_eq!(usages.remove(&meta("a", "u2")), Some(other("a")));
        assert_eq!(found(&usages, "a"), None);
    }

    #[test]
    fn an_owner_is_woken_by_the_one_that_counts_for_it() {
        let mut usages = ByWhom::default();
        let metadata = json!({"name": "owner-acme", "uid": "u1", "ownerReferences": [owner("ApiKeyOwner", "acme")]});
        let acme = Some(News::Other(Whose::Owner(OwnerRef::new("acme").within("team-a"))));
        assert_eq!(
            (usages.enter(&of(metadata.clone())), found(&usages, "acme").as_deref()),
            (acme.clone(), Some("u1"))
        );
        assert_eq!((usages.remove(&of(metadata)), found(&usages, "acme")), (acme, None));
    }

    #[test]
    fn a_list_tells_what_has_come_and_gone_meanwhile() {
        let mut usages = ByWhom::default();
        assert_eq!(usages.replace(&[meta("a", "u1"), meta("b", "u2")]).len(), 2);
        let concerned = usages.replace(&[meta("a", "u1"), meta("c", "u3")]);
        assert_eq!(concerned, [other("b"), other("c")]);
        let concerned = usages.replace(&[version("a", "u1", "2"), meta("c", "u3")]);
        assert_eq!(concerned, [changed("a")]);
        assert_eq!(["a", "b", "c"].map(|uid| found(&usages, uid).is_some()), [true, false, true]);
    }

    #[test]
    fn what_counts_for_nobody_is_left_alone() {
        let mut usages = ByWhom::default();
        for other in [
            of(json!({"name": "owner-a", "uid": "u1", "ownerReferences": [owner("ApiKey", "a")]})),
            of(json!({"name": "key-a", "uid": "u1", "ownerReferences": [owner("ApiKeyOwner", "a")]})),
            of(json!({"name": "key-a", "uid": "u1"})),
            of(json!({"name": "key-b", "uid": "u1", "ownerReferences": [owner("ApiKey", "a")]})),
        ] {
            assert_eq!(usages.enter(&other), None, "{other:?}");
        }
        assert_eq!((found(&usages, "a"), found(&usages, "b")), (None, None));
    }
}
