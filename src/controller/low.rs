//! Looks into the ledgers of keys and owners, and wakes those of whose quotas or credits little is left.
//!
//! Verifiers change ledgers all the time, and the watch tells only that they do. So those that have changed are read
//! one by one, at a bounded rate, the first first, and each again after a while at the soonest. Whether there is
//! something to tell is decided again by whoever is woken, with what was read.

mod count;
mod metered;
mod queue;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::{Api, Client};
use tokio::time::sleep;
use tracing::warn;

use super::policies::Policies;
use super::usages::{Wake, Whose};
use crate::clock::{now, since_boot};
use crate::core::ledger::{Ledger, low};
use crate::metrics::Metrics;
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyUsage};
use crate::telemetry::chain;
pub(super) use count::count;
use metered::Metered;
use queue::Queue;

/// No reading follows a failed one sooner.
const AFTER_FAILURE: Duration = Duration::from_secs(2);

/// How often somebody to look at is looked for.
const POLL: Duration = Duration::from_millis(500);

/// Who is to be looked at, and the ledgers in which something was found.
#[derive(Debug, Default)]
pub(super) struct Ledgers(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    waiting: Queue<Whose>,
    found: HashMap<Whose, Arc<Ledger>>,
}

impl Ledgers {
    /// Something has changed from which it may come that there is something to tell. At this time since boot.
    pub(super) fn look_at(&self, whose: Whose, since_boot: Duration) {
        self.book().waiting.push(whose, since_boot);
    }

    /// A ledger in which there is something to tell of that key or owner.
    pub(super) fn found(&self, whose: &Whose) -> Option<Arc<Ledger>> {
        self.book().found.get(whose).cloned()
    }

    /// All has been told that there is to tell by what was found. Where nothing was, it is looked for: a limit may be
    /// lower than before.
    pub(super) fn settle(&self, whose: Whose, found: Option<&Arc<Ledger>>, since_boot: Duration) {
        let mut book = self.book();
        let Some(found) = found else {
            book.waiting.push(whose, since_boot);
            return;
        };
        // Something else may have been found meanwhile.
        if book.found.get(&whose).is_some_and(|known| Arc::ptr_eq(known, found)) {
            book.found.remove(&whose);
        }
    }

    /// It is gone.
    pub(super) fn forget(&self, whose: &Whose) {
        self.book().found.remove(whose);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads ledgers.
pub(super) struct Looker {
    pub(super) client: Client,
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) keys: Store<DeserializeGuard<ApiKey>>,
    pub(super) owners: Store<DeserializeGuard<ApiKeyOwner>>,
    pub(super) policies: Arc<Policies>,
    pub(super) wake: Wake,
    pub(super) metrics: Arc<Metrics>,
}

impl Looker {
    /// Looks for ever.
    pub(super) async fn follow(self) {
        loop {
            let (next, waiting) = {
                let mut book = self.ledgers.book();
                (book.waiting.pop(since_boot()), book.waiting.len())
            };
            self.metrics.low().set_waiting(waiting);
            match next {
                Ok(whose) => self.look_at(whose).await,
                Err(pause) => sleep(pause.min(POLL)).await,
            }
        }
    }

    async fn look_at(&self, whose: Whose) {
        // One without quotas and credits, and one that is gone by now, costs nothing.
        let Some(metered) = self.metered(&whose) else { return };
        self.ledgers.book().waiting.has_read(since_boot());
        let usages = Api::<ApiKeyUsage>::namespaced(self.client.clone(), &metered.namespace);
        let ledger = match usages.get_opt(&metered.usage.name).await {
            Ok(Some(usage)) => usage.ledger(),
            // Whose it was hears of that.
            Ok(None) => return,
            Err(error) => {
                warn!(usage = metered.usage.name, error = chain(&error), "a ledger cannot be read; it is tried again");
                self.ledgers.look_at(whose, since_boot());
                return sleep(AFTER_FAILURE).await;
            }
        };
        match ledger {
            Ok(ledger) => {
                let is_its_own = *ledger.uid == *metered.usage.uid;
                if is_its_own && low::untold(&ledger, &metered.budgets, &metered.told, now()).is_some() {
                    self.ledgers.book().found.insert(whose.clone(), Arc::new(ledger));
                    self.wake.wake(whose);
                }
            }
            Err(error) => warn!(usage = metered.usage.name, error = chain(&error), "a ledger says what it must not"),
        }
    }

    fn metered(&self, whose: &Whose) -> Option<Metered> {
        let policies = self.policies.current();
        match whose {
            Whose::Key(key) => Metered::of_key(self.keys.get(key)?.0.as_ref().ok()?, &policies.policies),
            Whose::Owner(owner) => Metered::of_owner(self.owners.get(owner)?.0.as_ref().ok()?, &policies.policies),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::KeyRef;

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger { uid: "u1".into(), began: jiff::Timestamp::UNIX_EPOCH, quotas: vec![], credits: None })
    }

    fn waiting(ledgers: &Ledgers) -> usize {
        ledgers.book().waiting.len()
    }

    #[test]
    fn what_was_found_stays_until_it_is_told_and_what_was_found_since_stays() {
        let (ledgers, key, now) = (Ledgers::default(), Whose::Key(KeyRef::new("ci").within("a")), Duration::ZERO);
        let (first, second) = (ledger(), ledger());
        ledgers.book().found.insert(key.clone(), Arc::clone(&first));
        assert_eq!(ledgers.found(&key), Some(Arc::clone(&first)));
        ledgers.book().found.insert(key.clone(), Arc::clone(&second));
        ledgers.settle(key.clone(), Some(&first), now);
        assert!(ledgers.found(&key).is_some());
        ledgers.settle(key.clone(), Some(&second), now);
        assert_eq!((ledgers.found(&key), waiting(&ledgers)), (None, 0));
        ledgers.book().found.insert(key.clone(), first);
        ledgers.forget(&key);
        assert_eq!(ledgers.found(&key), None);
    }

    #[test]
    fn one_that_comes_to_rest_without_a_find_is_looked_at_once() {
        let (ledgers, key, now) = (Ledgers::default(), Whose::Key(KeyRef::new("ci").within("a")), Duration::ZERO);
        ledgers.settle(key.clone(), None, now);
        ledgers.look_at(key, now);
        assert_eq!(waiting(&ledgers), 1);
    }
}
