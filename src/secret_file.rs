//! Secrets in files, which are read again whenever they are needed, so that they can be replaced at any time.

use std::io;
use std::path::Path;

use zeroize::{Zeroize as _, Zeroizing};

/// Why a secret is not known.
#[derive(Debug)]
pub enum Unreadable {
    File(io::Error),
    /// It is not UTF-8.
    NoText,
}

/// The text of a file. What was read of it does not stay in memory.
///
/// # Errors
/// It can't be read, or is no text.
pub async fn read(file: &Path) -> Result<Zeroizing<String>, Unreadable> {
    let bytes = tokio::fs::read(file).await.map_err(Unreadable::File)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        error.into_bytes().zeroize();
        Unreadable::NoText
    })?;
    Ok(Zeroizing::new(text))
}
