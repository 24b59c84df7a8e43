//! What was handed out of credits.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Account, Chunk, Ledger, MOST, Need, Refusal, share};
use crate::core::budget::Credits;

/// What was handed out of the credits of one epoch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CreditsLine {
    pub epoch: u64,
    pub reserved: u64,
    /// What refills have added.
    pub refilled: u64,
    /// Until when refills are counted, in whole seconds.
    pub refilled_at: Timestamp,
}

impl Ledger {
    pub(super) fn reserve_credits(
        &mut self,
        credits: &Credits,
        need: Need,
        living: usize,
        now: Timestamp,
    ) -> Result<Chunk, Refusal> {
        let mut line = self.credits_line(credits, now)?;
        let lapses = credits.refill.map(|refill| refill.next(now));
        let Some(amount) = share(line.left(credits), need, living) else {
            return Err(Refusal::Exhausted { until: lapses });
        };
        line.reserved = line.reserved.saturating_add(amount);
        let refilled = line.refilled;
        self.credits = Some(line);
        Ok(Chunk {
            account: Account::Credits { epoch: credits.epoch },
            amount,
            begins: None,
            lapses,
            ledger: Arc::clone(&self.uid),
            refilled,
        })
    }

    /// The line of these credits as whoever reserves next finds it: with the refill that is due.
    pub(super) fn credits_line(&self, credits: &Credits, now: Timestamp) -> Result<CreditsLine, Refusal> {
        let mut line = match &self.credits {
            Some(line) if line.epoch > credits.epoch => return Err(Refusal::Behind),
            Some(line) if line.epoch == credits.epoch => line.clone(),
            // What was due in the epoch before is not due in this one.
            Some(line) => CreditsLine::new(credits.epoch, line.refilled_at),
            None => CreditsLine::new(credits.epoch, self.began),
        };
        line.refill(credits, now);
        Ok(line)
    }
}

impl CreditsLine {
    fn new(epoch: u64, refilled_at: Timestamp) -> Self {
        Self { epoch, reserved: 0, refilled: 0, refilled_at }
    }

    pub(super) fn left(&self, credits: &Credits) -> u64 {
        let left = credits.granted.saturating_add(self.refilled).saturating_sub(self.reserved);
        left.min(MOST.saturating_sub(self.reserved))
    }

    /// Sets what is left to the refill's amount when it is below and one was due since the last that is counted.
    fn refill(&mut self, credits: &Credits, now: Timestamp) {
        if let Some(refill) = credits.refill
            && refill.latest(now) > self.refilled_at
        {
            let wanted = self.reserved.saturating_add(refill.amount).saturating_sub(credits.granted);
            self.refilled = self.refilled.max(wanted.min(MOST));
        }
        self.refilled_at = self.refilled_at.max(whole_second(now));
    }

    /// A refill that has added something since has set what is left outright, without that chunk.
    pub(super) fn give_back(&mut self, chunk: &Chunk) -> bool {
        let kept = self.refilled == chunk.refilled;
        if kept {
            self.reserved = self.reserved.saturating_sub(chunk.amount);
        }
        kept
    }
}

fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
