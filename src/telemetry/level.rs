//! A level that stands in a file, such as one of a mounted ConfigMap, and counts as soon as it is changed there.

use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use tracing::{error, info};

use super::{Level, chain};

/// How often the file is looked at. The kubelet takes longer to bring a change.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps the log at the level that a file says.
pub struct LevelFile {
    file: PathBuf,
    /// The level while the file is not there, or empty.
    otherwise: String,
    level: Level,
    /// What was found last; `None`: it could not be read.
    found: Option<String>,
}

impl LevelFile {
    /// `level` is at `otherwise`.
    #[must_use]
    pub fn new(file: PathBuf, otherwise: String, level: Level) -> Self {
        Self { file, found: Some(otherwise.clone()), otherwise, level }
    }

    /// Takes the file's level over, and follows it for as long as the process lives: by a thread of its own, for a log is
    /// turned up when other things are stuck.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn follow(mut self) -> io::Result<()> {
        self.look();
        let looking = move || loop {
            thread::sleep(PERIOD);
            self.look();
        };
        thread::Builder::new().name("log-level".into()).spawn(looking).map(drop)
    }

    fn look(&mut self) {
        let text = match std::fs::read_to_string(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
            text => text,
        };
        let said = match text {
            Ok(text) => Ok(Some(text.trim()).filter(|text| !text.is_empty()).unwrap_or(&self.otherwise).to_owned()),
            Err(error) => Err(error),
        };
        if self.found.as_ref() == said.as_ref().ok() {
            return;
        }
        let file = self.file.display();
        match &said {
            Err(error) => {
                error!(%file, error = chain(error), "the file of the log level cannot be read; the level stays");
            }
            Ok(level) => match self.level.set(level) {
                Ok(()) => info!(%file, directives = level, "the log has another level"),
                Err(error) => {
                    error!(%file, error = chain(&error), "the log level is not understood; the one before stays");
                }
            },
        }
        self.found = said.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::TelemetryError;
    use super::*;

    #[test]
    fn a_level_that_is_none_changes_nothing_and_each_change_is_taken_over_once() {
        let set = Arc::new(Mutex::new(Vec::new()));
        let levels = Arc::clone(&set);
        let level = Level::new(move |filter| {
            levels.lock().unwrap().push(filter.to_string());
            Ok::<_, TelemetryError>(())
        });
        let file = std::env::temp_dir().join(format!("keyturn-log-level-{}", std::process::id()));
        let mut follower = LevelFile::new(file.clone(), "info".into(), level);
        follower.look();
        for (text, expected) in [
            ("", &[][..]),
            ("info\n", &[]),
            ("keyturn=loud", &[]),
            ("debug\n", &["audit=info,debug"]),
            (" debug", &[]),
            ("debug,verbose=ly", &[]),
            ("debug,keyturn::feed=trace\n", &["keyturn::feed=trace,audit=info,debug"]),
            ("", &["audit=info,info"]),
        ] {
            std::fs::write(&file, text).unwrap();
            follower.look();
            follower.look();
            assert_eq!(std::mem::take(&mut *set.lock().unwrap()), expected, "{text:?}");
        }
        std::fs::write(&file, "error").unwrap();
        follower.look();
        std::fs::remove_file(&file).unwrap();
        follower.look();
        assert_eq!(*set.lock().unwrap(), ["audit=info,error", "audit=info,info"]);
    }
}
