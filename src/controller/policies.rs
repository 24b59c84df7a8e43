//! What keys refer to: kept at hand, parsed, for acceptance, and told in each object's own `Accepted`.

mod kinds;
mod namespaces;
mod status;

use std::collections::HashSet;
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
use super::{KeyRef, OwnerRef, key_ref};
use crate::core::policy::{self, ObjectName};
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};
use crate::telemetry::chain;
use kinds::Kind;

/// Every API, tier, role and owner, and the namespaces' labels, as acceptance sees them.
#[derive(Debug, Default)]
pub(super) struct Policies {
    current: ArcSwap<Revision>,
    /// Kinds that have not been listed yet: all have to be before any key is judged.
    unlisted: watch::Sender<usize>,
}

/// One state of all of them.
#[derive(Debug, Default)]
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
        let _ = self.unlisted.subscribe().wait_for(|unlisted| *unlisted == 0).await;
    }

    /// A kind has been listed for the first time.
    fn listed(&self) {
        self.unlisted.send_modify(|unlisted| *unlisted -= 1);
    }

    /// A change after which all is as before makes no new revision: keys that rest by the old one go on resting.
    pub(super) fn update(&self, change: impl Fn(&mut policy::Policies)) {
        self.current.rcu(|revision| {
            let mut policies = revision.policies.clone();
            change(&mut policies);
            if policies == revision.policies {
                return Arc::clone(revision);
            }
            Arc::new(Revision { number: revision.number + 1, policies })
        });
    }
}

/// Follows all kinds that keys refer to, and wakes the keys that a change concerns.
pub(super) fn follow(
    client: &Client,
    scope: &Scope,
    keys: &Store<DeserializeGuard<ApiKey>>,
    (wake, owners): (&mpsc::UnboundedSender<KeyRef>, &mpsc::UnboundedSender<OwnerRef>),
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Policies> {
    let policies = Arc::<Policies>::default();
    let follower = Follower { client, scope, keys, wake, owners, shutdown, tasks, policies: &policies };
    follower.spawn::<ProtectedApi>();
    follower.spawn::<ApiKeyTier>();
    follower.spawn::<ApiKeyRole>();
    follower.spawn::<ApiKeyOwner>();
    // Keys of the only namespace can belong to no other's API.
    if scope.is_whole_cluster() {
        follower.follow(namespaces::follow(client, keys, wake, &policies));
    }
    policies
}

struct Follower<'a> {
    client: &'a Client,
    scope: &'a Scope,
    keys: &'a Store<DeserializeGuard<ApiKey>>,
    wake: &'a mpsc::UnboundedSender<KeyRef>,
    owners: &'a mpsc::UnboundedSender<OwnerRef>,
    shutdown: &'a CancellationToken,
    tasks: &'a TaskTracker,
    policies: &'a Arc<Policies>,
}

impl Follower<'_> {
    fn spawn<K: Kind>(&self) {
        let events = watcher(self.scope.api::<DeserializeGuard<K>>(self.client), watcher::Config::default());
        let one = OneKind::<K> {
            keys: self.keys.clone(),
            wake: self.wake.clone(),
            teller: Teller { client: self.client.clone(), owners: self.owners.clone() },
            policies: Arc::clone(self.policies),
            listed: Vec::new(),
        };
        self.follow(one.run(events));
    }

    /// Follows one more kind, which has to be listed before any key is judged.
    fn follow(&self, following: impl Future<Output = ()> + Send + 'static) {
        self.policies.unlisted.send_modify(|unlisted| *unlisted += 1);
        self.tasks.spawn(self.shutdown.clone().run_until_cancelled_owned(following));
    }
}

/// Has objects told what is made of them.
struct Teller {
    client: Client,
    /// Whoever looks after owners tells them.
    owners: mpsc::UnboundedSender<OwnerRef>,
}

impl Teller {
    fn wake_owner(&self, name: &ObjectName) {
        // Nobody listens any more once the controller stops.
        let _ = self.owners.send(OwnerRef::new(&name.name).within(&name.namespace));
    }
}

struct OneKind<K: Kind> {
    keys: Store<DeserializeGuard<ApiKey>>,
    wake: mpsc::UnboundedSender<KeyRef>,
    teller: Teller,
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
                        self.policies.listed();
                    }
                }
                Ok(watcher::Event::Apply(object)) => self.enter(object).await,
                Ok(watcher::Event::Delete(object)) => {
                    let name = name_of(&object);
                    self.change(&name, |policies| K::remove(&name, policies)).await;
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
                K::enter(&name_of(object), object, policies);
            }
        });
        wake_keys(&self.keys, &self.wake, |_| true);
        for object in listed {
            self.tell(object).await;
        }
    }

    async fn enter(&self, object: DeserializeGuard<K>) {
        let name = name_of(&object);
        self.change(&name, |policies| K::enter(&name, &object, policies)).await;
        self.tell(object).await;
    }

    /// Changes what is known of one object, wakes the keys that it concerns, and has those told that contend with it
    /// before or after.
    async fn change(&self, name: &ObjectName, change: impl Fn(&mut policy::Policies)) {
        let before = self.policies.current();
        self.policies.update(change);
        let after = self.policies.current();
        let concerns = |key: &ApiKey| K::concerns(name, (&before.policies, &after.policies), key);
        wake_keys(&self.keys, &self.wake, concerns);
        let rivals = [&before, &after].into_iter().flat_map(|revision| K::rivals(name, &revision.policies));
        for rival in rivals.collect::<HashSet<_>>() {
            K::tell_rival(&rival, &after.policies, &self.teller).await;
        }
    }

    async fn tell(&self, object: DeserializeGuard<K>) {
        let name = name_of(&object);
        match object.0 {
            Ok(object) => {
                let policies = self.policies.current();
                K::tell(object, &name, &policies.policies, &self.teller).await;
            }
            Err(error) => {
                warn!(kind = %K::kind(&()), object = error.metadata.name, error = error.error, "an object cannot be read");
            }
        }
    }
}

fn wake_keys(
    keys: &Store<DeserializeGuard<ApiKey>>,
    wake: &mpsc::UnboundedSender<KeyRef>,
    concerned: impl Fn(&ApiKey) -> bool,
) {
    for key in keys.state() {
        if let Ok(key) = &key.0
            && concerned(key)
        {
            // Nobody listens any more once the controller stops.
            let _ = wake.send(key_ref(key));
        }
    }
}

fn name_of<K: Kind>(object: &DeserializeGuard<K>) -> ObjectName {
    ObjectName::new(&object.namespace().unwrap_or_default(), &object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixtures;
    use crate::core::owner::OwnerClaim;
    use crate::core::route::Routes;

    #[test]
    fn only_what_changes_something_makes_a_new_revision() {
        let known = Policies::default();
        let number_after = |change: &dyn Fn(&mut policy::Policies)| {
            known.update(change);
            known.current().number
        };
        // As after a list: cleared, and every object parsed anew.
        let list = |routes: &'static [&'static str]| {
            move |policies: &mut policy::Policies| {
                let routes = routes.iter().map(|name| fixtures::route(name, &format!("/{name}/{{id}}"))).collect();
                let api = policy::Api { routes: Routes::build(routes).unwrap(), ..fixtures::api() };
                let owner = fixtures::owner();
                let age = policy::Age { created_at: jiff::Timestamp::UNIX_EPOCH, uid: Arc::clone(&owner.uid) };
                let object = owner.object.clone();
                policies.apis.clear();
                policies.apis.insert(api.name.clone(), Ok(Arc::new(api)));
                policies.owners.clear();
                let claim = OwnerClaim { external_id: "acme-1".into(), age, owner: Ok(Arc::new(owner)) };
                policies.owners.enter(&object, claim);
            }
        };
        assert_eq!(number_after(&list(&["read"])), 1);
        let before = known.current();
        assert_eq!(number_after(&list(&["read"])), 1);
        assert!(Arc::ptr_eq(&before, &known.current()));
        assert_eq!(number_after(&list(&["read", "write"])), 2);
        assert_eq!(number_after(&|policies| policies.owners.clear()), 3);
        assert_eq!(number_after(&|policies| policies.owners.clear()), 3);
    }
}
