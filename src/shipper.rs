//! Follows a proxy's access log and reports what went through it with each key.
//!
//! ```text
//! log ─► reader ─► sums ─► batch ─► state, on disk ─► sender ─► report port
//! ```
//!
//! A batch is written down, with its name and with how far the log was read for it, before it is sent, and crossed out when
//! it is answered. So a shipper that ends at any moment sends the same batch under the same name when it is back, which a
//! report port that has counted it recognises, and goes on reading where the batch ended. What is read meanwhile is added
//! up in memory, as much as one batch holds; the rest waits in the log.

mod log;
mod reader;
mod sender;
mod state;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::clock::since_boot;
use crate::core::report;
use crate::entropy::{self, EntropyError};
use crate::telemetry::chain;

use reader::Reader;
use state::{Pending, State, StateFile};

pub use sender::{Answer, SendError, Sender, TokenError};

/// How often the log is looked at.
const POLL: Duration = Duration::from_millis(500);

/// The longest pause after a batch could not be sent.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a last batch may take once the process is told to go.
const GOODBYE: Duration = Duration::from_secs(5);

/// Random bytes in the name of a batch.
const NAME_BYTES: usize = 16;

/// What to ship, and where to.
pub struct Options {
    /// The log, as the proxy opens it.
    pub file: PathBuf,
    /// Where to note how far it was read.
    pub state: PathBuf,
    /// How long to add up before a batch is sent.
    pub interval: Duration,
    pub sender: Sender,
}

/// Why the shipper cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading {}; if it is damaged, delete it, and what the log holds is reported anew", .0.display())]
    State(PathBuf, #[source] io::Error),
    #[error("locking {}; does another shipper follow this log?", .0.display())]
    Locked(PathBuf, #[source] io::Error),
    #[error("writing {}", .0.display())]
    Write(PathBuf, #[source] io::Error),
    #[error("reading {}", .0.display())]
    Log(PathBuf, #[source] io::Error),
    #[error("naming a batch")]
    Name(#[source] EntropyError),
}

/// Ships until `stop`, and then what is left.
///
/// # Errors
/// When it cannot start, or not note how far it is.
pub async fn run(options: Options, stop: &CancellationToken) -> Result<(), Error> {
    let (file, state) = StateFile::open(options.state)?;
    let now = since_boot();
    let reader = Reader::new(options.file, state.as_ref(), now)?;
    let pending = state.and_then(|state| state.pending);
    let mut shipper = Shipper {
        reader,
        file,
        pending,
        sender: options.sender,
        interval: options.interval,
        due: now + options.interval,
        allowed: now,
        failures: 0,
    };
    // Whether it can be noted at all how far the log was read is told now.
    shipper.note()?;
    while stop.run_until_cancelled(sleep(POLL)).await.is_some() {
        shipper.step().await?;
    }
    shipper.say_goodbye().await
}

struct Shipper {
    reader: Reader,
    file: StateFile,
    /// What is sent until it is answered.
    pending: Option<Pending>,
    sender: Sender,
    interval: Duration,
    /// Time since boot at which the next batch is made.
    due: Duration,
    /// Time since boot before which nothing is sent.
    allowed: Duration,
    /// Failures in a row.
    failures: u32,
}

impl Shipper {
    async fn step(&mut self) -> Result<(), Error> {
        let now = since_boot();
        self.reader.read(now);
        if self.pending.is_none() && now >= self.due {
            self.due = now + self.interval;
            self.make_batch()?;
        }
        if now >= self.allowed { self.send().await } else { Ok(()) }
    }

    fn make_batch(&mut self) -> Result<(), Error> {
        let lines = self.reader.sums().take();
        if !lines.is_empty() {
            let name = entropy::nonce(NAME_BYTES).map_err(Error::Name)?;
            self.pending = Some(Pending { name, batch: report::write(&lines) });
        }
        self.note()
    }

    fn note(&mut self) -> Result<(), Error> {
        let state = State { read: self.reader.place(), pending: self.pending.clone() };
        self.file.write(&state)
    }

    async fn send(&mut self) -> Result<(), Error> {
        let Some(Pending { name, batch }) = &self.pending else { return Ok(()) };
        match self.sender.send(name, batch).await {
            Ok(Answer { accepted, unknown }) => {
                if self.failures > 0 {
                    info!("reports are taken again");
                }
                debug!(accepted, unknown, "a batch is reported");
                self.failures = 0;
                self.cross_out()
            }
            Err(error) if error.is_final() => {
                error!(error = chain(&error), "a batch is refused for good, and what it tells is lost");
                self.cross_out()
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let pause = Duration::from_secs(1 << self.failures.min(5)).min(LONGEST_PAUSE);
                let pause = pause.mul_f64(1.0 - entropy::fraction().unwrap_or_default() / 2.0);
                self.allowed = since_boot() + pause;
                warn!(error = chain(&error), ?pause, "a batch is not reported; trying again");
                Ok(())
            }
        }
    }

    /// The batch is done with. The log was read further meanwhile, of which nothing is noted before it is in a batch.
    fn cross_out(&mut self) -> Result<(), Error> {
        self.pending = None;
        self.file.cross_out()
    }

    async fn say_goodbye(mut self) -> Result<(), Error> {
        let last = async {
            // What waits to be sent, and then what has been written to the log since.
            for _ in 0..2 {
                self.reader.read(since_boot());
                if self.pending.is_none() {
                    self.make_batch()?;
                }
                self.send().await?;
            }
            Ok(())
        };
        // Whoever has told the process to go does not wait for ever.
        timeout(GOODBYE, last).await.unwrap_or(Ok(()))?;
        if self.pending.is_none() {
            info!("what was read is reported");
        } else {
            warn!("the last batch is not reported; it is when the shipper is back");
        }
        Ok(())
    }
}
