//! Every key by its digest and every API by its name.
//!
//! Read without a lock by any number of threads; written by whoever applies what the watches tell, one change
//! after the other. A change of a key is one step for readers, and so is the replacement of all keys: there is
//! no instant at which a key that was known before and after is unknown.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use foldhash::fast::RandomState;
use jiff::Timestamp;

use super::common::Common;
use super::counters::Counters;
use super::entry::{Entry, Shared};
use super::holders::Holders;
use super::ids::Ids;
use super::terms::{Ask, Terms};
use super::used::Used;
use crate::core::acceptance::Rejection;
use crate::core::digest::Digest;
use crate::core::owner::OwnerDirectory;
use crate::core::policy::{Api, Key, ObjectName, Policies};
use crate::core::rotation::VersionState;

/// An ApiKey as the watch sees it.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The spec, or why it can't be honoured.
    pub key: Result<Key, Rejection>,
    pub name: ObjectName,
    pub uid: Arc<str>,
    pub created_at: Timestamp,
    /// `status.id`
    pub id: Option<String>,
    pub versions: Vec<KeyVersion>,
    /// Uid in `status.usage`.
    pub usage: Option<String>,
    /// Whether `status.revocation` is there and not reversible.
    pub revoked_for_good: bool,
    /// A rejection that only the controller can tell, from the conditions.
    pub refused_by_controller: Option<Rejection>,
}

/// One of `status.versions`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyVersion {
    pub number: u32,
    pub digest: Digest,
    pub state: VersionState,
    /// End of the grace period.
    pub not_after: Option<Timestamp>,
}

type Keys = papaya::HashMap<Digest, Holders, RandomState>;

/// By namespace, then by name, so that borrowed strings find it. `None`: known but not accepted.
type Apis = HashMap<Arc<str>, HashMap<Arc<str>, Option<Arc<Api>>, RandomState>, RandomState>;

/// The keys and APIs that requests are judged by.
#[derive(Debug, Default)]
pub struct Index {
    known: ArcSwap<Known>,
    /// ApiKeys known, with or without digests.
    count: AtomicUsize,
    used: Used,
    /// 0: not known.
    processes: AtomicU32,
    /// For writers only.
    book: Mutex<Book>,
}

/// What readers see. Single keys come and go in `keys`; whatever concerns many is replaced as a whole.
#[derive(Clone, Debug, Default)]
struct Known {
    apis: Arc<Apis>,
    /// Which API has which host.
    hosts: Arc<HashMap<Arc<str>, ObjectName, RandomState>>,
    keys: Arc<Keys>,
    /// APIs with imported keys.
    importing: Arc<HashSet<ObjectName, RandomState>>,
}

/// What is known at the moment of one request.
#[derive(Debug)]
pub struct View(Guard<Arc<Known>>);

impl View {
    /// The API of that name; `Some(None)` if it is known but not accepted.
    #[must_use]
    pub fn api(&self, namespace: &str, name: &str) -> Option<Option<&Arc<Api>>> {
        self.0.apis.get(namespace)?.get(name).map(Option::as_ref)
    }

    /// The API that has that host, given in lower case and without a port.
    #[must_use]
    pub fn host(&self, host: &str) -> Option<&ObjectName> {
        self.0.hosts.get(host)
    }

    /// The API's key with that digest; of several the oldest.
    #[must_use]
    pub fn key(&self, digest: &Digest, api: &Api) -> Option<Arc<Entry>> {
        self.0.keys.pin().get(digest)?.of_api(api).cloned()
    }

    /// Whether some key of the API was imported, so that its string may have any form.
    #[must_use]
    pub fn has_imported(&self, api: &Api) -> bool {
        self.0.importing.contains(&api.name)
    }
}

/// What writers need to know besides.
#[derive(Debug, Default)]
struct Book {
    policies: Policies,
    by_uid: HashSet<ByUid, RandomState>,
    ids: Ids,
    /// How many imported keys an API has.
    imported: HashMap<ObjectName, usize, RandomState>,
    terms: HashMap<Arc<Ask>, Arc<Terms>, RandomState>,
    common: Common,
}

impl Index {
    /// What is known now.
    #[must_use]
    pub fn view(&self) -> View {
        View(self.known.load())
    }

    /// ApiKeys known, with or without digests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether no ApiKey is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many processes judge keys, as far as is known: each gives away its part of every limit.
    #[must_use]
    pub fn processes(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.processes.load(Ordering::Relaxed))
    }

    /// So many processes judge keys, this one included.
    pub fn set_processes(&self, processes: NonZeroU32) {
        self.processes.store(processes.get(), Ordering::Relaxed);
    }

    /// Whose usage waits to be written down.
    #[must_use]
    pub fn used(&self) -> &Used {
        &self.used
    }

    /// Whether there is a key with that uid.
    #[must_use]
    pub fn knows(&self, uid: &str) -> bool {
        self.write().by_uid.contains(uid)
    }

    /// The key with that `status.id`.
    pub(super) fn with_id(&self, id: &str) -> Option<Arc<Entry>> {
        self.write().ids.find(id).cloned()
    }

    /// A key has been created or changed.
    pub fn apply(&self, record: KeyRecord) {
        let mut book = self.write();
        let before = book.by_uid.get(&*record.uid).map(|known| Arc::clone(&known.0));
        let entry = book.enter(record, before.as_deref());
        if book.note_imported(before.as_deref(), Some(&entry)) {
            self.replace(|known| known.importing = book.importing());
        }
        let keys = Arc::clone(&self.known.load().keys);
        for digest in entry.digests() {
            claim(&keys, digest, &entry);
        }
        // What is gone goes after what is new has come, so that the key is never unknown in between.
        for digest in before.iter().flat_map(|before| before.digests()) {
            if entry.version(&digest).is_none() {
                release(&keys, digest, entry.uid());
            }
        }
        self.count.store(book.by_uid.len(), Ordering::Relaxed);
    }

    /// The key with that uid is gone.
    pub fn delete(&self, uid: &str) {
        let mut book = self.write();
        let Some(ByUid(entry)) = book.by_uid.take(uid) else {
            return;
        };
        book.ids.forget(&entry);
        let keys = Arc::clone(&self.known.load().keys);
        for digest in entry.digests() {
            release(&keys, digest, uid);
        }
        if book.note_imported(Some(&entry), None) {
            self.replace(|known| known.importing = book.importing());
        }
        self.count.store(book.by_uid.len(), Ordering::Relaxed);
    }

    /// These are all keys that there are. What has been charged to them stays charged.
    #[expect(clippy::mutable_key_type, reason = "entries are found by their uid, which never changes")]
    pub fn reset(&self, records: Vec<KeyRecord>) {
        let mut book = self.write();
        let known = std::mem::take(&mut book.by_uid);
        book.by_uid.reserve(records.len());
        book.imported.clear();
        book.ids.clear();
        let keys = Keys::with_capacity_and_hasher(records.len(), RandomState::default());
        for record in records {
            let before = known.get(&*record.uid).map(|known| &*known.0);
            let entry = book.enter(record, before);
            for digest in entry.digests() {
                claim(&keys, digest, &entry);
            }
            book.note_imported(None, Some(&entry));
        }
        self.replace(|known| {
            known.keys = Arc::new(keys);
            known.importing = book.importing();
        });
        self.count.store(book.by_uid.len(), Ordering::Relaxed);
        drop(known);
        book.forget_unused();
    }

    /// Changes APIs, tiers, roles, owners or namespaces, and judges anew every claim that keys make on them.
    pub fn change_policies(&self, change: impl FnOnce(&mut Policies)) {
        self.change_policies_if(|policies| {
            change(policies);
            true
        });
    }

    /// Changes the owners. That may concern keys that had nothing to do with any ApiKeyOwner before.
    pub fn change_owners_if(&self, change: impl FnOnce(&mut OwnerDirectory) -> bool) {
        let mut book = self.write();
        if !change(&mut book.policies.owners) {
            return;
        }
        let keys = Arc::clone(&self.known.load().keys);
        book.ask_anew(&keys);
        book.judge_anew(&keys);
        let Book { common, policies, .. } = &mut *book;
        common.owners.forget_gone(&policies.owners);
    }

    /// As [`Index::change_policies`], for a change that often turns out to be none; it answers whether it was one.
    pub fn change_policies_if(&self, change: impl FnOnce(&mut Policies) -> bool) {
        let mut book = self.write();
        if !change(&mut book.policies) {
            return;
        }
        let mut apis = Apis::default();
        for (name, api) in &book.policies.apis {
            let api = api.as_ref().ok().map(Arc::clone);
            apis.entry(Arc::clone(&name.namespace)).or_default().insert(Arc::clone(&name.name), api);
        }
        let hosts = book.policies.hosts.holders().map(|(host, api)| (Arc::clone(host), api.clone())).collect();
        self.replace(|known| {
            known.apis = Arc::new(apis);
            known.hosts = Arc::new(hosts);
        });
        book.judge_anew(&self.known.load().keys);
    }

    fn replace(&self, change: impl FnOnce(&mut Known)) {
        let mut known = Known::clone(&self.known.load());
        change(&mut known);
        self.known.store(Arc::new(known));
    }

    fn write(&self) -> MutexGuard<'_, Book> {
        // A panic while writing leaves at worst a key that is not in the book; the next list puts it right.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Makes the entry for a record and notes it under its uid and id. `before` is the entry that it replaces.
    fn enter(&mut self, record: KeyRecord, before: Option<&Entry>) -> Arc<Entry> {
        let terms = record.key.as_ref().ok().map(|key| self.terms_of(Ask::new(key, &self.policies)));
        let shared = Shared {
            namespace: self.common.name(&record.name.namespace),
            counters: counters(terms.as_deref(), before),
            terms,
        };
        let entry = Arc::new(Entry::new(record, shared));
        self.ids.note(before, &entry);
        self.by_uid.replace(ByUid(Arc::clone(&entry)));
        entry
    }

    fn terms_of(&mut self, ask: Ask) -> Arc<Terms> {
        if let Some(terms) = self.terms.get(&ask) {
            return Arc::clone(terms);
        }
        // Doubling keeps the cost of forgetting constant per new claim.
        if self.terms.len() == self.terms.capacity() {
            self.forget_unused();
        }
        let ask = Arc::new(ask.with(&mut self.common));
        let terms = Arc::new(Terms::new(Arc::clone(&ask), &self.policies, &mut self.common));
        self.terms.insert(ask, Arc::clone(&terms));
        terms
    }

    /// Lets keys claim what they claim after a change of owners.
    fn ask_anew(&mut self, keys: &Keys) {
        let ask = |ByUid(entry): &ByUid| {
            let terms = entry.terms()?;
            Some((Arc::clone(entry), terms.ask.after_change_of_owners(entry.owner(), &self.policies)?))
        };
        for (entry, ask) in self.by_uid.iter().filter_map(ask).collect::<Vec<_>>() {
            let terms = self.terms_of(ask);
            self.replace(keys, entry.with_terms(terms));
        }
    }

    fn replace(&mut self, keys: &Keys, entry: Entry) {
        let entry = Arc::new(entry);
        for digest in entry.digests() {
            claim(keys, digest, &entry);
        }
        self.ids.note(None, &entry);
        self.by_uid.replace(ByUid(entry));
    }

    /// Judges every claim anew and replaces the keys for which that makes a difference.
    fn judge_anew(&mut self, keys: &Keys) {
        self.forget_unused();
        let mut changed: HashMap<_, _, RandomState> = HashMap::default();
        for terms in self.terms.values_mut() {
            if let Some(anew) = terms.anew(&self.policies, &mut self.common) {
                let before = std::mem::replace(terms, Arc::new(anew));
                changed.insert(Arc::as_ptr(&before), Arc::clone(terms));
            }
        }
        let anew_of = |entry: &Entry| entry.terms().and_then(|terms| changed.get(&Arc::as_ptr(terms)));
        let concerned =
            self.by_uid.iter().filter_map(|ByUid(entry)| Some(entry.with_terms(Arc::clone(anew_of(entry)?))));
        for entry in concerned.collect::<Vec<_>>() {
            self.replace(keys, entry);
        }
    }

    fn importing(&self) -> Arc<HashSet<ObjectName, RandomState>> {
        Arc::new(self.imported.keys().cloned().collect())
    }

    fn forget_unused(&mut self) {
        self.terms.retain(|_, terms| Arc::strong_count(terms) > 1);
        self.common.forget_unused();
    }

    /// Notes for which APIs strings of any form have to be looked up; answers whether these are others now.
    fn note_imported(&mut self, before: Option<&Entry>, after: Option<&Entry>) -> bool {
        let mut changed = false;
        if let Some(api) = after.and_then(Entry::imported_into) {
            let count = self.imported.entry(api.clone()).or_default();
            *count += 1;
            changed |= *count == 1;
        }
        if let Some(api) = before.and_then(Entry::imported_into)
            && let Some(count) = self.imported.get_mut(api)
        {
            *count -= 1;
            if *count == 0 {
                self.imported.remove(api);
                changed = true;
            }
        }
        changed
    }
}

/// Puts a key under its digest.
fn claim(keys: &Keys, digest: Digest, entry: &Arc<Entry>) {
    let keys = keys.pin();
    let holders = keys.get(&digest).map_or_else(|| Holders::of(entry), |holders| holders.with(entry));
    keys.insert(digest, holders);
}

/// Takes a key from its digest.
fn release(keys: &Keys, digest: Digest, uid: &str) {
    let keys = keys.pin();
    match keys.get(&digest).and_then(|holders| holders.without(uid)) {
        Some(holders) => keys.insert(digest, holders),
        None => keys.remove(&digest),
    };
}

/// Counters outlive changes of their key; new ones are laid out at once, so that no request has to.
fn counters(terms: Option<&Terms>, before: Option<&Entry>) -> Arc<Counters> {
    if let Some(before) = before {
        return Arc::clone(&before.counters);
    }
    let granted = terms.and_then(|terms| terms.judged.as_ref().ok());
    let allowance = granted.map_or_else(Arc::default, |granted| Arc::clone(&granted.allowance));
    Arc::new(Counters::new(allowance))
}

/// An entry that is found by its uid.
#[derive(Debug)]
struct ByUid(Arc<Entry>);

impl Borrow<str> for ByUid {
    fn borrow(&self) -> &str {
        self.0.uid()
    }
}

impl Hash for ByUid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.uid().hash(state);
    }
}

impl PartialEq for ByUid {
    fn eq(&self, other: &Self) -> bool {
        self.0.uid() == other.0.uid()
    }
}

impl Eq for ByUid {}

#[cfg(test)]
mod tests;
