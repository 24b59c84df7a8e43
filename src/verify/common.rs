//! What many keys have in common: one instance of each value. That saves memory, and what nearly every request reads stays
//! in the processor's caches.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::allowance::Allowance;
use super::owners::OwnerAccounts;
use crate::core::policy::ObjectName;
use crate::core::scope::ScopeSet;

/// The values of everything that keys are granted.
#[derive(Debug, Default)]
pub(super) struct Common {
    names: Instances<str>,
    pub(super) scopes: Instances<ScopeSet>,
    /// Counters see at a glance that nothing has changed, since equal allowances are the same.
    pub(super) allowances: Instances<Allowance>,
    pub(super) owners: OwnerAccounts,
}

impl Common {
    pub(super) fn name(&mut self, name: &Arc<str>) -> Arc<str> {
        self.names.instance(Arc::clone(name))
    }

    pub(super) fn object(&mut self, object: &ObjectName) -> ObjectName {
        ObjectName { namespace: self.name(&object.namespace), name: self.name(&object.name) }
    }

    /// Lets go of what nobody else holds any more.
    pub(super) fn forget_unused(&mut self) {
        self.names.forget_unused();
        self.scopes.forget_unused();
        self.allowances.forget_unused();
    }
}

/// One instance of every value.
#[derive(Debug)]
pub(super) struct Instances<T: ?Sized>(HashSet<Arc<T>, RandomState>);

impl<T: ?Sized> Default for Instances<T> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

impl<T: Eq + Hash + ?Sized> Instances<T> {
    /// The instance that is equal to this one: an earlier one, if there is any.
    pub(super) fn instance(&mut self, value: Arc<T>) -> Arc<T> {
        if let Some(known) = self.0.get(&value) {
            return Arc::clone(known);
        }
        self.0.insert(Arc::clone(&value));
        value
    }

    fn forget_unused(&mut self) {
        self.0.retain(|value| Arc::strong_count(value) > 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_the_same_as_long_as_somebody_holds_one() {
        let mut names = Instances::<str>::default();
        let first = names.instance("speech".into());
        let other = names.instance("music".into());
        assert!(Arc::ptr_eq(&first, &names.instance("speech".into())) && *other == *"music");
        drop(other);
        names.forget_unused();
        assert_eq!(names.0.iter().map(|name| &**name).collect::<Vec<_>>(), ["speech"]);
    }
}
