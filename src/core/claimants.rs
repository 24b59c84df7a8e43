//! Objects that claim something of which only one can be the holder: the oldest has it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::policy::{Age, ObjectName};

/// Who claims what, the oldest first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Claimants<K: Eq + Hash>(HashMap<K, BTreeMap<Age, ObjectName>>);

impl<K: Eq + Hash> Default for Claimants<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Eq + Hash> Claimants<K> {
    pub(super) fn enter(&mut self, what: K, age: &Age, name: &ObjectName) {
        self.0.entry(what).or_default().insert(age.clone(), name.clone());
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, what: &Q, age: &Age)
    where
        K: Borrow<Q>,
    {
        if let Some(claimants) = self.0.get_mut(what) {
            claimants.remove(age);
            if claimants.is_empty() {
                self.0.remove(what);
            }
        }
    }

    /// Who claims it, the oldest first.
    pub(super) fn of<'s>(&'s self, what: &K) -> impl Iterator<Item = (&'s Age, &'s ObjectName)> + use<'s, K> {
        self.0.get(what).into_iter().flatten()
    }

    /// Who has it.
    pub(super) fn holder(&self, what: &K) -> Option<(&Age, &ObjectName)> {
        self.of(what).next()
    }

    /// Everything that is claimed, with who has it.
    pub(super) fn holders(&self) -> impl Iterator<Item = (&K, &ObjectName)> {
        self.0.iter().filter_map(|(what, claimants)| Some((what, claimants.first_key_value()?.1)))
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn the_oldest_has_it_and_nothing_is_kept_of_what_nobody_claims() {
        let age = |second, uid: &str| Age { created_at: Timestamp::from_second(second).unwrap(), uid: uid.into() };
        let name = |name| ObjectName::new("speech", name);
        let mut claimants = Claimants::<&str>::default();
        for (second, uid) in [(2, "a"), (1, "c"), (1, "b")] {
            claimants.enter("api.example", &age(second, uid), &name(uid));
        }
        let of: Vec<_> = claimants.of(&"api.example").map(|(_, claimant)| claimant.clone()).collect();
        assert_eq!(of, ["b", "c", "a"].map(name));
        claimants.remove("api.example", &age(1, "b"));
        assert_eq!(claimants.holder(&"api.example"), Some((&age(1, "c"), &name("c"))));
        assert_eq!(claimants.holders().collect::<Vec<_>>(), [(&"api.example", &name("c"))]);
        claimants.remove("api.example", &age(1, "c"));
        claimants.remove("api.example", &age(2, "a"));
        assert!(claimants.holder(&"api.example").is_none() && claimants.0.is_empty());
    }
}
