//! How a key is used, as counted by one process or by all of them: two counts make one by [`Usage::merge`], in
//! whatever order they come.
//!
//! Days and months are of UTC, and those of the last request that was let in. A clock that is set back takes
//! nothing from what was counted in all.

mod endpoints;
pub mod object;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use smallvec::SmallVec;

pub use endpoints::{Endpoint, Endpoints, MOST_ENDPOINTS};

/// Versions whose last use is remembered: as many as a key has, the newest.
pub const MOST_VERSIONS: usize = 4;

/// Codes of refusals that are told apart, the first by name: an API can make up names of its own.
const MOST_CODES: usize = 64;

const SECONDS_PER_DAY: i64 = 86_400;

/// What was counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// The last request that was let in.
    pub last: Option<LastUse>,
    pub requests: Requests,
    /// The last use of each version, the newest version first.
    pub versions: SmallVec<[VersionUse; 1]>,
    /// The routes that most requests took.
    pub endpoints: Endpoints,
    /// Refused requests by code.
    pub denied: BTreeMap<String, u64>,
}

/// When and from where.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LastUse {
    pub at: Timestamp,
    /// `None`: the proxy could not tell.
    pub from: Option<IpAddr>,
}

/// Requests that were let in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Requests {
    /// On the day of the last one.
    pub today: u64,
    /// In the month of the last one.
    pub this_month: u64,
    pub total: u64,
}

/// The last use of one version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VersionUse {
    pub number: u32,
    pub at: Timestamp,
}

impl Usage {
    /// Counts one request that was let in with that version of the key, by that route where it took one.
    pub fn allowed(&mut self, request: LastUse, version: u32, route: Option<&Arc<str>>) {
        self.add(request, Requests { today: 1, this_month: 1, total: 1 });
        self.used(VersionUse { number: version, at: request.at });
        if let Some(route) = route {
            self.endpoints.count(route);
        }
    }

    /// Counts one request that was refused with that code, as callers are told it.
    pub fn denied(&mut self, code: &str) {
        match self.denied.get_mut(code) {
            Some(count) => *count = count.saturating_add(1),
            None => self.refused(code, 1),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none() && self.requests.total == 0 && self.denied.is_empty()
    }

    /// Adds what somebody else has counted. It makes no difference who adds whose.
    pub fn merge(&mut self, other: &Self) {
        match other.last {
            Some(last) => self.add(last, other.requests),
            None => self.requests.total = self.requests.total.saturating_add(other.requests.total),
        }
        other.versions.iter().for_each(|version| self.used(*version));
        self.endpoints.merge(&other.endpoints);
        other.denied.iter().for_each(|(code, count)| self.refused(code, *count));
    }

    /// What was counted so far; counting begins anew, in the same memory.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let taken = self.clone();
        self.last = None;
        self.requests = Requests::default();
        self.versions.clear();
        self.endpoints.clear();
        self.denied.clear();
        taken
    }

    /// Adds requests of which the last was that one.
    fn add(&mut self, last: LastUse, requests: Requests) {
        let Some(before) = self.last else {
            self.last = Some(last);
            let total = self.requests.total.saturating_add(requests.total);
            self.requests = Requests { total, ..requests };
            return;
        };
        self.last = Some(before.max(last));
        let total = self.requests.total.saturating_add(requests.total);
        let (today, this_month) = (self.requests.today, self.requests.this_month);
        self.requests = if day(before.at) == day(last.at) {
            Requests {
                today: today.saturating_add(requests.today),
                this_month: this_month.saturating_add(requests.this_month),
                total,
            }
        } else {
            let (newer, older) =
                if before.at < last.at { (requests, this_month) } else { (self.requests, requests.this_month) };
            let older = if month(before.at) == month(last.at) { older } else { 0 };
            Requests { today: newer.today, this_month: newer.this_month.saturating_add(older), total }
        };
    }

    fn refused(&mut self, code: &str, count: u64) {
        let known = self.denied.entry(code.to_owned()).or_default();
        *known = known.saturating_add(count);
        if self.denied.len() > MOST_CODES {
            self.denied.pop_last();
        }
    }

    fn used(&mut self, version: VersionUse) {
        if let Some(known) = self.versions.iter_mut().find(|known| known.number == version.number) {
            known.at = known.at.max(version.at);
        } else {
            let at = self.versions.partition_point(|known| known.number > version.number);
            self.versions.insert(at, version);
            self.versions.truncate(MOST_VERSIONS);
        }
    }
}

fn day(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS_PER_DAY)
}

fn month(at: Timestamp) -> (i16, i8) {
    let date = TimeZone::UTC.to_datetime(at);
    (date.year(), date.month())
}

#[cfg(test)]
mod tests;
