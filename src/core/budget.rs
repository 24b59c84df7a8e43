//! Quotas and credits: how much a key or an owner may spend, and when it comes back.

pub mod calendar;
pub mod refill;

use std::sync::Arc;

/// A named count of requests that a calendar period admits.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Quota {
    pub name: Arc<str>,
    /// Requests that one period admits; at least 1.
    pub limit: u64,
    pub period: Period,
}

/// A calendar period in UTC.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Period {
    Day,
    Month,
}

/// A balance that requests spend: granted + refilled − spent.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Credits {
    /// Total granted in this epoch.
    pub granted: u64,
    /// The balance of a later epoch owes nothing to that of an earlier one.
    pub epoch: u64,
    pub refill: Option<Refill>,
}

/// Sets the balance to an amount, at midnight UTC, when it is below.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Refill {
    pub interval: Interval,
    /// At least 1.
    pub amount: u64,
}

/// How often a balance is refilled.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Interval {
    Daily,
    /// On that day of the month, 1 to 31, or on the month's last day if it is shorter.
    Monthly {
        day: u8,
    },
}
