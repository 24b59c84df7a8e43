//! Batches that were counted lately, by the `Idempotency-Key` that they came with: one that comes again since its answer
//! was lost gets that answer, and is counted no second time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::verify::reports::Counted;

/// For how long a batch is remembered.
const LIFETIME: Duration = Duration::from_mins(10);

/// How many are; what is more drives out the oldest.
const MOST: usize = 10_000;

/// The batches, all instants being readings of one clock.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    by_key: HashMap<Box<str>, Known>,
    /// The oldest first.
    order: VecDeque<(Duration, Box<str>)>,
}

#[derive(Debug)]
struct Known {
    /// Of the batch.
    digest: [u8; 32],
    counted: Counted,
}

/// The key is that of another batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct OtherBatch;

impl Remembered {
    /// What was answered to the batch with that key and digest; `None`: it was not counted.
    pub(super) fn recall(&mut self, key: &str, digest: [u8; 32], now: Duration) -> Result<Option<Counted>, OtherBatch> {
        while self.order.front().is_some_and(|(since, _)| now.saturating_sub(*since) >= LIFETIME) {
            self.forget_oldest();
        }
        match self.by_key.get(key) {
            None => Ok(None),
            Some(known) if known.digest == digest => Ok(Some(known.counted)),
            Some(_) => Err(OtherBatch),
        }
    }

    /// Remembers a batch that [`Remembered::recall`] did not know.
    pub(super) fn remember(&mut self, key: &str, digest: [u8; 32], counted: Counted, now: Duration) {
        if self.order.len() >= MOST {
            self.forget_oldest();
        }
        self.order.push_back((now, key.into()));
        self.by_key.insert(key.into(), Known { digest, counted });
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(accepted: usize) -> Counted {
        Counted { accepted, ..Counted::default() }
    }

    #[test]
    fn a_batch_is_remembered_for_its_time_and_for_itself() {
        let mut all = Remembered::default();
        let second = Duration::from_secs;
        assert_eq!(all.recall("a", [1; 32], second(5)), Ok(None));
        all.remember("a", [1; 32], counted(3), second(5));
        assert_eq!(all.recall("a", [1; 32], second(604)), Ok(Some(counted(3))));
        assert_eq!(all.recall("a", [2; 32], second(604)), Err(OtherBatch));
        assert_eq!(all.recall("b", [1; 32], second(604)), Ok(None));
        assert_eq!(all.recall("a", [1; 32], second(605)), Ok(None));
        all.remember("a", [2; 32], counted(4), second(605));
        assert_eq!(all.recall("a", [2; 32], second(606)), Ok(Some(counted(4))));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut all = Remembered::default();
        for number in 0..=MOST {
            all.remember(&number.to_string(), [0; 32], counted(number), Duration::ZERO);
        }
        assert_eq!((all.by_key.len(), all.order.len()), (MOST, MOST));
        assert_eq!(all.recall("0", [0; 32], Duration::ZERO), Ok(None));
        assert_eq!(all.recall("1", [0; 32], Duration::ZERO), Ok(Some(counted(1))));
    }
}
