//! `keyturn crds`: the custom resource definitions, printed or written.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::Error;
use crate::resources::crds::crd_files;

/// Prints every definition as one stream of YAML documents, or writes one file each into `dir`.
pub(super) fn run(dir: Option<&Path>) -> Result<(), Error> {
    let files = crd_files().map_err(Error::Crds)?;
    match dir {
        None => {
            let mut out = io::stdout().lock();
            let mut documents = files.iter();
            let written = documents.try_for_each(|file| write!(out, "---\n{}", file.content));
            written.map_err(|error| Error::Write(PathBuf::from("standard output"), error))
        }
        Some(dir) => {
            fs::create_dir_all(dir).map_err(|error| Error::Write(dir.to_owned(), error))?;
            for file in files {
                let path = dir.join(file.name);
                fs::write(&path, file.content).map_err(|error| Error::Write(path, error))?;
            }
            Ok(())
        }
    }
}
