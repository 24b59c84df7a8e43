//! The secret that log shippers show: one line of a file, which is read for every request, so that it can be replaced at
//! any time. While there are several lines, each of them is good.

use std::io;
use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::secret_file::{self, Unreadable};

/// Shortest token, in bytes: 24 random ones in base64.
const SHORTEST: usize = 32;

/// Longest file, in bytes.
const LONGEST_FILE: usize = 4_096;

/// Where the tokens are.
#[derive(Clone, Debug)]
pub struct TokenFile(PathBuf);

/// Why there is no token to compare with.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("reading {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("reading {}: it is no text of at most {LONGEST_FILE} bytes", .0.display())]
    Text(PathBuf),
    #[error("reading {}: there is no token in it; write `openssl rand -base64 32` into it", .0.display())]
    Empty(PathBuf),
    #[error(
        "reading {}: a token in it has less than {SHORTEST} characters; replace it by what `openssl rand -base64 32` prints",
        .0.display()
    )]
    Short(PathBuf),
}

impl TokenFile {
    /// Reads the file, so that a mistake is told now.
    ///
    /// # Errors
    /// There is no token in it that could be shown.
    pub async fn new(path: PathBuf) -> Result<Self, TokenError> {
        let file = Self(path);
        file.read().await?;
        Ok(file)
    }

    /// Whether that is one of the tokens.
    ///
    /// # Errors
    /// There is no token in the file that could be shown: nobody has one.
    pub(super) async fn admits(&self, shown: &[u8]) -> Result<bool, TokenError> {
        // Digests are of one length, so that not even that of a token can be measured.
        let digest = Sha256::digest(shown);
        let tokens = self.read().await?;
        let same = |token: &SecretString| {
            verify_slices_are_equal(&Sha256::digest(token.expose_secret().as_bytes()), &digest).is_ok()
        };
        Ok(tokens.iter().fold(false, |found, token| found | same(token)))
    }

    async fn read(&self) -> Result<Vec<SecretString>, TokenError> {
        let Self(path) = self;
        let text = secret_file::read(path).await.map_err(|error| match error {
            Unreadable::File(error) => TokenError::File(path.clone(), error),
            Unreadable::NoText => TokenError::Text(path.clone()),
        })?;
        if text.len() > LONGEST_FILE {
            return Err(TokenError::Text(path.clone()));
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let tokens: Vec<_> = lines.map(SecretString::from).collect();
        if tokens.is_empty() {
            return Err(TokenError::Empty(path.clone()));
        }
        if tokens.iter().any(|token| token.expose_secret().len() < SHORTEST) {
            return Err(TokenError::Short(path.clone()));
        }
        Ok(tokens)
    }
}
