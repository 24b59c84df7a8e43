//! Keys that go while this process watches.

use std::collections::HashSet;

use kube::ResourceExt as _;
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;

use super::AuditLog;
use crate::clock;
use crate::core::audit::{self, Subjected};
use crate::resources::ApiKey;

type Guarded = DeserializeGuard<ApiKey>;

/// Tells of every key that goes. One that went while nobody watched is known by nobody.
pub(in crate::controller) struct Deletions {
    log: AuditLog,
    /// Every key, as of the event before the one that is noted.
    keys: Store<Guarded>,
    /// The uids in the list that is coming in, if one is.
    listed: HashSet<String>,
}

impl Deletions {
    pub(in crate::controller) fn new(log: AuditLog, keys: Store<Guarded>) -> Self {
        Self { log, keys, listed: HashSet::new() }
    }

    /// Looks at an event before anybody else does.
    pub(in crate::controller) fn note(&mut self, event: &watcher::Event<Guarded>) {
        match event {
            watcher::Event::Init => self.listed.clear(),
            watcher::Event::InitApply(key) => self.listed.extend(key.uid()),
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                for key in self.keys.state() {
                    if key.uid().is_some_and(|uid| !listed.contains(&uid)) {
                        self.tell(&key);
                    }
                }
            }
            watcher::Event::Apply(_) => {}
            watcher::Event::Delete(key) => self.tell(key),
        }
    }

    fn tell(&self, key: &Guarded) {
        let (metadata, id): (&ObjectMeta, _) = match &key.0 {
            Ok(key) => (&key.metadata, key.status.as_ref().and_then(|status| status.id.as_deref())),
            Err(error) => (&error.metadata, None),
        };
        let about = Subjected {
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: metadata.name.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref().unwrap_or_default(),
            id,
        };
        // Nothing waits for it to be written.
        drop(self.log.begin(about, &audit::deleted(clock::now())));
    }
}
