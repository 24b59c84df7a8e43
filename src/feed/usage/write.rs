//! What was counted for one key on its way into the key's ApiKeyUsage: read, merge, write with the version that was
//! read.
//!
//! A write whose answer was lost may have taken place. It is sent again as it was, since of two writes over one
//! version at most one takes place; when somebody has written over it meanwhile, nobody can tell any more, and
//! what was counted is given up rather than counted twice.

use std::time::Duration;

use kube::{Client, ResourceExt as _};

use super::super::stored::{Error, Replaced, Stored};
use crate::core::usage;
use crate::resources::ApiKeyUsage;
use crate::resources::apikeyusage::Usage;
use crate::resources::names::usage_of_key;
use crate::verify::used::UsedKey;

/// A key whose usage waits to be written.
pub(super) struct Pending {
    pub(super) key: UsedKey,
    /// Time since boot from which on it is written.
    pub(super) due: Duration,
    /// What was sent, as long as it is not known to have taken place.
    sent: Option<Box<Sent>>,
}

struct Sent {
    object: ApiKeyUsage,
    /// What of it is ours.
    counted: usage::Usage,
    /// An answer was lost.
    doubtful: bool,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Outcome {
    Written,
    /// Somebody else was faster: it has to be merged anew.
    Conflict,
    /// The key has no ApiKeyUsage, or has not got it yet.
    Missing,
    /// Nobody can tell; it will not be written again.
    GivenUp,
}

impl Pending {
    pub(super) fn new(key: UsedKey, due: Duration) -> Self {
        Self { key, due, sent: None }
    }

    /// Tries to write once. Wherever this is dropped, nothing is lost, and nothing counted twice, by trying again.
    pub(super) async fn write(&mut self, client: &Client) -> Result<Outcome, Error> {
        let stored = Stored::new(client, self.key.namespace(), usage_of_key(self.key.uid()));
        let Some(found) = stored.read().await? else {
            self.take_back();
            return Ok(Outcome::Missing);
        };
        let sent = match self.sent.take() {
            // Another process that counts the same writes the same: only of one that is in doubt this tells that it stands.
            Some(sent) if sent.doubtful && sent.stands_in(&found) => return Ok(Outcome::Written),
            Some(sent) if sent.is_over(&found) => sent,
            Some(sent) if sent.doubtful => return Ok(Outcome::GivenUp),
            Some(sent) => Box::new(Sent::new(found, sent.counted)),
            None => Box::new(Sent::new(found, self.key.take())),
        };
        let was_doubtful = sent.doubtful;
        // As if the answer were lost already: this may be dropped while it is waited for.
        let sent = self.sent.insert(Box::new(Sent { doubtful: true, ..*sent }));
        match stored.replace(&sent.object).await {
            Ok(Replaced::Done) => {
                self.sent = None;
                Ok(Outcome::Written)
            }
            Ok(Replaced::Conflict) => {
                sent.doubtful = was_doubtful;
                Ok(Outcome::Conflict)
            }
            Ok(Replaced::Missing) => {
                self.take_back();
                Ok(Outcome::Missing)
            }
            Err(error) => {
                if error.is_refusal() {
                    self.take_back();
                }
                Err(error)
            }
        }
    }

    /// What was sent is counted as if it had not been.
    fn take_back(&mut self) {
        if let Some(sent) = self.sent.take() {
            self.key.put_back(&sent.counted);
        }
    }
}

impl Sent {
    fn new(found: ApiKeyUsage, counted: usage::Usage) -> Self {
        let mut object = found;
        let status = object.status.get_or_insert_default();
        status.usage = Some(Usage::merged(status.usage.as_ref(), &counted));
        Self { object, counted, doubtful: false }
    }

    /// Whether this is what was written last.
    fn stands_in(&self, found: &ApiKeyUsage) -> bool {
        let usage = |object: &ApiKeyUsage| object.status.as_ref().and_then(|status| status.usage.clone());
        found.uid() == self.object.uid() && usage(found) == usage(&self.object)
    }

    /// Whether it would be written over the very version that it was made from.
    fn is_over(&self, found: &ApiKeyUsage) -> bool {
        found.uid() == self.object.uid() && found.resource_version() == self.object.resource_version()
    }
}

#[cfg(test)]
mod tests;
