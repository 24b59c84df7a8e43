//! Bytes that went through a proxy with a key. Proxies report them some time after the requests, so that they have
//! a day of their own.

use super::day::Day;
use super::sums::{Amount, Sums};

/// The highest sum that is kept; the API server's numbers have a sign.
const MOST: u64 = i64::MAX.unsigned_abs();

/// Bytes in both directions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Bytes {
    /// From clients.
    pub inward: u64,
    /// To clients.
    pub outward: u64,
}

/// Bytes as they were reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bandwidth {
    /// The day of the last request that was reported.
    pub day: Day,
    pub bytes: Sums<Bytes>,
}

impl Amount for Bytes {
    fn plus(self, other: Self) -> Self {
        let sum = |own: u64, others: u64| own.saturating_add(others).min(MOST);
        Self { inward: sum(self.inward, other.inward), outward: sum(self.outward, other.outward) }
    }
}

impl Bytes {
    /// The sum, or the highest there is.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Amount::plus(self, other)
    }
}

impl Bandwidth {
    /// What was reported of one day.
    #[must_use]
    pub fn of(day: Day, bytes: Bytes) -> Self {
        // Whatever comes in, what is kept can be stored.
        Self { day, bytes: Sums::of(bytes.plus(Bytes::default())) }
    }

    /// Adds what was reported to somebody else.
    pub(super) fn merge(&mut self, other: &Self) {
        self.bytes.add(self.day, &other.bytes, other.day);
        self.day = self.day.max(other.day);
    }
}
