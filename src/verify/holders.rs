//! The keys that have one string: nearly always one, more only where a string was imported twice.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::entry::Entry;
use crate::core::policy::Api;

/// Never empty; the oldest first, for of two keys of one API with the same string the older counts.
#[derive(Clone, Debug)]
pub(super) struct Holders(SmallVec<[Arc<Entry>; 1]>);

impl Holders {
    pub(super) fn of(entry: &Arc<Entry>) -> Self {
        Self(smallvec![Arc::clone(entry)])
    }

    /// The one that counts in that API.
    pub(super) fn of_api(&self, api: &Api) -> Option<&Arc<Entry>> {
        self.0.iter().find(|entry| entry.belongs_to(api))
    }

    /// Puts a key among them, in place of what it was before.
    pub(super) fn with(&self, entry: &Arc<Entry>) -> Self {
        let mut all: SmallVec<_> = self.0.iter().filter(|other| other.uid() != entry.uid()).cloned().collect();
        let at = all.partition_point(|other: &Arc<Entry>| other.is_before(entry));
        all.insert(at, Arc::clone(entry));
        Self(all)
    }

    /// `None`: nobody is left.
    pub(super) fn without(&self, uid: &str) -> Option<Self> {
        let left: SmallVec<_> = self.0.iter().filter(|entry| entry.uid() != uid).cloned().collect();
        (!left.is_empty()).then_some(Self(left))
    }
}
