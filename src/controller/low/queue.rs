//! Who is looked at when.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// Between two readings: ten in a second.
const GAP: Duration = Duration::from_millis(100);

/// What changes again and again is looked at so often: what is handed out of one ledger may change with each request.
const COLLECT: Duration = Duration::from_secs(2);

/// Each one is in it once, so that it is bounded by their number. All instants are readings of one clock.
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// With when it is due; in that order.
    waiting: VecDeque<(T, Duration)>,
    known: HashSet<T>,
    /// When the next reading is allowed.
    allowed: Duration,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), known: HashSet::new(), allowed: Duration::ZERO }
    }
}

impl<T: Clone + Eq + Hash> Queue<T> {
    /// Has it looked at, after those who wait already.
    pub(super) fn push(&mut self, whose: T, now: Duration) {
        if self.known.insert(whose.clone()) {
            self.waiting.push_back((whose, now + COLLECT));
        }
    }

    /// Takes out who is looked at now.
    ///
    /// # Errors
    /// How long it is until then; the longest there is: nobody waits.
    pub(super) fn pop(&mut self, now: Duration) -> Result<T, Duration> {
        let due = self.waiting.front().map_or(Duration::MAX, |(_, due)| (*due).max(self.allowed));
        match self.waiting.pop_front_if(|_| due <= now) {
            Some((whose, _)) => {
                self.known.remove(&whose);
                Ok(whose)
            }
            None => Err(due.saturating_sub(now)),
        }
    }

    /// Whoever was taken out costs a reading.
    pub(super) fn has_read(&mut self, now: Duration) {
        self.allowed = now + GAP;
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Everybody who is taken out until then, each read, and when.
    fn taken(queue: &mut Queue<u32>, from: Duration, until: Duration) -> Vec<(u32, Duration)> {
        let (mut taken, mut now) = (Vec::new(), from);
        while now < until {
            match queue.pop(now) {
                Ok(whose) => {
                    queue.has_read(now);
                    taken.push((whose, now));
                }
                Err(pause) => now = now.saturating_add(pause),
            }
        }
        taken
    }

    #[test]
    fn nobody_is_looked_at_who_was_not_named() {
        assert_eq!(Queue::<u32>::default().pop(Duration::ZERO), Err(Duration::MAX));
    }

    #[test]
    fn whatever_changes_ten_are_read_in_a_second_the_first_first_and_none_is_left_out() {
        let mut queue = Queue::default();
        for round in 0..3 {
            for whose in 0..300 {
                queue.push(whose, millis(round));
            }
        }
        assert_eq!(queue.len(), 300);
        let taken = taken(&mut queue, millis(0), millis(60_000));
        assert_eq!(taken.iter().map(|(whose, _)| *whose).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
        assert_eq!((taken[0].1, queue.len()), (millis(2_000), 0));
        for (first, eleventh) in taken.iter().zip(taken.iter().skip(10)) {
            assert!(eleventh.1 >= first.1 + millis(1_000), "{first:?} {eleventh:?}");
        }
    }

    #[test]
    fn one_that_changes_all_the_time_is_looked_at_every_two_seconds() {
        let (mut queue, mut looks) = (Queue::default(), Vec::new());
        for now in (0..10_000).map(millis) {
            queue.push(1, now);
            if queue.pop(now).is_ok() {
                queue.has_read(now);
                looks.push(now);
            }
        }
        assert_eq!(looks, [2_000, 4_001, 6_002, 8_003].map(millis));
    }

    #[test]
    fn who_costs_no_reading_keeps_nobody_waiting() {
        let mut queue = Queue::default();
        (0..1_000).for_each(|whose| queue.push(whose, millis(0)));
        let mut free = 0;
        while queue.pop(millis(2_000)).is_ok() {
            free += 1;
        }
        assert_eq!(free, 1_000);
    }
}
