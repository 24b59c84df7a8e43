//! What a process holds of quotas and credits: chunks that were handed out to it and that nobody else spends.
//!
//! Nothing here reserves anything. Where too little is held, whoever judges has to have more handed out, or to be told
//! that there is no more.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use smallvec::SmallVec;

use crate::core::ledger::{Account, Budget, Chunk, Refusal};

/// For how long it is believed that there is no more. What others give back is found out by asking again.
const BELIEVED: Duration = Duration::from_secs(15);

/// Chunks by budget, in the order of the budgets.
#[derive(Debug)]
pub(super) struct Purse {
    /// Uid of the ApiKeyUsage that they were reserved from; `None`: there is none yet.
    usage: Option<Box<str>>,
    lines: SmallVec<[Line; 1]>,
}

/// What is held of one budget.
#[derive(Clone, Debug, Default)]
struct Line {
    held: Option<Chunk>,
    /// For the period after this one.
    next: Option<Chunk>,
    /// Lapsed with something left in it.
    lapsed: Option<Chunk>,
    refused: Option<Refused>,
    /// When something was spent last.
    spent_at: Option<Timestamp>,
}

/// An answer that there is no more.
#[derive(Clone, Copy, Debug)]
struct Refused {
    refusal: Refusal,
    /// How much there was not.
    need: u64,
    at: Timestamp,
}

/// Whether a budget has room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    Enough,
    /// Less is held than is needed, by so much.
    Short(u64),
    /// Until then, or for ever.
    Exhausted(Option<Timestamp>),
    /// What was spent is not known.
    Unknown,
}

/// Something that has to be reserved.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Want {
    pub budget: Budget,
    /// At least 1.
    pub need: u64,
}

/// What was spent, and of what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Drawn {
    at: usize,
    amount: u64,
    account: Account,
    /// Uid of the ApiKeyUsage.
    ledger: Arc<str>,
}

/// What a request needs of a budget: one of any quota, and what it costs of the credits.
pub(super) fn need(budget: &Budget, credits: u32) -> u64 {
    match budget {
        Budget::Quota { .. } => 1,
        Budget::Credits(_) => credits.into(),
    }
}

/// Whether what was handed out of `other` is spent as part of `budget`: the amount may have been raised or lowered.
fn continues(budget: &Budget, other: &Budget) -> bool {
    match (budget, other) {
        (Budget::Quota { of, quota }, Budget::Quota { of: other_of, quota: other }) => {
            (of, &quota.name, quota.period) == (other_of, &other.name, other.period)
        }
        (Budget::Credits(credits), Budget::Credits(other)) => credits.epoch == other.epoch,
        _ => false,
    }
}

impl Purse {
    /// Empty.
    pub(super) fn new(usage: Option<&str>, budgets: usize) -> Self {
        Self { usage: usage.map(Into::into), lines: SmallVec::from_elem(Line::default(), budgets) }
    }

    pub(super) fn usage(&self) -> Option<&str> {
        self.usage.as_deref()
    }

    /// Follows a change of budgets. What is held of one that goes on stays; refusals are forgotten.
    pub(super) fn follow(&mut self, before: &[Budget], now: &[Budget]) {
        let line_of = |budget: &Budget| {
            let known = before.iter().position(|other| continues(budget, other));
            let line = known.and_then(|at| self.lines.get_mut(at)).map(std::mem::take).unwrap_or_default();
            Line { refused: None, ..line }
        };
        self.lines = now.iter().map(line_of).collect();
    }

    /// Whether the budget at that place has room for so much.
    pub(super) fn standing(&mut self, at: usize, need: u64, now: Timestamp) -> Standing {
        if self.usage.is_none() {
            return Standing::Unknown;
        }
        self.lines.get_mut(at).map_or(Standing::Unknown, |line| line.standing(need, now))
    }

    /// Spends what was found to be there.
    pub(super) fn spend(&mut self, at: usize, amount: u64, now: Timestamp) {
        if let Some(line) = self.lines.get_mut(at) {
            line.spent_at = Some(now);
            line.held.iter_mut().for_each(|held| held.amount = held.amount.saturating_sub(amount));
        }
    }

    /// From where the budget at that place is spent at the moment.
    pub(super) fn drawn(&self, at: usize, amount: u64) -> Option<Drawn> {
        let held = self.lines.get(at)?.held.as_ref()?;
        Some(Drawn { at, amount, account: held.account.clone(), ledger: Arc::clone(&held.ledger) })
    }

    /// Takes back what was spent, unless it was spent of something that is not held any more: another period, another
    /// epoch, another ApiKeyUsage.
    pub(super) fn refund(&mut self, drawn: &Drawn) {
        let held = self.lines.get_mut(drawn.at).and_then(|line| line.held.as_mut());
        let same = held.filter(|held| held.account == drawn.account && held.ledger == drawn.ledger);
        same.into_iter().for_each(|held| held.amount = held.amount.saturating_add(drawn.amount));
    }

    /// Puts in what was reserved for the budget at that place, or that there was not so much.
    pub(super) fn deposit(&mut self, at: usize, need: u64, reserved: Result<Chunk, Refusal>, now: Timestamp) {
        let Some(line) = self.lines.get_mut(at) else { return };
        match (reserved, &mut line.held) {
            (Ok(chunk), Some(held)) if held.account == chunk.account => {
                let amount = held.amount.saturating_add(chunk.amount);
                *held = Chunk { amount, ..chunk };
                line.refused = None;
            }
            (Ok(chunk), held) => {
                let before = held.replace(chunk);
                line.put_by(before);
                line.refused = None;
            }
            (Err(refusal), _) => line.refused = Some(Refused { refusal, need, at: now }),
        }
    }

    /// Puts in what was reserved of the period after this one.
    pub(super) fn deposit_next(&mut self, at: usize, chunk: Chunk) {
        if let Some(line) = self.lines.get_mut(at) {
            line.next = Some(chunk);
        }
    }

    /// Places of the budgets of which something was spent since then, and nothing is held for the next period.
    pub(super) fn without_next(&self, since: Timestamp) -> impl Iterator<Item = usize> {
        let spent = move |line: &&(usize, &Line)| line.1.spent_at.is_some_and(|at| at >= since);
        let lines = self.lines.iter().enumerate().filter(|(_, line)| line.next.is_none());
        lines.filter(move |line| spent(&line)).map(|(at, _)| at)
    }

    /// Takes out what nobody has spent from since then, and what has lapsed, by place.
    pub(super) fn take_idle(&mut self, since: Timestamp, now: Timestamp) -> SmallVec<[(usize, Chunk); 1]> {
        let mut taken = SmallVec::new();
        for (at, line) in self.lines.iter_mut().enumerate() {
            line.turn(now);
            let idle = line.spent_at.is_none_or(|spent| spent < since);
            let idle = if idle { [line.held.take(), line.next.take()] } else { [None, None] };
            let chunks = idle.into_iter().flatten().chain(line.lapsed.take());
            taken.extend(chunks.filter(|chunk| chunk.amount > 0).map(|chunk| (at, chunk)));
        }
        taken
    }

    /// Whether nothing is held.
    pub(super) fn is_empty(&self) -> bool {
        let holds = |chunk: &Option<Chunk>| chunk.as_ref().is_some_and(|chunk| chunk.amount > 0);
        self.lines.iter().all(|line| !holds(&line.held) && line.next.is_none() && !holds(&line.lapsed))
    }
}

impl Line {
    fn standing(&mut self, need: u64, now: Timestamp) -> Standing {
        self.turn(now);
        let held = self.held.as_ref().map_or(0, |held| held.amount);
        if held >= need {
            return Standing::Enough;
        }
        match self.refused {
            Some(Refused { refusal, need: refused, .. }) if need - held >= refused => match refusal {
                Refusal::Exhausted { until } => Standing::Exhausted(until),
                Refusal::Behind => Standing::Unknown,
            },
            _ => Standing::Short(need - held),
        }
    }

    /// Keeps what is left in a chunk that is not spent any more, to be given back.
    fn put_by(&mut self, chunk: Option<Chunk>) {
        self.lapsed = chunk.filter(|chunk| chunk.amount > 0).or_else(|| self.lapsed.take());
    }

    /// Goes over to the next period when this one has ended, and forgets what is not to be believed any more.
    fn turn(&mut self, now: Timestamp) {
        let over = self.held.take_if(|held| held.lapses.is_some_and(|end| end <= now));
        self.put_by(over);
        if self.held.is_none()
            && let Some(next) = self.next.take_if(|next| next.covers(now))
        {
            self.held = Some(next);
        }
        self.refused.take_if(|refused| !refused.is_believed(now));
    }
}

impl Refused {
    fn is_believed(&self, now: Timestamp) -> bool {
        let over = match self.refusal {
            Refusal::Exhausted { until } => until.is_some_and(|until| until <= now),
            Refusal::Behind => false,
        };
        // A clock that steps back has not waited.
        let age = Duration::try_from(now.duration_since(self.at)).unwrap_or(BELIEVED);
        !over && age < BELIEVED
    }
}

#[cfg(test)]
mod tests;
