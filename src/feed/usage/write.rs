//! What was counted for one key on its way into the key's ApiKeyUsage: read, merge, write with the version that was
//! read.
//!
//! A write whose answer was lost may have taken place. It is sent again as it was, since of two writes over one
//! version at most one takes place; when somebody has written over it meanwhile, nobody can tell any more, and
//! what was counted is given up rather than counted twice.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use crate::core::usage;
use crate::resources::ApiKeyUsage;
use crate::resources::apikeyusage::Usage;
use crate::resources::names::{VERIFIER_MANAGER, usage_of_key};
use crate::verify::used::UsedKey;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

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

/// A write that did not take place, as far as is known.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("reading an ApiKeyUsage")]
    Read(#[source] kube::Error),
    #[error("writing an ApiKeyUsage")]
    Write(#[source] kube::Error),
    #[error("the API server took longer than {} s to answer", TIMEOUT.as_secs())]
    Timeout,
}

impl Error {
    /// Whether it is about this one object: others may be written all the same.
    pub(super) fn is_about_the_object(&self) -> bool {
        match self {
            Self::Read(error) | Self::Write(error) => {
                let unfit = [400, 413, 422].into_iter().any(|code| has_code(error, code));
                unfit || matches!(error, kube::Error::SerdeError(_))
            }
            Self::Timeout => false,
        }
    }
}

/// Whether the API server has answered that it did not do this.
fn is_refusal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && ![408, 429].contains(&status.code))
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

impl Pending {
    pub(super) fn new(key: UsedKey, due: Duration) -> Self {
        Self { key, due, sent: None }
    }

    /// Tries to write once. Wherever this is dropped, nothing is lost, and nothing counted twice, by trying again.
    pub(super) async fn write(&mut self, client: &Client) -> Result<Outcome, Error> {
        let usages: Api<ApiKeyUsage> = Api::namespaced(client.clone(), self.key.namespace());
        let name = usage_of_key(self.key.uid());
        let found = timeout(TIMEOUT, usages.get_opt(&name)).await.map_err(|_| Error::Timeout)?;
        let Some(found) = found.map_err(Error::Read)? else {
            self.take_back();
            return Ok(Outcome::Missing);
        };
        let sent = match self.sent.take() {
            Some(sent) if sent.stands_in(&found) => return Ok(Outcome::Written),
            Some(sent) if sent.is_over(&found) => sent,
            Some(sent) if sent.doubtful => return Ok(Outcome::GivenUp),
            Some(sent) => Box::new(Sent::new(found, sent.counted)),
            None => Box::new(Sent::new(found, self.key.take())),
        };
        let was_doubtful = sent.doubtful;
        // As if the answer were lost already: this may be dropped while it is waited for.
        let sent = self.sent.insert(Box::new(Sent { doubtful: true, ..*sent }));
        let parameters = PostParams { field_manager: Some(VERIFIER_MANAGER.to_owned()), ..PostParams::default() };
        let written = timeout(TIMEOUT, usages.replace_status(&name, &parameters, &sent.object)).await;
        match written.map_err(|_| Error::Timeout)? {
            Ok(_) => {
                self.sent = None;
                Ok(Outcome::Written)
            }
            Err(error) if has_code(&error, 409) => {
                sent.doubtful = was_doubtful;
                Ok(Outcome::Conflict)
            }
            Err(error) if has_code(&error, 404) => {
                self.take_back();
                Ok(Outcome::Missing)
            }
            Err(error) if is_refusal(&error) => {
                self.take_back();
                Err(Error::Write(error))
            }
            Err(error) => Err(Error::Write(error)),
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
