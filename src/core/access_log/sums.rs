//! Lines added up, so that a key is reported once however often it was used.

use std::collections::BTreeMap;

use super::line::Entry;
use crate::core::report::{Line, MOST_BYTES, MOST_LINES};
use crate::core::usage::{Bytes, Day};

/// What went through with each key on each day: as many as a batch holds.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Sums(BTreeMap<(String, Day), Bytes>);

/// There is no room for another key, or for so many bytes, until what is there was taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

impl Sums {
    /// Adds a line.
    ///
    /// # Errors
    /// There is no room; nothing was added.
    pub fn add(&mut self, entry: Entry) -> Result<(), Full> {
        let Entry { key, day, bytes } = entry;
        let full = self.0.len() >= MOST_LINES;
        let key = (key, day);
        match self.0.get_mut(&key) {
            Some(sum) => {
                let more = sum.plus(bytes);
                if more.inward.max(more.outward) > MOST_BYTES {
                    return Err(Full);
                }
                *sum = more;
            }
            None if full => return Err(Full),
            None => drop(self.0.insert(key, bytes)),
        }
        Ok(())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What there is, to be reported; adding up begins anew.
    #[must_use]
    pub fn take(&mut self) -> Vec<Line> {
        let sums = std::mem::take(&mut self.0).into_iter();
        sums.map(|((key, day), bytes)| Line { key, bytes, day: Some(day) }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, day: &str, inward: u64, outward: u64) -> Entry {
        Entry { key: key.into(), day: day.parse().unwrap(), bytes: Bytes { inward, outward } }
    }

    #[test]
    fn what_does_not_fit_into_a_batch_is_left_out() {
        let mut sums = Sums::default();
        for number in 0..MOST_LINES {
            assert_eq!(sums.add(entry(&format!("key_{number}"), "2026-11-22", 1, 1)), Ok(()));
        }
        let before = sums.clone();
        assert_eq!(sums.add(entry("key_one_more", "2026-11-22", 1, 1)), Err(Full));
        assert_eq!(sums.add(entry("key_1", "2026-11-23", 1, 1)), Err(Full));
        assert_eq!(sums.add(entry("key_1", "2026-11-22", 0, MOST_BYTES)), Err(Full));
        assert_eq!(sums, before);
        assert_eq!(sums.add(entry("key_1", "2026-11-22", 1, 1)), Ok(()));
        assert_eq!(sums.take().len(), MOST_LINES);
        assert!(sums.is_empty());
    }

    #[test]
    fn the_lines_of_a_key_and_a_day_make_one() {
        let mut sums = Sums::default();
        for (key, day, inward, outward) in [
            ("key_b", "2026-11-22", 1, 10),
            ("key_a", "2026-11-22", 2, 20),
            ("key_b", "2026-11-22", 3, 30),
            ("key_b", "2026-11-23", 4, 40),
        ] {
            sums.add(entry(key, day, inward, outward)).unwrap();
        }
        let line = |key: &str, day: &str, inward, outward| {
            let Entry { key, day, bytes } = entry(key, day, inward, outward);
            Line { key, bytes, day: Some(day) }
        };
        let expected = [
            line("key_a", "2026-11-22", 2, 20),
            line("key_b", "2026-11-22", 4, 40),
            line("key_b", "2026-11-23", 4, 40),
        ];
        assert_eq!(sums.take(), expected);
    }
}
