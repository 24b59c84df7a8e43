//! `keyturn seal-keygen`: a key pair for delivery Sealed.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::seal::{PrivateKey, SealError};

/// Why there is no key pair.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("drawing it")]
    Draw(#[source] SealError),
    #[error("creating {}; choose a file that does not exist yet", .0.display())]
    Create(PathBuf, #[source] io::Error),
    #[error("writing {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("printing the public key")]
    Print(#[source] io::Error),
}

/// Writes the private key to a new file that only its owner may read, and prints the public key.
pub(super) fn run(key_file: &Path) -> Result<(), Error> {
    let (private, public) = PrivateKey::generate().map_err(Error::Draw)?;
    let pem = private.to_pem().map_err(Error::Draw)?;
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(key_file);
    let mut file = created.map_err(|error| Error::Create(key_file.to_owned(), error))?;
    // On disk before anything can be sealed to it.
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| Error::Write(key_file.to_owned(), error))?;
    writeln!(io::stdout().lock(), "{public}").map_err(Error::Print)
}
