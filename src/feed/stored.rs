//! ApiKeyUsages as they are stored: read, and written with the version that was read.

use std::time::Duration;

use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::timeout;

use crate::resources::ApiKeyUsage;
use crate::resources::names::VERIFIER_MANAGER;

/// How long one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One ApiKeyUsage by name, whether there is one or not.
pub(super) struct Stored {
    usages: Api<ApiKeyUsage>,
    name: String,
}

/// What the API server says to a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Replaced {
    Done,
    /// There is another version by now, and it stays.
    Conflict,
    /// There is no such object.
    Missing,
}

/// Why it is not known what is stored, or whether something is.
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

    /// Whether the API server has answered that it did not do this.
    pub(super) fn is_refusal(&self) -> bool {
        let refused = |code| (400..500).contains(&code) && ![408, 429].contains(&code);
        matches!(self, Self::Write(kube::Error::Api(status)) if refused(status.code))
    }
}

fn has_code(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

impl Stored {
    pub(super) fn new(client: &Client, namespace: &str, name: String) -> Self {
        Self { usages: Api::namespaced(client.clone(), namespace), name }
    }

    pub(super) async fn read(&self) -> Result<Option<ApiKeyUsage>, Error> {
        let found = timeout(TIMEOUT, self.usages.get_opt(&self.name)).await.map_err(|_| Error::Timeout)?;
        found.map_err(Error::Read)
    }

    /// Writes the status over the version that `object` was read as. The client must not send it again by itself:
    /// what comes of the second one says nothing about the first.
    pub(super) async fn replace(&self, object: &ApiKeyUsage) -> Result<Replaced, Error> {
        let parameters = PostParams { field_manager: Some(VERIFIER_MANAGER.to_owned()), ..PostParams::default() };
        let written = timeout(TIMEOUT, self.usages.replace_status(&self.name, &parameters, object)).await;
        match written.map_err(|_| Error::Timeout)? {
            Ok(_) => Ok(Replaced::Done),
            Err(error) if has_code(&error, 409) => Ok(Replaced::Conflict),
            Err(error) if has_code(&error, 404) => Ok(Replaced::Missing),
            Err(error) => Err(Error::Write(error)),
        }
    }
}
