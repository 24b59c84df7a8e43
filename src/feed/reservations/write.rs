//! One attempt to change a ledger: read, decide ([`crate::core::ledger`]), write with the version that was read.
//!
//! What was reserved is handed out only when the write is known to have taken place. If its answer was lost, the next
//! attempt reserves again, and what the first may have reserved is spent by nobody.
//!
//! The other way round, what is given back may not be given back twice. So a write whose answer was lost is sent
//! again only over the very version that it was made from, of which at most one takes place; when there is another
//! version meanwhile, it is given up.

use jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use smallvec::SmallVec;

use super::super::stored::{self, Replaced, Stored};
use crate::clock;
use crate::core::budget::calendar::CalendarPeriod;
use crate::core::ledger::{Budget, Chunk, Ledger, Need};
use crate::resources::ApiKeyUsage;
use crate::resources::apikeyusage::LedgerError;
use crate::resources::names::{usage_of_key, usage_of_owner};
use crate::verify::spender::{Spender, Want};

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is written, and the purse has been told.
    Done {
        /// What was handed out and can't be put into the purse any more.
        homeless: Chunks,
        /// The periods of the quotas of which something was handed out.
        periods: SmallVec<[CalendarPeriod; 1]>,
    },
    /// There is not enough left, and the purse has been told; or nothing was wanted any more.
    Nothing,
    /// Somebody else was faster.
    Conflict,
    /// There is no ApiKeyUsage.
    Missing,
    /// It is not the one that the status of the key or owner names: what was spent is lost, and nothing is handed out.
    Lost,
    /// Nobody can tell whether it was written; it will not be written again.
    GivenUp,
}

pub(super) type Chunks = SmallVec<[Chunk; 1]>;

/// Why nothing is known of a ledger.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Stored(#[from] stored::Error),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Nobody can tell whether so many units were handed out: nobody spends them.
    #[error("having {units} units handed out")]
    Doubtful {
        units: u64,
        #[source]
        source: stored::Error,
    },
}

/// What requests are waiting for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Waiting {
    pub(super) requests: u64,
    /// That all of them together spend.
    pub(super) credits: u64,
}

/// A ledger that was read.
struct Read {
    stored: Stored,
    object: ApiKeyUsage,
    ledger: Ledger,
    /// Uid of the object.
    uid: String,
}

fn stored(client: &Client, spender: &Spender) -> Stored {
    let name = match spender {
        Spender::Key(_) => usage_of_key(spender.uid()),
        Spender::Owner(_) => usage_of_owner(spender.uid()),
    };
    Stored::new(client, spender.namespace(), name)
}

/// `Err`: what came instead of a ledger that anything may be reserved from.
async fn read(client: &Client, spender: &Spender) -> Result<Result<Read, Outcome>, Error> {
    let stored = stored(client, spender);
    let Some(object) = stored.read().await? else { return Ok(Err(Outcome::Missing)) };
    let Some(uid) = spender.usage().filter(|named| object.uid().as_deref() == Some(named)) else {
        return Ok(Err(Outcome::Lost));
    };
    let ledger = object.ledger()?;
    Ok(Ok(Read { stored, object, ledger, uid }))
}

impl Read {
    /// Writes the ledger, of which these are handed out, in the place of the one that was read. `None`: it is done.
    async fn write(&mut self, chunks: impl Iterator<Item = &Chunk>) -> Result<Option<Outcome>, Error> {
        self.object.set_ledger(&self.ledger);
        match self.stored.replace(&self.object).await {
            Ok(Replaced::Done) => Ok(None),
            Ok(Replaced::Conflict) => Ok(Some(Outcome::Conflict)),
            Ok(Replaced::Missing) => Ok(Some(Outcome::Missing)),
            Err(error) if error.is_refusal() => Err(error.into()),
            Err(source) => Err(Error::Doubtful { units: sum(chunks), source }),
        }
    }
}

fn sum<'a>(chunks: impl Iterator<Item = &'a Chunk>) -> u64 {
    chunks.fold(0, |sum, chunk| sum.saturating_add(chunk.amount))
}

/// Reserves what is missing for a request that spends so many credits, and for those that wait with it.
pub(super) async fn reserve(
    client: &Client,
    spender: &Spender,
    credits: u32,
    waiting: impl Fn() -> Waiting,
    living: usize,
) -> Result<Outcome, Error> {
    // Of a key and its owner often only one is short of something; the other is not to be read for that.
    if spender.wants(credits, clock::now()).is_empty() {
        return Ok(Outcome::Nothing);
    }
    let mut read = match read(client, spender).await? {
        Ok(read) => read,
        Err(instead) => return Ok(instead),
    };
    let now = clock::now();
    let wants = spender.wants(credits, now);
    let waiting = waiting();
    let reserve = |want: &Want| read.ledger.reserve(&want.budget, waiting.need(want, credits), living, now);
    let answers: SmallVec<[_; 2]> = wants.iter().map(reserve).collect();
    let reserved = answers.iter().any(Result::is_ok);
    if reserved && let Some(instead) = read.write(answers.iter().flatten()).await? {
        return Ok(instead);
    }
    let now = clock::now();
    let (mut homeless, mut periods) = (Chunks::new(), SmallVec::new());
    for (want, answer) in wants.iter().zip(answers) {
        periods.extend(answer.as_ref().ok().and_then(Chunk::period));
        match answer {
            Ok(chunk) if !chunk.covers(now) => homeless.push(chunk),
            answer => homeless.extend(spender.deposit(&read.uid, want, answer, now)),
        }
    }
    Ok(if reserved { Outcome::Done { homeless, periods } } else { Outcome::Nothing })
}

impl Waiting {
    /// What one request needs, and all of them together.
    fn need(self, want: &Want, credits: u32) -> Need {
        let others = match want.budget {
            Budget::Quota { .. } => self.requests.saturating_sub(1),
            Budget::Credits(_) => self.credits.saturating_sub(credits.into()),
        };
        Need { least: want.need, wanted: want.need.saturating_add(others) }
    }
}

/// Reserves the first chunks of periods to come, of those quotas that were spent from since then.
pub(super) async fn reserve_next(
    client: &Client,
    spender: &Spender,
    since: Timestamp,
    living: usize,
) -> Result<Outcome, Error> {
    let budgets = spender.wants_next(since);
    if budgets.is_empty() {
        return Ok(Outcome::Nothing);
    }
    let mut read = match read(client, spender).await? {
        Ok(read) => read,
        Err(instead) => return Ok(instead),
    };
    let now = clock::now();
    let reserve = |budget: Budget| read.ledger.reserve_next(&budget, living, now).map(|chunk| (budget, chunk));
    let reserved: SmallVec<[_; 2]> = budgets.into_iter().filter_map(reserve).collect();
    if reserved.is_empty() {
        return Ok(Outcome::Nothing);
    }
    if let Some(instead) = read.write(reserved.iter().map(|(_, chunk)| chunk)).await? {
        return Ok(instead);
    }
    let deposit = |(budget, chunk)| spender.deposit_next(&read.uid, &budget, chunk);
    Ok(Outcome::Done { homeless: reserved.into_iter().filter_map(deposit).collect(), periods: SmallVec::new() })
}

/// Chunks on their way back.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) spender: Spender,
    chunks: Chunks,
    /// The version over which they were written, as long as it is not known whether they were.
    doubtful: Option<Version>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Version {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl From<&ApiKeyUsage> for Version {
    fn from(object: &ApiKeyUsage) -> Self {
        Self { uid: object.uid(), resource_version: object.resource_version() }
    }
}

impl Returning {
    pub(super) fn new(spender: Spender, chunks: Chunks) -> Self {
        Self { spender, chunks, doubtful: None }
    }

    /// How many units are on their way.
    pub(super) fn amount(&self) -> u64 {
        sum(self.chunks.iter())
    }

    /// Tries to write once. Unless this answers that there is a conflict, or fails, it need not be tried again.
    pub(super) async fn write(&mut self, client: &Client) -> Result<Outcome, Error> {
        let stored = stored(client, &self.spender);
        let Some(mut object) = stored.read().await? else { return Ok(Outcome::Missing) };
        let version = Version::from(&object);
        if self.doubtful.as_ref().is_some_and(|doubtful| *doubtful != version) {
            return Ok(Outcome::GivenUp);
        }
        let mut ledger = object.ledger()?;
        let now = clock::now();
        let mut changed = false;
        for chunk in &self.chunks {
            changed |= ledger.give_back(chunk, now);
        }
        if !changed {
            return Ok(Outcome::Nothing);
        }
        object.set_ledger(&ledger);
        let before = self.doubtful.replace(version);
        match stored.replace(&object).await {
            Ok(Replaced::Done) => Ok(Outcome::Done { homeless: Chunks::new(), periods: SmallVec::new() }),
            Ok(Replaced::Missing) => Ok(Outcome::Missing),
            Ok(Replaced::Conflict) => {
                self.doubtful = before;
                Ok(Outcome::Conflict)
            }
            Err(error) => {
                if error.is_refusal() {
                    self.doubtful = before;
                }
                Err(error.into())
            }
        }
    }
}
