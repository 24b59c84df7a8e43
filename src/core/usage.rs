//! How a key is used, as counted by one process or by all of them: two counts make one by [`Usage::merge`], in
//! whatever order they come.
//!
//! Days and months are of UTC, and those of the last request that was let in; those of [`Bandwidth`] are of the last
//! one that a proxy has reported. A clock that is set back takes nothing from what was counted in all.

mod bandwidth;
mod day;
mod endpoints;
pub mod object;
mod sums;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use smallvec::SmallVec;

pub use bandwidth::{Bandwidth, Bytes};
pub use day::{Day, DayError};
pub use endpoints::{Endpoint, Endpoints, MOST_ENDPOINTS};
pub use sums::Sums;

/// Versions whose last use is remembered: as many as a key has, the newest.
pub const MOST_VERSIONS: usize = 4;

/// Codes of refusals that are told apart, the first by name: an API can make up names of its own.
const MOST_CODES: usize = 64;

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
    /// What proxies have reported; boxed, since most report nothing.
    pub bandwidth: Option<Box<Bandwidth>>,
}

/// When and from where.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct LastUse {
    pub at: Timestamp,
    /// `None`: the proxy could not tell.
    pub from: Option<IpAddr>,
}

/// Requests that were let in.
pub type Requests = Sums<u64>;

/// The last use of one version.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VersionUse {
    pub number: u32,
    pub at: Timestamp,
}

impl Usage {
    /// Counts one request that was let in with that version of the key, by that route where it took one.
    pub fn allowed(&mut self, request: LastUse, version: u32, route: Option<&Arc<str>>) {
        self.add(request, Requests::of(1));
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

    /// Counts what a proxy has reported. That is no request: each was counted when it was judged.
    pub fn reported(&mut self, bandwidth: &Bandwidth) {
        match &mut self.bandwidth {
            Some(known) => known.merge(bandwidth),
            None => self.bandwidth = Some(Box::new(*bandwidth)),
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none() && self.requests.total == 0 && self.denied.is_empty() && self.bandwidth.is_none()
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
        other.bandwidth.iter().for_each(|bandwidth| self.reported(bandwidth));
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
        self.bandwidth = None;
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
        self.requests.add(Day::of(before.at), &requests, Day::of(last.at));
        self.last = Some(before.max(last));
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

#[cfg(test)]
mod tests;
