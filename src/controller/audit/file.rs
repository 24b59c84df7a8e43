//! A file that lines are appended to, by a thread of its own: files can block for as long as they like.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::metrics::Metrics;
use crate::telemetry::chain;

/// Lines that may wait to be written; more are given up, and told of.
pub(super) const QUEUE: usize = 1024;

/// Hands lines to the thread that writes them. The thread ends with the last of these.
#[derive(Clone, Debug)]
pub(super) struct FileWriter(mpsc::Sender<Job>);

#[derive(Debug)]
struct Job {
    /// `None`: to hear when everything before it is written.
    line: Option<String>,
    done: oneshot::Sender<()>,
}

impl FileWriter {
    pub(super) fn open(path: PathBuf, metrics: Arc<Metrics>) -> io::Result<Self> {
        let mut log = LogFile::new(path);
        log.reopen()?;
        let (send, mut receive) = mpsc::channel(QUEUE);
        std::thread::Builder::new().name("audit-log".to_owned()).spawn(move || {
            while let Some(Job { line, done }) = receive.blocking_recv() {
                if let Some(line) = line
                    && let Err(failure) = log.append(&line)
                {
                    metrics.audit_failed();
                    let path = log.path.display();
                    error!(line, %path, error = chain(&failure), "a line could not be written to the audit log");
                }
                // Whoever waits for it may have given up.
                let _ = done.send(());
            }
        })?;
        Ok(Self(send))
    }

    /// Answers where it is told that the line is written, or has failed; the line itself when too many wait.
    pub(super) fn send(&self, line: String) -> Result<oneshot::Receiver<()>, String> {
        let (done, written) = oneshot::channel();
        match self.0.try_send(Job { line: Some(line), done }) {
            Ok(()) => Ok(written),
            Err(mpsc::error::TrySendError::Full(job) | mpsc::error::TrySendError::Closed(job)) => {
                Err(job.line.unwrap_or_default())
            }
        }
    }

    pub(super) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let (done, written) = oneshot::channel();
        self.0.try_send(Job { line: None, done }).ok().map(|()| written)
    }
}

/// The file as it is open now.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Option<File>,
    /// It ends in the middle of a line that could not be written whole.
    torn: bool,
}

impl LogFile {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None, torn: false }
    }

    /// Writes the line at once, so that it stands there whole or is known not to.
    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.has_moved() {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        let begin = if self.torn { "\n" } else { "" };
        let written = file.write_all(format!("{begin}{line}\n").as_bytes());
        match &written {
            Ok(()) => self.torn = false,
            // To be looked at anew.
            Err(_) => self.file = None,
        }
        written
    }

    /// Whether somebody has put the file elsewhere, as those do who rotate logs.
    fn has_moved(&self) -> bool {
        let identity = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let open = self.file.as_ref().and_then(|file| file.metadata().ok()).map(identity);
        open.is_none() || open != std::fs::metadata(&self.path).ok().map(identity)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = None;
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        self.torn = file.metadata()?.is_file() && !ends_a_line(&mut file)?;
        self.file = Some(file);
        Ok(())
    }
}

/// A process that was killed may have left half a line.
fn ends_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;
    use crate::entropy::nonce;

    /// A folder that is gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("keyturn-audit-{}", nonce(8).unwrap()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("audit.log")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn open(path: &Path) -> LogFile {
        let mut log = LogFile::new(path.to_owned());
        log.reopen().unwrap();
        log
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_said_at_once() {
        let folder = Folder::new();
        let metrics = Arc::new(Metrics::new());
        let error = FileWriter::open(folder.0.join("missing/audit.log"), Arc::clone(&metrics)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(FileWriter::open(folder.0.clone(), metrics).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    }

    #[test]
    fn lines_are_appended_to_a_file_of_ones_own() {
        let folder = Folder::new();
        open(&folder.file()).append("a").unwrap();
        open(&folder.file()).append("b").unwrap();
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), "a\nb\n");
        assert_eq!(fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = Folder::new();
        let mut log = open(&folder.file());
        log.append("a").unwrap();
        let moved = folder.0.join("audit.log.1");
        fs::rename(folder.file(), &moved).unwrap();
        log.append("b").unwrap();
        // Emptied in place, as copytruncate does.
        fs::write(folder.file(), "").unwrap();
        log.append("c").unwrap();
        assert_eq!(fs::read_to_string(moved).unwrap(), "a\n");
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), "c\n");
    }

    #[test]
    fn half_a_line_spoils_no_other() {
        let folder = Folder::new();
        fs::write(folder.file(), "{\"id\":").unwrap();
        let mut log = open(&folder.file());
        log.append("a").unwrap();
        log.append("b").unwrap();
        assert_eq!(fs::read_to_string(folder.file()).unwrap(), "{\"id\":\na\nb\n");
    }

    #[tokio::test]
    async fn a_failed_line_is_counted_and_the_next_one_is_tried() {
        let folder = Folder::new();
        let inner = folder.0.join("inner");
        fs::create_dir(&inner).unwrap();
        let metrics = Arc::new(Metrics::new());
        let writer = FileWriter::open(inner.join("audit.log"), Arc::clone(&metrics)).unwrap();
        fs::remove_dir_all(&inner).unwrap();
        writer.send("a".to_owned()).unwrap().await.unwrap();
        assert!(metrics.encode().unwrap().contains("keyturn_audit_failures_total 1\n"));
        fs::create_dir(&inner).unwrap();
        writer.send("b".to_owned()).unwrap().await.unwrap();
        writer.flush().unwrap().await.unwrap();
        assert_eq!(fs::read_to_string(inner.join("audit.log")).unwrap(), "b\n");
    }
}
