//! Keys that go while this process watches.

use std::collections::HashSet;
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;

use crate::resources::ApiKey;

type Guarded = DeserializeGuard<ApiKey>;

/// Finds every key that goes, also one that is merely missing from a new list.
pub(super) struct Gone {
    /// Every key, as of the event before the one that is looked at.
    keys: Store<Guarded>,
    /// The uids in the list that is coming in, if one is.
    listed: HashSet<String>,
}

impl Gone {
    pub(super) fn new(keys: Store<Guarded>) -> Self {
        Self { keys, listed: HashSet::new() }
    }

    /// The keys that are gone by an event, which nobody else may have looked at.
    pub(super) fn by(&mut self, event: &watcher::Event<Guarded>) -> Vec<Arc<Guarded>> {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(key) => self.listed.extend(key.uid()),
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let is_gone = |key: &Arc<Guarded>| key.uid().is_some_and(|uid| !listed.contains(&uid));
                return self.keys.state().into_iter().filter(is_gone).collect();
            }
            watcher::Event::Apply(_) => {}
            watcher::Event::Delete(key) => return vec![Arc::new(key.clone())],
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;

    fn key(name: &str, uid: &str) -> Guarded {
        serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey",
            "metadata": {"name": name, "namespace": "team-a", "uid": uid}, "spec": {"apiRef": {"name": "transcripts"}},
        }))
        .unwrap()
    }

    #[test]
    fn a_key_goes_when_it_is_deleted_and_when_a_new_list_does_not_have_it() {
        let (store, mut written) = reflector::store();
        let mut gone = Gone::new(store);
        let mut see = |event: watcher::Event<Guarded>| {
            let found = gone.by(&event).iter().filter_map(|key| key.uid()).collect::<Vec<_>>();
            written.apply_watcher_event(&event);
            found
        };
        let mut list = |keys: &[Guarded]| {
            let begin = see(watcher::Event::Init);
            let listed = keys.iter().flat_map(|key| see(watcher::Event::InitApply(key.clone()))).collect::<Vec<_>>();
            assert_eq!((begin, listed), (vec![], vec![]));
            see(watcher::Event::InitDone)
        };
        assert_eq!(list(&[key("a", "1"), key("b", "2")]), [""; 0]);
        // The name is the same, but the key is another.
        assert_eq!(list(&[key("b", "3")]).len(), 2);
        assert_eq!(list(&[key("b", "3"), key("c", "4")]), [""; 0]);
        assert_eq!(see(watcher::Event::Apply(key("c", "4"))), [""; 0]);
        assert_eq!(see(watcher::Event::Delete(key("c", "4"))), ["4"]);
    }
}
