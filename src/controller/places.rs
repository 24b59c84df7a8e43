//! Which keys of an owner may be in use: `core::places` for every owner, and keys that wait.
//!
//! All of it is decided under one lock, so that of keys that are looked after at the same time only one gets the last
//! place. Places are not stored anywhere by themselves: a controller that starts anew learns from the statuses of the
//! keys which of them have one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::policies::Policies;
use super::{KeyRef, key_named};
use crate::core::acceptance::entitle;
use crate::core::places::{self, allows, limit};
use crate::core::policy::{self, Age, Key, ObjectName};

/// The places of every owner.
#[derive(Debug)]
pub(super) struct Places {
    book: Mutex<Book>,
    policies: Arc<Policies>,
    wake: mpsc::UnboundedSender<KeyRef>,
}

#[derive(Debug, Default)]
struct Book {
    by_owner: HashMap<OwnerId, places::Places<Arc<Key>>>,
    /// Every key that has a place or waits for one.
    by_name: HashMap<ObjectName, (OwnerId, Age)>,
    begun: bool,
    /// Keys that have got a place while they were waiting.
    called: HashSet<ObjectName>,
}

/// Namespace of APIs, and whom keys of these are issued to.
type OwnerId = (Arc<str>, Arc<str>);

impl Places {
    /// Keys that get a place while they wait are woken by `wake`.
    pub(super) fn new(policies: Arc<Policies>, wake: mpsc::UnboundedSender<KeyRef>) -> Self {
        Self { book: Mutex::default(), policies, wake }
    }

    /// Whether nothing has been noted yet; true once.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.book().begun, true)
    }

    /// Notes a key that has a place from before, whatever the limit is by now.
    pub(super) fn keep(&self, key: &Key) {
        self.change(key, |places, age, _| {
            places.keep(age);
            Vec::new()
        });
    }

    /// Notes a key that will ask for a place: younger ones that ask earlier stand back.
    pub(super) fn wait(&self, key: &Key) {
        self.change(key, |places, age, _| {
            places.wait(age, Arc::new(key.clone()));
            Vec::new()
        });
    }

    /// Whether the key has a place, which it gets if there is one.
    pub(super) fn ask(&self, key: &Key) -> bool {
        let mut granted = true;
        self.change(key, |places, age, policies| {
            let answer = places.ask(age, Arc::new(key.clone()), |key, taken| may_have(key, taken, policies));
            granted = answer.granted;
            answer.called
        });
        granted
    }

    /// Whether the key has a place already.
    pub(super) fn has(&self, key: &Key) -> bool {
        let book = self.book();
        let owner = owner_of(key).and_then(|owner| book.by_owner.get(&owner));
        owner.is_some_and(|places| places.has(&key.age()))
    }

    /// The key has no place any more and waits for none.
    pub(super) fn leave(&self, name: &ObjectName) {
        let mut book = self.book();
        book.called.remove(name);
        if book.by_name.contains_key(name) {
            let policies = self.policies.current();
            let called = book.leave(name, &policies.policies);
            self.call(&mut book, called);
        }
    }

    /// Whether the key has got a place since it was last asked for one.
    pub(super) fn is_called(&self, name: &ObjectName) -> bool {
        self.book().called.contains(name)
    }

    /// Changes the places of the key's owner, and wakes those who have got one by that.
    fn change(
        &self,
        key: &Key,
        change: impl FnOnce(&mut places::Places<Arc<Key>>, &Age, &policy::Policies) -> Vec<Arc<Key>>,
    ) {
        let Some(owner) = owner_of(key) else { return };
        let (mut book, policies, age) = (self.book(), self.policies.current(), key.age());
        book.called.remove(&key.name);
        let before = book.by_name.insert(key.name.clone(), (owner.clone(), age.clone()));
        let mut called = match before {
            Some(before) if before != (owner.clone(), age.clone()) => {
                // It was given to somebody else, or made anew under its name.
                book.vacate(&before, &policies.policies)
            }
            _ => Vec::new(),
        };
        called.extend(change(book.by_owner.entry(owner).or_default(), &age, &policies.policies));
        self.call(&mut book, called);
    }

    fn call(&self, book: &mut Book, called: Vec<Arc<Key>>) {
        for key in called {
            // Nobody listens any more once the controller stops.
            let _ = self.wake.send(key_named(&key.name));
            book.called.insert(key.name.clone());
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn leave(&mut self, name: &ObjectName, policies: &policy::Policies) -> Vec<Arc<Key>> {
        self.by_name.remove(name).map(|place| self.vacate(&place, policies)).unwrap_or_default()
    }

    fn vacate(&mut self, (owner, age): &(OwnerId, Age), policies: &policy::Policies) -> Vec<Arc<Key>> {
        let Some(places) = self.by_owner.get_mut(owner) else { return Vec::new() };
        let called = places.leave(age, |key, taken| may_have(key, taken, policies));
        if places.is_empty() {
            self.by_owner.remove(owner);
        }
        called
    }
}

fn owner_of(key: &Key) -> Option<OwnerId> {
    Some((Arc::clone(&key.api.namespace), Arc::clone(key.owner.as_ref()?)))
}

/// Whether the key may have a place beside so many. One that is not accepted may not.
fn may_have(key: &Key, taken: usize, policies: &policy::Policies) -> bool {
    let declared = key.owner.as_ref().and_then(|id| policies.owners.get(&key.api.namespace, id));
    if declared.is_some_and(|owner| owner.max_active_keys.is_some_and(|limit| !allows(Some(limit), taken))) {
        // Nothing else has to be looked at for any of those who wait.
        return false;
    }
    entitle(key.into(), policies).is_ok_and(|it| allows(limit(it.owner.as_deref(), it.tier.as_deref()), taken))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fixtures;
    use crate::core::policy::Tier;

    fn key(name: &str, created_at: i64) -> Key {
        Key { owner: Some("acme".into()), tier: Some("free".into()), ..fixtures::key_named(name, created_at) }
    }

    struct Fixture {
        places: Places,
        woken: mpsc::UnboundedReceiver<KeyRef>,
    }

    impl Fixture {
        /// With a tier that allows one key an owner.
        fn new() -> Self {
            let (wake, woken) = mpsc::unbounded_channel();
            let fixture = Self { places: Places::new(Arc::default(), wake), woken };
            fixture.allow(1);
            fixture
        }

        fn allow(&self, keys: u32) {
            self.places.policies.update(|policies| {
                let api = fixtures::api();
                let tier = Tier { name: "free".into(), max_active_keys_per_owner: Some(keys), ..Tier::default() };
                policies.apis.insert(api.name.clone(), Ok(Arc::new(api)));
                policies.tiers.insert(ObjectName::new("speech", "free"), Ok(Arc::new(tier)));
            });
        }

        fn woken(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.woken.try_recv().ok()).map(|key| key.name).collect()
        }
    }

    #[test]
    fn whoever_gets_a_place_while_it_waits_is_woken() {
        let mut fixture = Fixture::new();
        let (a, b, c) = (key("a", 1), key("b", 2), key("c", 3));
        assert_eq!([&a, &c, &b].map(|key| fixture.places.ask(key)), [true, false, false]);
        assert_eq!(fixture.woken(), [""; 0]);
        fixture.places.leave(&a.name);
        assert_eq!(fixture.woken(), ["b"]);
        assert_eq!([&b, &c].map(|key| fixture.places.is_called(&key.name)), [true, false]);
        assert_eq!([&b, &c].map(|key| fixture.places.ask(key)), [true, false]);
        assert!(!fixture.places.is_called(&b.name), "once it has asked, it knows");
        fixture.allow(2);
        assert!(fixture.places.ask(&c));
    }

    #[test]
    fn keys_that_ask_at_the_same_instant_get_no_more_places_than_there_are() {
        let fixture = Fixture::new();
        fixture.allow(3);
        let places = &fixture.places;
        let start = std::sync::Barrier::new(16);
        let granted: usize = std::thread::scope(|scope| {
            let ask = |at: i64| {
                let (key, start) = (key(&format!("k{at}"), at), &start);
                scope.spawn(move || {
                    start.wait();
                    usize::from(places.ask(&key))
                })
            };
            let asking: Vec<_> = (0..16).map(ask).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).sum()
        });
        let taken = (0..16).filter(|at| places.has(&key(&format!("k{at}"), *at))).count();
        assert_eq!((granted, taken), (3, 3));
    }

    #[test]
    fn a_place_stays_behind_when_a_key_is_given_to_somebody_else_or_made_anew() {
        let mut fixture = Fixture::new();
        let (a, b) = (key("a", 1), key("b", 2));
        assert_eq!([&a, &b].map(|key| fixture.places.ask(key)), [true, false]);
        let given = Key { owner: Some("globex".into()), ..a.clone() };
        assert!(fixture.places.ask(&given));
        assert_eq!((fixture.woken(), fixture.places.ask(&a)), (vec!["b".to_owned()], false));
        let anew = Key { uid: "z".into(), created_at: a.created_at + std::time::Duration::from_secs(9), ..a.clone() };
        assert_eq!([fixture.places.ask(&anew), fixture.places.has(&a), fixture.places.has(&b)], [false, false, true]);
        for key in [&a, &b] {
            fixture.places.leave(&key.name);
        }
        assert!(fixture.places.book().by_owner.is_empty() && fixture.places.book().by_name.is_empty());
    }

    #[test]
    fn owners_of_the_same_name_in_other_namespaces_and_keys_without_one_are_nobodys_business() {
        let fixture = Fixture::new();
        assert!(fixture.places.ask(&key("a", 1)));
        let elsewhere = Key { api: ObjectName::new("team-b", "transcripts"), ..key("b", 2) };
        fixture.places.keep(&elsewhere);
        assert!(!fixture.places.ask(&key("c", 3)));
        assert!(fixture.places.ask(&Key { owner: None, ..key("d", 4) }));
        assert_eq!(fixture.places.book().by_owner.len(), 2);
    }

    #[test]
    fn who_is_not_accepted_any_more_is_passed_over() {
        let mut fixture = Fixture::new();
        let (a, b, c) = (key("a", 1), key("b", 2), key("c", 3));
        let broken = Key { tier: Some("gone".into()), ..b };
        fixture.places.keep(&a);
        fixture.places.wait(&broken);
        assert!(!fixture.places.ask(&c));
        fixture.places.leave(&a.name);
        assert_eq!(fixture.woken(), ["c"]);
    }
}
