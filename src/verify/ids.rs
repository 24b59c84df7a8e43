//! Keys by the id that proxies know them by.

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::entry::Entry;

/// Every key that has an id.
#[derive(Debug, Default)]
pub(super) struct Ids(HashSet<ById, RandomState>);

impl Ids {
    /// The key with that id.
    pub(super) fn find(&self, id: &str) -> Option<&Arc<Entry>> {
        self.0.get(id).map(|known| &known.0)
    }

    /// Notes a key in place of what it was before.
    pub(super) fn note(&mut self, before: Option<&Entry>, entry: &Arc<Entry>) {
        if let Some(before) = before.filter(|before| before.id() != entry.id()) {
            self.forget(before);
        }
        if !entry.id().is_empty() {
            self.0.replace(ById(Arc::clone(entry)));
        }
    }

    /// Forgets a key, unless its id is somebody else's by now.
    pub(super) fn forget(&mut self, entry: &Entry) {
        if self.find(entry.id()).is_some_and(|known| known.uid() == entry.uid()) {
            self.0.remove(entry.id());
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// An entry that is found by its id.
#[derive(Debug)]
struct ById(Arc<Entry>);

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        self.0.id()
    }
}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id().hash(state);
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for ById {}
