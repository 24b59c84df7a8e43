//! Reads the log as it grows, from file to file, and adds up what its lines say.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{info, warn};

use super::Error;
use super::log::{Log, OpenLog};
use super::state::State;
use crate::core::access_log::{self, FileId, Full, LogFile, Place, Sums, next_file};
use crate::telemetry::chain;

/// Bytes that are read at once, and so the longest line.
const CHUNK: usize = 64 * 1024;

/// How often that is done before others have their turn.
const CHUNKS_AT_ONCE: usize = 256;

/// Files of which it is remembered that they were read to their end.
const MOST_DONE: usize = 64;

/// The log, as far as it was read.
pub(super) struct Reader {
    path: PathBuf,
    log: Log,
    /// `None`: there is no log yet.
    current: Option<Current>,
    /// Files that were read to their end and lie beside it still: should one change all the same, it is not read again.
    done: Vec<FileId>,
    sums: Sums,
    buffer: Box<[u8]>,
    /// What was said last about the log being unreadable.
    said: String,
}

struct Current {
    file: OpenLog,
    id: FileId,
    place: Place,
    /// Time since boot at which it had last grown.
    grown: Duration,
}

/// How reading came to its end for now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// There is no more.
    Reached,
    /// There may be more, later.
    Enough,
}

impl Reader {
    /// Goes on where the state says; without one, with the beginning of the log. `now` is time since boot, here as elsewhere.
    pub(super) fn new(path: PathBuf, state: Option<&State>, now: Duration) -> Result<Self, Error> {
        let log = Log::new(path.clone());
        let unreadable = |error| Error::Log(path.clone(), error);
        let noted = state.and_then(|state| state.read.clone());
        let current = match &noted {
            Some((id, place)) => {
                log.open(*id).map_err(unreadable)?.map(|file| Current::new(file, *id, place.clone(), now))
            }
            None => None,
        };
        if noted.is_some() && current.is_none() {
            warn!("the log that was read last is gone, and what was not read of it is lost");
        }
        let buffer = vec![0; CHUNK].into_boxed_slice();
        let (sums, said, done) = (Sums::default(), String::new(), Vec::new());
        let mut reader = Self { path: path.clone(), log, current, done, sums, buffer, said };
        if reader.current.is_none()
            && let Some(named) = reader.log.named().map_err(unreadable)?
        {
            // It is noted at once, so that it is found again when it is moved before it was read.
            reader.switch(named, now).map_err(unreadable)?;
        }
        Ok(reader)
    }

    /// What the lines add up to.
    pub(super) fn sums(&mut self) -> &mut Sums {
        &mut self.sums
    }

    /// How far the log was read.
    pub(super) fn place(&self) -> Option<(FileId, Place)> {
        self.current.as_ref().map(|current| (current.id, current.place.clone()))
    }

    /// Reads what is new, from file to file, as much as there is room for and as is done in a moment.
    pub(super) fn read(&mut self, now: Duration) {
        match self.try_read(now) {
            Ok(()) => self.said.clear(),
            Err(error) => {
                let text = chain(&error);
                if self.said != text {
                    warn!(log = %self.path.display(), error = text, "the log cannot be read; trying again");
                    self.said = text;
                }
            }
        }
    }

    fn try_read(&mut self, now: Duration) -> io::Result<()> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(named) = self.log.named()? else { return Ok(()) };
                if !self.switch(named, now)? {
                    return Ok(());
                }
                continue;
            };
            if current.read(&mut self.buffer, &mut self.sums, now)? == End::Enough {
                return Ok(());
            }
            let (file, quiet) = (current.file.describe()?, now.saturating_sub(current.grown));
            let named = self.log.named()?;
            if named.is_none_or(|named| named.id == file.id) {
                return Ok(());
            }
            let mut rotated = self.log.rotated()?;
            self.done.retain(|id| rotated.iter().any(|file| file.id == *id));
            rotated.retain(|file| !self.done.contains(&file.id));
            let Some(next) = next_file(file, quiet, named, &rotated) else { return Ok(()) };
            if !self.switch(next, now)? {
                return Ok(());
            }
            self.done.push(file.id);
            self.done.drain(..self.done.len().saturating_sub(MOST_DONE));
            info!("the log was rotated; reading the next one");
        }
    }

    /// Goes on with the beginning of that file, unless it is gone already.
    fn switch(&mut self, next: LogFile, now: Duration) -> io::Result<bool> {
        let Some(file) = self.log.open(next.id)? else { return Ok(false) };
        self.current = Some(Current::new(file, next.id, Place::default(), now));
        Ok(true)
    }
}

impl Current {
    fn new(file: OpenLog, id: FileId, place: Place, now: Duration) -> Self {
        Self { file, id, place, grown: now }
    }

    fn read(&mut self, buffer: &mut [u8], sums: &mut Sums, now: Duration) -> io::Result<End> {
        for _ in 0..CHUNKS_AT_ONCE {
            let read = self.file.read(self.place.from(), buffer)?;
            let read = &buffer[..read];
            let Some(news) = self.place.news(read) else {
                warn!("the log was cut short and begun anew; reading it from its beginning");
                self.place = Place::default();
                continue;
            };
            let lines = match news.iter().rposition(|byte| *byte == b'\n') {
                Some(end) => &news[..=end],
                // A line that is longer than the buffer is none of ours.
                None if read.len() == buffer.len() => news,
                None => return Ok(End::Reached),
            };
            self.grown = now;
            if add(lines, &mut self.place, sums) == Err(Full) {
                break;
            }
        }
        Ok(End::Enough)
    }
}

/// Adds up lines, and goes on after the last that was added.
fn add(lines: &[u8], place: &mut Place, sums: &mut Sums) -> Result<(), Full> {
    let (mut passed, mut malformed, mut outcome) = (0, 0, Ok(()));
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        match access_log::parse(line.trim_ascii_end()) {
            Ok(Some(entry)) => outcome = sums.add(entry),
            Ok(None) => {}
            Err(_) => malformed += 1,
        }
        if outcome.is_err() {
            break;
        }
        passed += line.len();
    }
    place.pass(&lines[..passed]);
    if malformed > 0 {
        warn!(lines = malformed, "lines of the log are not of the format keyturn_bandwidth, and are not counted");
    }
    outcome
}

#[cfg(test)]
mod tests;
