//! How far the log was read, and what was read but is not known to be reported: in a file beside the log, replaced as a
//! whole.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Error;
use crate::core::access_log::{FileId, Place};

/// Everything before this place is reported, or in the batch.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct State {
    /// `None`: there was no log yet.
    pub(super) read: Option<(FileId, Place)>,
    pub(super) pending: Option<Pending>,
}

/// A batch on its way.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Pending {
    /// Under which it is counted once.
    pub(super) name: String,
    pub(super) batch: String,
}

/// The file, which nobody else writes to.
pub(super) struct StateFile {
    path: PathBuf,
    /// What stands in it; `None`: there is none yet.
    state: Option<State>,
    /// Locked as long as it is open.
    _lock: File,
}

impl StateFile {
    /// Opens the file, and reads what is in it; `None`: there is none yet.
    pub(super) fn open(path: PathBuf) -> Result<(Self, Option<State>), Error> {
        let lock = path.with_added_extension("lock");
        let locked = File::create(&lock).and_then(|file| file.try_lock().map(|()| file).map_err(io::Error::from));
        let locked = locked.map_err(|error| Error::Locked(lock, error))?;
        let state: Option<State> = match fs::read(&path) {
            Ok(text) => Some(
                serde_json::from_slice(&text).map_err(|error| Error::State(path.clone(), io::Error::other(error)))?,
            ),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::State(path, error)),
        };
        Ok((Self { path, state: state.clone(), _lock: locked }, state))
    }

    /// Replaces what is in the file, unless it says so already.
    pub(super) fn write(&mut self, state: &State) -> Result<(), Error> {
        if self.state.as_ref() != Some(state) {
            self.state = Some(state.clone());
            self.replace().map_err(|error| Error::Write(self.path.clone(), error))?;
        }
        Ok(())
    }

    /// The batch is done with.
    pub(super) fn cross_out(&mut self) -> Result<(), Error> {
        let read = self.state.as_ref().and_then(|state| state.read.clone());
        self.write(&State { read, pending: None })
    }

    /// Whoever reads it meanwhile, or after a power cut, finds one state or the other.
    fn replace(&self) -> io::Result<()> {
        let new = self.path.with_added_extension("new");
        let mut file = File::create(&new)?;
        serde_json::to_writer(&file, &self.state)?;
        file.flush()?;
        file.sync_data()?;
        fs::rename(new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_there_after_the_end_and_for_one_shipper_at_a_time() {
        let path = std::env::temp_dir().join(format!("keyturn-state-{}", std::process::id()));
        let pending = Some(Pending { name: "n".into(), batch: "{}\n".into() });
        let state = State { read: Some((FileId { device: 1, inode: 2 }, Place::default())), pending };
        let (mut file, before) = StateFile::open(path.clone()).unwrap();
        assert_eq!(before, None);
        assert!(matches!(StateFile::open(path.clone()), Err(Error::Locked(..))));
        file.write(&state).unwrap();
        drop(file);
        let (mut file, noted) = StateFile::open(path.clone()).unwrap();
        assert_eq!(noted.as_ref(), Some(&state));
        file.cross_out().unwrap();
        drop(file);
        assert_eq!(StateFile::open(path.clone()).unwrap().1, Some(State { pending: None, ..state }));
        fs::write(&path, "{").unwrap();
        assert!(matches!(StateFile::open(path.clone()), Err(Error::State(..))));
        for left in [path.clone(), path.with_added_extension("lock")] {
            fs::remove_file(left).unwrap();
        }
    }
}
