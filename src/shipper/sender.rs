//! Brings batches to a report port.

use std::io;
use std::path::PathBuf;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Bytes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::call::{CallError, Caller, Url};
use crate::secret_file::{self, Unreadable};
use crate::tls::{ClientFiles, TlsError};

/// Why there is no token to show.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("reading {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("reading {}: there is no token in it, one line of visible ASCII", .0.display())]
    None(PathBuf),
}

/// Why a batch is not known to be counted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("reading the token")]
    Token(#[from] TokenError),
    #[error("setting up TLS")]
    Tls(#[from] TlsError),
    #[error("asking the report port")]
    Call(#[from] CallError),
    #[error("reading the answer")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it is answered with {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
}

impl SendError {
    /// Whether the same batch will always be refused.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let Self::Refused { status, .. } = self else { return false };
        [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY].contains(status)
    }
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub struct Answer {
    pub accepted: u64,
    pub unknown: u64,
}

/// What a report port says of what it does not count (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    detail: String,
}

/// Sends batches to one report port. Until a batch is answered it goes to the server that was asked first, which may
/// have counted it already.
pub struct Sender {
    caller: Caller,
    token_file: Option<PathBuf>,
}

impl Sender {
    /// Reads the files, so that a mistake is told now; they are read again for every batch.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn new(url: Url, token_file: Option<PathBuf>, files: ClientFiles) -> Result<Self, SendError> {
        let sender = Self { caller: Caller::new(url, files).await?, token_file };
        sender.token().await?;
        Ok(sender)
    }

    /// Sends a batch under that name, under which it is counted once.
    pub(super) async fn send(&mut self, name: &str, batch: &str) -> Result<Answer, SendError> {
        let mut request =
            Request::post("/v1/bandwidth").header(CONTENT_TYPE, "application/x-ndjson").header("idempotency-key", name);
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Bytes::from(batch.to_owned()));
        // A name of ours is a header value.
        let request = request.map_err(|error| SendError::Answer(error.into()))?;
        let response = self.caller.call(request).await?;
        if response.status() != StatusCode::OK {
            let Refusal { detail } = serde_json::from_slice(response.body()).unwrap_or_default();
            return Err(SendError::Refused { status: response.status(), detail });
        }
        let answer = serde_json::from_slice(response.body()).map_err(|error| SendError::Answer(error.into()))?;
        self.caller.let_go();
        Ok(answer)
    }

    async fn token(&self) -> Result<Option<HeaderValue>, TokenError> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = secret_file::read(file).await.map_err(|error| match error {
            Unreadable::File(error) => TokenError::File(file.clone(), error),
            Unreadable::NoText => TokenError::None(file.clone()),
        })?;
        let token = text.lines().map(str::trim).find(|line| !line.is_empty());
        let token = token.ok_or_else(|| TokenError::None(file.clone()))?;
        let header = SecretString::from(format!("Bearer {token}"));
        let value = HeaderValue::from_str(header.expose_secret());
        let mut value = value.map_err(|_| TokenError::None(file.clone()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_the_batch_itself_is_final() {
        for (status, expected) in [(400, true), (413, true), (422, true), (401, false), (404, false), (503, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(SendError::Refused { status, detail: String::new() }.is_final(), expected, "{status}");
        }
        assert!(!SendError::Call(CallError::TimedOut).is_final());
    }
}
