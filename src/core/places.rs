//! How many keys of one owner may be in use at the same time, and which of them may.
//!
//! A key that has a place keeps it until it leaves, also when the limit is lowered. A place that is free goes to the
//! oldest key that waits for one. Keys of different tiers may have different limits; all keys of the owner count
//! against each of them.

use std::collections::{BTreeMap, BTreeSet};

use super::acceptance::{Accepted, Reason, Rejection};
use super::owner::Owner;
use super::policy::{Age, Tier};

/// The keys of one owner. `T` is what is known of one that waits.
#[derive(Clone, Debug)]
pub struct Places<T> {
    taken: BTreeSet<Age>,
    waiting: BTreeMap<Age, T>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { taken: BTreeSet::new(), waiting: BTreeMap::new() }
    }
}

/// What comes of asking for a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer<T> {
    /// Whether the key has one now.
    pub granted: bool,
    /// Older ones that have waited and have got one now.
    pub called: Vec<T>,
}

impl<T: Clone> Places<T> {
    /// Whether nobody has a place or waits for one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.waiting.is_empty()
    }

    /// Whether the key of that age has a place.
    #[must_use]
    pub fn has(&self, age: &Age) -> bool {
        self.taken.contains(age)
    }

    /// Notes a key that has a place from before, whatever the limit is by now.
    pub fn keep(&mut self, age: &Age) {
        self.waiting.remove(age);
        self.taken.insert(age.clone());
    }

    /// Notes a key that waits, without giving places away.
    pub fn wait(&mut self, age: &Age, key: T) {
        if !self.has(age) {
            self.waiting.insert(age.clone(), key);
        }
    }

    /// Gives a key a place, or lets it wait. `allows(key, taken)`: whether a key may have one beside so many.
    pub fn ask(&mut self, age: &Age, key: T, allows: impl Fn(&T, usize) -> bool) -> Answer<T> {
        if self.has(age) {
            return Answer { granted: true, called: Vec::new() };
        }
        let full = !allows(&key, self.taken.len());
        self.waiting.insert(age.clone(), key);
        if full {
            return Answer { granted: false, called: Vec::new() };
        }
        let called = self.call(Some(age), allows);
        Answer { granted: self.has(age), called }
    }

    /// The key has no place any more and waits for none; answers those that get one by that.
    pub fn leave(&mut self, age: &Age, allows: impl Fn(&T, usize) -> bool) -> Vec<T> {
        self.waiting.remove(age);
        if self.taken.remove(age) { self.call(None, allows) } else { Vec::new() }
    }

    /// Gives places to those that wait, the oldest first, up to the one of that age, which is not called itself.
    fn call(&mut self, last: Option<&Age>, allows: impl Fn(&T, usize) -> bool) -> Vec<T> {
        let mut called = Vec::new();
        let mut taken = self.taken.len();
        for (age, key) in &self.waiting {
            if last.is_some_and(|last| age > last) {
                break;
            }
            if allows(key, taken) {
                taken += 1;
                called.push((age.clone(), key.clone()));
            }
        }
        for (age, _) in &called {
            self.keep(age);
        }
        called.into_iter().filter(|(age, _)| Some(age) != last).map(|(_, key)| key).collect()
    }
}

/// How many keys an owner may have: as many as its ApiKeyOwner says, or else the tier of the key that asks. `None`:
/// any number.
#[must_use]
pub fn limit(owner: Option<&Owner>, tier: Option<&Tier>) -> Option<u32> {
    owner.and_then(|owner| owner.max_active_keys).or_else(|| tier?.max_active_keys_per_owner)
}

/// Whether that limit leaves a place beside so many.
#[must_use]
pub fn allows(limit: Option<u32>, taken: usize) -> bool {
    limit.is_none_or(|limit| usize::try_from(limit).is_ok_and(|limit| taken < limit))
}

/// Says that a key of the owner with that external id has to wait.
#[must_use]
pub fn limit_reached(owner_id: &str, accepted: &Accepted) -> Rejection {
    let (owner, tier) = (accepted.owner.as_deref(), accepted.tier.as_deref());
    let by_owner = owner.filter(|owner| owner.max_active_keys.is_some());
    let said_by = match (by_owner, tier) {
        (Some(owner), _) => format!("spec.maxActiveKeys of ApiKeyOwner {}", owner.object),
        (None, Some(tier)) => {
            format!("spec.maxActiveKeysPerOwner of ApiKeyTier {}/{}", accepted.api.name.namespace, tier.name)
        }
        (None, None) => "its limit".to_owned(),
    };
    let limit = limit(owner, tier).unwrap_or_default();
    let message = format!(
        "spec.owner: {owner_id:?} has as many keys that are neither revoked nor expired as {said_by} allows, which is {limit}; revoke or delete one of them, or raise the limit, and the oldest key that waits takes the place"
    );
    Rejection::new(Reason::KeyLimitReached, message)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;
    use crate::core::fixtures;
    use crate::core::policy::{Api, Key, ObjectName, Policies};

    fn age(second: i64) -> Age {
        Age { created_at: Timestamp::from_second(second).unwrap(), uid: second.to_string().into() }
    }

    /// With the same limit for every key.
    fn up_to(limit: usize) -> impl Fn(&i64, usize) -> bool {
        move |_, taken| taken < limit
    }

    fn granted(called: &[i64]) -> Answer<i64> {
        Answer { granted: true, called: called.to_vec() }
    }

    const WAITS: Answer<i64> = Answer { granted: false, called: Vec::new() };

    #[test]
    fn the_last_place_goes_to_one_key_only_and_the_next_one_to_the_oldest_that_waits() {
        let mut places = Places::default();
        assert_eq!(places.ask(&age(5), 5, up_to(2)), granted(&[]));
        assert_eq!(places.ask(&age(6), 6, up_to(2)), granted(&[]));
        for waiting in [8, 7, 9] {
            assert_eq!(places.ask(&age(waiting), waiting, up_to(2)), WAITS);
        }
        assert_eq!(places.ask(&age(5), 5, up_to(2)), granted(&[]), "who asks again has it");
        assert_eq!(places.leave(&age(9), up_to(2)), [0; 0], "who only waited leaves no place");
        assert_eq!(places.leave(&age(5), up_to(2)), [7]);
        assert_eq!(places.ask(&age(8), 8, up_to(2)), WAITS);
        assert!([6, 7].iter().all(|key| places.has(&age(*key))));
    }

    #[test]
    fn a_place_is_kept_when_the_limit_is_lowered() {
        let mut places = Places::default();
        for key in [1, 2, 3] {
            places.keep(&age(key));
        }
        assert_eq!(places.ask(&age(2), 2, up_to(1)), granted(&[]));
        assert_eq!(places.ask(&age(4), 4, up_to(1)), WAITS);
        assert_eq!(places.leave(&age(1), up_to(1)), [0; 0], "there are more than may be as it is");
        assert_eq!(places.leave(&age(2), up_to(1)), [0; 0]);
        assert_eq!(places.leave(&age(3), up_to(1)), [4]);
    }

    #[test]
    fn a_raised_limit_lets_the_older_ones_in_first_whoever_asks() {
        let mut places = Places::default();
        for key in [1, 2, 3, 4] {
            places.wait(&age(key), key);
        }
        assert_eq!(places.ask(&age(3), 3, up_to(2)), Answer { granted: false, called: vec![1, 2] });
        assert_eq!(places.ask(&age(3), 3, up_to(3)), granted(&[]));
        assert_eq!(places.ask(&age(9), 9, up_to(9)), granted(&[4]));
    }

    #[test]
    fn a_key_whose_own_limit_is_reached_stands_in_nobodys_way() {
        let mut places = Places::default();
        let by_tier = |key: &i64, taken: usize| taken < if *key < 10 { 1 } else { 3 };
        assert_eq!(places.ask(&age(1), 1, by_tier), granted(&[]));
        assert_eq!(places.ask(&age(2), 2, by_tier), WAITS);
        assert_eq!(places.ask(&age(10), 10, by_tier), granted(&[]));
        assert_eq!(places.leave(&age(1), by_tier), [0; 0], "the large tier's key counts for the small one, too");
        assert_eq!(places.leave(&age(10), by_tier), [2]);
    }

    #[test]
    fn nothing_is_kept_of_keys_that_are_gone() {
        let mut places = Places::default();
        places.keep(&age(1));
        places.wait(&age(2), 2);
        for key in [1, 2] {
            places.leave(&age(key), up_to(0));
        }
        assert!(places.is_empty());
    }

    #[derive(Clone, Debug)]
    enum Act {
        Ask(i64),
        Leave(i64),
        Limit(usize),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let key = 0..12_i64;
        let act = prop_oneof![
            5 => key.clone().prop_map(Act::Ask),
            3 => key.prop_map(Act::Leave),
            1 => (0..6_usize).prop_map(Act::Limit),
        ];
        prop::collection::vec(act, 0..80)
    }

    proptest! {
        #[test]
        fn whatever_happens_places_are_kept_never_too_many_and_never_given_past_an_older_key(acts in acts()) {
            let mut places = Places::default();
            let mut limit = 3;
            for act in acts {
                let before = places.clone();
                let called = match act {
                    Act::Limit(other) => {
                        limit = other;
                        continue;
                    }
                    Act::Ask(key) => {
                        let answer = places.ask(&age(key), key, up_to(limit));
                        prop_assert_eq!(answer.granted, places.has(&age(key)));
                        prop_assert!(answer.granted || places.waiting.contains_key(&age(key)));
                        answer.called
                    }
                    Act::Leave(key) => {
                        let called = places.leave(&age(key), up_to(limit));
                        prop_assert!(!places.has(&age(key)) && !places.waiting.contains_key(&age(key)));
                        if before.has(&age(key)) {
                            prop_assert!(places.waiting.is_empty() || places.taken.len() >= limit, "a place is free");
                        }
                        called
                    }
                };
                let left = if let Act::Leave(key) = act { Some(age(key)) } else { None };
                prop_assert!(before.taken.iter().all(|held| places.has(held) || Some(held) == left.as_ref()));
                let new: Vec<_> = places.taken.difference(&before.taken).cloned().collect();
                prop_assert!(new.is_empty() || places.taken.len() <= limit);
                let youngest = new.iter().max();
                prop_assert!(places.waiting.keys().all(|waiting| youngest.is_none_or(|new| new < waiting)));
                prop_assert!(called.iter().all(|key| new.contains(&age(*key))));
                let asked = if let Act::Ask(key) = act { Some(age(key)) } else { None };
                let told = called.iter().map(|key| age(*key)).chain(asked.filter(|asked| new.contains(asked)));
                prop_assert_eq!(told.collect::<BTreeSet<_>>(), new.into_iter().collect::<BTreeSet<_>>());
                prop_assert!(places.waiting.keys().all(|waiting| !places.has(waiting)));
            }
        }
    }

    fn accepted(owner: Option<u32>, tier: Option<u32>) -> Accepted {
        let api = Api { default_tier: Some("free".into()), ..fixtures::api() };
        let tier = Tier { name: "free".into(), max_active_keys_per_owner: tier, ..Tier::default() };
        let policies = Policies {
            apis: HashMap::from([(api.name.clone(), Ok(api.into()))]),
            tiers: HashMap::from([(ObjectName::new("speech", "free"), Ok(tier.into()))]),
            ..Policies::default()
        };
        let mut accepted = crate::core::acceptance::accept(&Key { ..fixtures::key() }, &policies).unwrap();
        accepted.owner = Some(Owner { max_active_keys: owner, ..fixtures::owner() }.into());
        accepted
    }

    #[test]
    fn the_owners_number_wins_over_the_tiers() {
        for (owner, tier, expected) in
            [(None, None, None), (None, Some(3), Some(3)), (Some(5), Some(3), Some(5)), (Some(2), Some(3), Some(2))]
        {
            let accepted = accepted(owner, tier);
            assert_eq!(limit(accepted.owner.as_deref(), accepted.tier.as_deref()), expected, "{owner:?} {tier:?}");
        }
        for (limit, taken, expected) in [(None, 1_000_000, true), (Some(2), 1, true), (Some(2), 2, false)] {
            assert_eq!(allows(limit, taken), expected);
        }
    }

    #[test]
    fn whoever_waits_is_told_which_field_of_what_says_so_and_what_to_do() {
        for (owner, tier, said_by) in [
            (Some(2), Some(3), "spec.maxActiveKeys of ApiKeyOwner speech/acme allows, which is 2"),
            (None, Some(3), "spec.maxActiveKeysPerOwner of ApiKeyTier speech/free allows, which is 3"),
        ] {
            let expected = format!(
                "KeyLimitReached: spec.owner: \"acme-1\" has as many keys that are neither revoked nor expired as {said_by}; revoke or delete one of them, or raise the limit, and the oldest key that waits takes the place"
            );
            assert_eq!(limit_reached("acme-1", &accepted(owner, tier)).to_string(), expected);
        }
    }
}
