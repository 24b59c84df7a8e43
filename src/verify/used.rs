//! Keys that were used since that was last written down: each of them once, the longest ago first.

use std::fmt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::entry::Entry;
use crate::core::usage::Usage;

/// A queue that requests only enter when a key is used for the first time since; entering takes no lock.
pub struct Used {
    sender: Sender<UsedKey>,
    receiver: Mutex<Receiver<UsedKey>>,
}

/// What one key was used for waits to be written down. It stays in the key's counters until somebody takes it.
#[derive(Clone, Debug)]
pub struct UsedKey {
    entry: Arc<Entry>,
    /// Time since boot at which it was first used since.
    pub since: Duration,
}

impl Used {
    pub(super) fn enter(&self, entry: Arc<Entry>, since: Duration) {
        // The receiver lives as long as `self`.
        let _ = self.sender.send(UsedKey { entry, since });
    }

    /// The keys that have entered since this was last asked.
    #[must_use]
    pub fn take(&self) -> Vec<UsedKey> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).try_iter().collect()
    }
}

impl Default for Used {
    fn default() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver: Mutex::new(receiver) }
    }
}

impl fmt::Debug for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Used").finish_non_exhaustive()
    }
}

impl UsedKey {
    /// metadata.namespace
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.entry.namespace()
    }

    /// metadata.uid
    #[must_use]
    pub fn uid(&self) -> &str {
        self.entry.uid()
    }

    /// What was counted and is to be written down now. What is counted from now on waits with this key.
    #[must_use]
    pub fn take(&self) -> Usage {
        self.entry.counters.open().take_usage()
    }

    /// It could not be written down: it is counted as if it had not been taken.
    pub fn put_back(&self, usage: &Usage) {
        self.entry.counters.open().put_back(usage);
    }

    /// It was written down. Answers whether the key was used meanwhile, so that more waits; else it enters the
    /// queue again with its next use.
    #[must_use]
    pub fn settle(&self) -> bool {
        self.entry.counters.open().settle()
    }
}
