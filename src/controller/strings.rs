//! Which keys have the same string. Of two keys of one API the older counts, and whatever happens to either is the
//! other's business.
//!
//! What is held here is what statuses say, and what keys are about to write there: of two imports that begin at
//! the same moment, one already sees the other.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::KeyRef;
use crate::core::digest::Digest;
use crate::core::policy::{Age, Key, ObjectName};

/// Every key by its digests.
#[derive(Debug)]
pub(super) struct Strings {
    book: Mutex<Book>,
    wake: mpsc::UnboundedSender<KeyRef>,
}

#[derive(Debug, Default)]
struct Book {
    by_name: HashMap<ObjectName, Arc<Holder>>,
    by_digest: HashMap<Digest, SmallVec<[Arc<Holder>; 1]>>,
    begun: bool,
    /// Keys that have to look again.
    disturbed: HashSet<ObjectName>,
}

/// A key and every digest of its.
#[derive(Debug, Eq, PartialEq)]
struct Holder {
    name: ObjectName,
    age: Age,
    api: ObjectName,
    digests: Vec<Digest>,
}

impl Strings {
    /// Keys that are concerned are woken by `wake`.
    pub(super) fn new(wake: mpsc::UnboundedSender<KeyRef>) -> Self {
        Self { book: Mutex::default(), wake }
    }

    /// Whether nothing has been noted yet; true once.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.book().begun, true)
    }

    /// Notes which digests a key has, in place of those that it had, and wakes those who share one.
    pub(super) fn hold(&self, key: &Key, digests: Vec<Digest>) {
        let holder = Holder { name: key.name.clone(), age: key.age(), api: key.api.clone(), digests };
        let mut book = self.book();
        book.disturbed.remove(&key.name);
        if book.by_name.get(&key.name).is_some_and(|known| **known == holder) {
            return;
        }
        let before = book.remove(&key.name);
        let holder = Arc::new(holder);
        for digest in &holder.digests {
            book.by_digest.entry(*digest).or_default().push(Arc::clone(&holder));
        }
        book.by_name.insert(key.name.clone(), Arc::clone(&holder));
        self.disturb(&mut book, before.iter().chain([&holder]));
    }

    /// The key is gone; the next one that has its string takes its place.
    pub(super) fn forget(&self, name: &ObjectName) {
        let mut book = self.book();
        book.disturbed.remove(name);
        let gone = book.remove(name);
        self.disturb(&mut book, gone.iter());
    }

    /// The oldest key of the same API that is older than this one and has one of these digests.
    pub(super) fn older_than(&self, key: &Key, digests: &[Digest]) -> Option<ObjectName> {
        let (book, age) = (self.book(), key.age());
        let sharing = digests.iter().filter_map(|digest| book.by_digest.get(digest)).flatten();
        let older = sharing.filter(|other| other.api == key.api && other.age < age);
        older.min_by(|a, b| a.age.cmp(&b.age)).map(|oldest| oldest.name.clone())
    }

    /// Whether something has happened to a key with the same string since this one was last noted.
    pub(super) fn is_disturbed(&self, name: &ObjectName) -> bool {
        self.book().disturbed.contains(name)
    }

    fn disturb<'a>(&self, book: &mut Book, changed: impl Iterator<Item = &'a Arc<Holder>>) {
        for holder in changed {
            let sharing = holder.digests.iter().filter_map(|digest| book.by_digest.get(digest)).flatten();
            let others = sharing.filter(|other| other.name != holder.name && other.api == holder.api);
            let others: Vec<_> = others.map(|other| other.name.clone()).collect();
            for name in others {
                // Nobody listens any more once the controller stops.
                let _ = self.wake.send(KeyRef::new(&name.name).within(&name.namespace));
                book.disturbed.insert(name);
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn remove(&mut self, name: &ObjectName) -> Option<Arc<Holder>> {
        let holder = self.by_name.remove(name)?;
        for digest in &holder.digests {
            if let Some(sharing) = self.by_digest.get_mut(digest) {
                sharing.retain(|other| other.name != *name);
                if sharing.is_empty() {
                    self.by_digest.remove(digest);
                }
            }
        }
        Some(holder)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::digest::Pepper;
    use crate::core::fixtures;

    fn key(name: &str, created_at: i64) -> Key {
        Key {
            name: ObjectName::new("speech", name),
            uid: name.into(),
            created_at: Timestamp::from_second(created_at).unwrap(),
            ..fixtures::key()
        }
    }

    fn digest(seed: u8) -> Digest {
        Pepper::new("p1", &[7; 32]).unwrap().digest_of(&[seed])
    }

    struct Fixture {
        strings: Strings,
        woken: mpsc::UnboundedReceiver<KeyRef>,
    }

    impl Fixture {
        fn new() -> Self {
            let (wake, woken) = mpsc::unbounded_channel();
            Self { strings: Strings::new(wake), woken }
        }

        fn woken(&mut self) -> Vec<String> {
            std::iter::from_fn(|| self.woken.try_recv().ok()).map(|key| key.name).collect()
        }

        fn older(&self, key: &Key, seed: u8) -> Option<String> {
            self.strings.older_than(key, &[digest(seed)]).map(|name| name.name.to_string())
        }
    }

    #[test]
    fn the_older_counts_and_equally_old_ones_are_told_apart_by_uid() {
        for (a, b, expected) in [(("a", 5), ("b", 6), "a"), (("a", 6), ("b", 5), "b"), (("b", 5), ("a", 5), "a")] {
            let fixture = Fixture::new();
            let keys = [key(a.0, a.1), key(b.0, b.1)];
            keys.iter().for_each(|key| fixture.strings.hold(key, vec![digest(1), digest(2)]));
            for key in keys {
                let older = (*key.name.name != *expected).then(|| expected.to_owned());
                assert_eq!(fixture.older(&key, 2), older);
                assert_eq!(fixture.older(&key, 3), None);
            }
        }
    }

    #[test]
    fn keys_of_other_apis_are_nobodys_business() {
        let mut fixture = Fixture::new();
        let elsewhere = Key { api: ObjectName::new("speech", "other"), ..key("a", 0) };
        fixture.strings.hold(&elsewhere, vec![digest(1)]);
        fixture.strings.hold(&key("b", 1), vec![digest(1)]);
        assert_eq!((fixture.older(&key("b", 1), 1), fixture.woken()), (None, vec![]));
    }

    #[test]
    fn whoever_shares_a_string_hears_of_what_comes_and_goes() {
        let mut fixture = Fixture::new();
        let (older, younger) = (key("a", 0), key("b", 1));
        fixture.strings.hold(&younger, vec![digest(1)]);
        assert_eq!(fixture.woken(), [""; 0]);
        fixture.strings.hold(&older, vec![digest(1)]);
        assert_eq!(fixture.woken(), ["b"]);
        assert!(fixture.strings.is_disturbed(&younger.name));
        fixture.strings.hold(&younger, vec![digest(1)]);
        assert!(!fixture.strings.is_disturbed(&younger.name));
        fixture.strings.hold(&older, vec![digest(1)]);
        assert_eq!(fixture.woken(), [""; 0], "nothing has changed");
        fixture.strings.hold(&older, vec![digest(2)]);
        assert_eq!((fixture.woken(), fixture.older(&younger, 1)), (vec!["b".to_owned()], None));
        fixture.strings.hold(&older, vec![digest(1)]);
        fixture.strings.forget(&older.name);
        assert_eq!((fixture.woken(), fixture.older(&younger, 1)), (vec!["b".to_owned(); 2], None));
        assert_eq!(fixture.strings.book().by_digest.len(), 1);
    }

    #[test]
    fn a_key_that_was_made_again_is_another() {
        let fixture = Fixture::new();
        fixture.strings.hold(&key("a", 0), vec![digest(1)]);
        fixture.strings.hold(&Key { uid: "z".into(), ..key("a", 9) }, vec![digest(1)]);
        assert_eq!(fixture.older(&key("b", 1), 1), None);
    }
}
