//! The audit log: one line of JSON for everything that is done to a key, in a file or in the log of this process.
//!
//! Whoever writes a line waits until it is written, but not for long: a disk that hangs must not keep a revocation
//! from being carried out. What could not be written to the file is told in the log.

mod deletions;
mod file;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::core::audit::{self, Entry, Subjected};
use crate::metrics::Metrics;
use crate::telemetry::AUDIT_TARGET;
use file::FileWriter;

/// How long writing a line may hold up what it is about.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the lines go.
#[derive(Clone, Debug)]
pub struct AuditLog {
    sink: Sink,
    metrics: Arc<Metrics>,
}

#[derive(Clone, Debug)]
enum Sink {
    Log,
    File(FileWriter),
}

impl AuditLog {
    /// Into the log of this process, under a target of their own.
    #[must_use]
    pub fn to_log(metrics: Arc<Metrics>) -> Self {
        Self { sink: Sink::Log, metrics }
    }

    /// To the end of a file, which is created if need be, for nobody else to read.
    ///
    /// # Errors
    /// When the file cannot be opened for writing, or no thread be had to write it.
    pub fn to_file(path: &Path, metrics: Arc<Metrics>) -> io::Result<Self> {
        let writer = FileWriter::open(path.to_owned(), Arc::clone(&metrics))?;
        Ok(Self { sink: Sink::File(writer), metrics })
    }

    /// Writes a line, and waits until it is written.
    pub(super) async fn write(&self, about: Subjected<'_>, entry: &Entry) {
        let Some(written) = self.begin(about, entry) else { return };
        // A writer that has gone has said why.
        if timeout(PATIENCE, written).await.is_err() {
            warn!(
                "the audit log is slow: a line was not written in {} s and is waited for no longer",
                PATIENCE.as_secs()
            );
        }
    }

    /// Hands a line on to be written; answers where it is told that it was, if that takes time.
    fn begin(&self, about: Subjected<'_>, entry: &Entry) -> Option<oneshot::Receiver<()>> {
        self.metrics.audited(entry.change.action.as_str());
        let line = audit::line(about, entry);
        match &self.sink {
            Sink::Log => {
                info!(target: AUDIT_TARGET, "{line}");
                None
            }
            Sink::File(writer) => match writer.send(line) {
                Ok(written) => Some(written),
                Err(line) => {
                    self.metrics.audit_failed();
                    error!(line, "a line was not written to the audit log, which has too many to write");
                    None
                }
            },
        }
    }

    /// Waits until everything that was handed on is written.
    pub(super) async fn flush(&self) {
        if let Sink::File(writer) = &self.sink
            && let Some(written) = writer.flush()
            && timeout(PATIENCE, written).await.is_err()
        {
            warn!("the audit log is slow: its last lines may be missing");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use jiff::Timestamp;

    use super::*;
    use crate::core::audit::{Action, Actor, Change, Subject};
    use crate::entropy::nonce;

    const KEY: Subjected<'_> = Subjected { namespace: "team-a", name: "ci", uid: "u1", id: None };

    /// More than a pipe takes.
    fn large() -> Entry {
        let detail = Some("x".repeat(1 << 20));
        let change = Change { action: Action::Minted, subject: Subject::Version(1), detail, fields: vec![] };
        Entry { at: Timestamp::UNIX_EPOCH, actor: Actor::keyturn(), change }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_blocks_holds_nobody_up_for_long_and_what_it_misses_is_counted() {
        let pipe = std::env::temp_dir().join(format!("keyturn-audit-{}", nonce(8).unwrap()));
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let metrics = Arc::new(Metrics::new());
        let log = AuditLog::to_file(&pipe, Arc::clone(&metrics)).unwrap();
        // Nobody reads it, so this would take for ever.
        log.write(KEY, &large()).await;
        let small = audit::deleted(Timestamp::UNIX_EPOCH);
        for _ in 0..=file::QUEUE {
            drop(log.begin(KEY, &small));
        }
        log.flush().await;
        let text = metrics.encode().unwrap();
        assert!(!text.contains("keyturn_audit_failures_total 0\n"), "{text}");
        std::fs::remove_file(&pipe).unwrap();
    }
}
