//! Which keys have the same string, and which peppers recognise them. Of two keys of one API with one string the
//! older counts, and whatever happens to either is the other's business.
//!
//! What is held here is what statuses say, and what keys are about to write there: of two imports that begin at
//! the same moment, one already sees the other.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use smallvec::SmallVec;
use tokio::sync::mpsc;

use super::{KeyRef, key_named};
use crate::core::digest::Digest;
use crate::core::policy::{Age, Key, ObjectName};
use crate::core::rotation::{VersionState, Versions};
use crate::metrics::Metrics;

/// Every key by its digests.
#[derive(Debug)]
pub(super) struct Strings {
    book: Mutex<Book>,
    wake: mpsc::UnboundedSender<KeyRef>,
    metrics: Arc<Metrics>,
}

/// What a key's versions come to here.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Held {
    /// Of every version, and of what the key is about to take over.
    pub(super) digests: Vec<Digest>,
    /// Those without which some string of the key would be refused.
    pub(super) peppers: BTreeSet<Arc<str>>,
}

impl Held {
    pub(super) fn of(key: &Key, versions: &Versions) -> Self {
        let in_use = versions.iter().filter(|version| !key.revoked && version.state != VersionState::Retired);
        Self {
            digests: versions.iter().map(|version| version.digest).collect(),
            peppers: in_use.map(|version| Arc::clone(&version.pepper)).collect(),
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    by_name: HashMap<ObjectName, Arc<Holder>>,
    by_digest: HashMap<Digest, SmallVec<[Arc<Holder>; 1]>>,
    /// How many keys need each pepper.
    by_pepper: HashMap<Arc<str>, usize>,
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
    held: Held,
}

impl Strings {
    /// Keys that are concerned are woken by `wake`.
    pub(super) fn new(wake: mpsc::UnboundedSender<KeyRef>, metrics: Arc<Metrics>) -> Self {
        Self { book: Mutex::default(), wake, metrics }
    }

    /// Whether nothing has been noted yet; true once.
    pub(super) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.book().begun, true)
    }

    /// Notes what a key has, in place of what it had, and wakes those who share a digest with it.
    pub(super) fn hold(&self, key: &Key, held: Held) {
        let holder = Holder { name: key.name.clone(), age: key.age(), api: key.api.clone(), held };
        let mut book = self.book();
        book.disturbed.remove(&key.name);
        if book.by_name.get(&key.name).is_some_and(|known| **known == holder) {
            return;
        }
        let before = book.remove(&key.name);
        let holder = Arc::new(holder);
        for digest in &holder.held.digests {
            book.by_digest.entry(*digest).or_default().push(Arc::clone(&holder));
        }
        for pepper in &holder.held.peppers {
            *book.by_pepper.entry(Arc::clone(pepper)).or_default() += 1;
        }
        book.by_name.insert(key.name.clone(), Arc::clone(&holder));
        self.count(&book, before.iter().chain([&holder]));
        self.disturb(&mut book, before.iter().chain([&holder]));
    }

    /// The key is gone; the next one that has its string takes its place.
    pub(super) fn forget(&self, name: &ObjectName) {
        let mut book = self.book();
        book.disturbed.remove(name);
        let gone = book.remove(name);
        self.count(&book, gone.iter());
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

    fn count<'a>(&self, book: &Book, changed: impl Iterator<Item = &'a Arc<Holder>>) {
        for pepper in changed.flat_map(|holder| &holder.held.peppers) {
            self.metrics.set_pepper_keys(pepper, book.by_pepper.get(pepper).copied().unwrap_or(0));
        }
    }

    fn disturb<'a>(&self, book: &mut Book, changed: impl Iterator<Item = &'a Arc<Holder>>) {
        for holder in changed {
            let sharing = holder.held.digests.iter().filter_map(|digest| book.by_digest.get(digest)).flatten();
            let others = sharing.filter(|other| other.name != holder.name && other.api == holder.api);
            let others: Vec<_> = others.map(|other| other.name.clone()).collect();
            for name in others {
                // Nobody listens any more once the controller stops.
                let _ = self.wake.send(key_named(&name));
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
        for pepper in &holder.held.peppers {
            if let Some(count) = self.by_pepper.get_mut(pepper) {
                *count -= 1;
            }
        }
        for digest in &holder.held.digests {
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
    use super::*;
    use crate::core::digest::Pepper;
    use crate::core::fixtures::{self, key_named as key};
    use crate::core::rotation::Version;

    fn digest(seed: u8) -> Digest {
        Pepper::new("p1", &[7; 32]).unwrap().digest_of(&[seed])
    }

    fn held(seeds: &[u8]) -> Held {
        Held { digests: seeds.iter().map(|seed| digest(*seed)).collect(), peppers: BTreeSet::from(["p1".into()]) }
    }

    struct Fixture {
        strings: Strings,
        woken: mpsc::UnboundedReceiver<KeyRef>,
    }

    impl Fixture {
        fn new() -> Self {
            let (wake, woken) = mpsc::unbounded_channel();
            Self { strings: Strings::new(wake, Arc::new(Metrics::new())), woken }
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
            keys.iter().for_each(|key| fixture.strings.hold(key, held(&[1, 2])));
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
        fixture.strings.hold(&elsewhere, held(&[1]));
        fixture.strings.hold(&key("b", 1), held(&[1]));
        assert_eq!((fixture.older(&key("b", 1), 1), fixture.woken()), (None, vec![]));
    }

    #[test]
    fn whoever_shares_a_string_hears_of_what_comes_and_goes() {
        let mut fixture = Fixture::new();
        let (older, younger) = (key("a", 0), key("b", 1));
        fixture.strings.hold(&younger, held(&[1]));
        assert_eq!(fixture.woken(), [""; 0]);
        fixture.strings.hold(&older, held(&[1]));
        assert_eq!(fixture.woken(), ["b"]);
        assert!(fixture.strings.is_disturbed(&younger.name));
        fixture.strings.hold(&younger, held(&[1]));
        assert!(!fixture.strings.is_disturbed(&younger.name));
        fixture.strings.hold(&older, held(&[1]));
        assert_eq!(fixture.woken(), [""; 0], "nothing has changed");
        fixture.strings.hold(&older, held(&[2]));
        assert_eq!((fixture.woken(), fixture.older(&younger, 1)), (vec!["b".to_owned()], None));
        fixture.strings.hold(&older, held(&[1]));
        fixture.strings.forget(&older.name);
        assert_eq!((fixture.woken(), fixture.older(&younger, 1)), (vec!["b".to_owned(); 2], None));
        assert_eq!(fixture.strings.book().by_digest.len(), 1);
    }

    #[test]
    fn a_key_that_was_made_again_is_another() {
        let fixture = Fixture::new();
        fixture.strings.hold(&key("a", 0), held(&[1]));
        fixture.strings.hold(&Key { uid: "z".into(), ..key("a", 9) }, held(&[1]));
        assert_eq!(fixture.older(&key("b", 1), 1), None);
    }

    #[test]
    fn keys_are_counted_by_the_peppers_of_what_is_in_use() {
        let fixture = Fixture::new();
        let version =
            |number, pepper: &str, state| Version { pepper: pepper.into(), ..fixtures::version(number, state) };
        let versions = Versions::new(vec![
            version(3, "p3", VersionState::Current),
            version(2, "p2", VersionState::Grace),
            version(1, "p1", VersionState::Retired),
        ]);
        let counts = || {
            let text = fixture.strings.metrics.encode().unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("keyturn_pepper_keys{pepper="));
            let mut lines: Vec<String> = lines.map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let (a, b) = (key("a", 0), key("b", 1));
        fixture.strings.hold(&a, Held::of(&a, &versions));
        fixture.strings.hold(&b, Held::of(&b, &versions));
        assert_eq!(counts(), ["\"p2\"} 2", "\"p3\"} 2"]);
        let b = Key { revoked: true, ..b };
        fixture.strings.hold(&b, Held::of(&b, &versions));
        assert_eq!(counts(), ["\"p2\"} 1", "\"p3\"} 1"]);
        fixture.strings.forget(&a.name);
        assert_eq!(counts(), ["\"p2\"} 0", "\"p3\"} 0"]);
    }
}
