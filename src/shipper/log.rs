//! The files of a log on disk.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::core::access_log::{FileId, LogFile, is_rotated};

/// A log by the name under which the proxy opens it.
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The file that has the log's name at the moment, if there is one.
    pub(super) fn named(&self) -> io::Result<Option<LogFile>> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(Some(describe(&found))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Those that were moved away and lie beside it.
    pub(super) fn rotated(&self) -> io::Result<Vec<LogFile>> {
        Ok(self.rotated_paths()?.into_iter().map(|(_, file)| file).collect())
    }

    /// Opens a file of the log, whatever its name is by now; `None`: it is gone.
    pub(super) fn open(&self, id: FileId) -> io::Result<Option<OpenLog>> {
        let rotated = self.rotated_paths()?.into_iter().filter(|(_, file)| file.id == id).map(|(path, _)| path);
        for path in std::iter::once(self.path.clone()).chain(rotated) {
            match File::open(path) {
                // It may have been moved just now.
                Ok(file) if describe(&file.metadata()?).id == id => return Ok(Some(OpenLog { file })),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    fn rotated_paths(&self) -> io::Result<Vec<(PathBuf, LogFile)>> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.directory())? {
            let entry = entry?;
            if !is_rotated(&entry.file_name().to_string_lossy(), &name) {
                continue;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => found.push((entry.path(), describe(&metadata))),
                Ok(_) => {}
                // Removed since the directory was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    pub(super) fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }
}

/// A file of a log, which stays readable however it is renamed.
pub(super) struct OpenLog {
    file: File,
}

impl OpenLog {
    pub(super) fn describe(&self) -> io::Result<LogFile> {
        Ok(describe(&self.file.metadata()?))
    }

    /// Reads what there is from that offset on, as much as fits.
    pub(super) fn read(&self, mut offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset) {
                Ok(0) => break,
                Ok(more) => {
                    filled += more;
                    offset += u64::try_from(more).unwrap_or(u64::MAX);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

fn describe(found: &Metadata) -> LogFile {
    let modified = found.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    LogFile { id: FileId { device: found.dev(), inode: found.ino() }, modified: modified.unwrap_or(Duration::ZERO) }
}
