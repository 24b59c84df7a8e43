//! Rate limits that are counted outside of this process, where all processes count them together: what one request
//! asks of such a store, and what it is answered. Who keeps them is not known here.

use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;
use smallvec::SmallVec;

use crate::core::ratelimit::{Cells, Rule};

/// Counts rate limits for several processes.
pub trait LimitStore: Send + Sync {
    /// Charges all of the request's limits, or none. The future waits for a short time at most, and dropping it
    /// leaves open whether anything was charged.
    ///
    /// # Errors
    /// What is charged is not known, and nothing is known of the limits.
    fn charge(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>>;
}

/// What one request charges, in one round trip.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreRequest {
    /// Whose limits these are: the uid of an owner or a key. Limits of one tag are kept in one place, so that they
    /// can be charged together; the same limit must always come with the same tag.
    pub tag: Arc<str>,
    /// Each limit once.
    pub charges: SmallVec<[StoreCharge; 4]>,
    /// `false` only looks: nothing is charged, but the answer is as if it were to be.
    pub commit: bool,
}

/// What a request charges to one limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreCharge {
    /// Which limit of the tag's, such as `k:requests`. The window need not be in it: with another window, counting
    /// starts anew.
    pub key: String,
    pub rule: Rule,
    /// 0 only looks at this limit, which refuses all the same when it is overdrawn.
    pub cost: u32,
}

/// What a store says to a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreAnswer {
    /// Whether every limit had room for its cost. If so, and if the request was to commit, all are charged.
    pub admitted: bool,
    /// When it was decided, by the store's clock: what [`Cells::charge`] and [`Cells::standing`] are to be asked with.
    pub at: Timestamp,
    /// What is charged now, in the order of the request's charges.
    pub cells: SmallVec<[Cells; 4]>,
}

/// Why a store has not answered.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("as many requests as may are waiting for the store of rate limits")]
    Busy,
    #[error("the store of rate limits has not answered in time")]
    TimedOut,
    #[error("the store of rate limits is not connected")]
    Disconnected,
    #[error("the store of rate limits has answered with an error")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What to do with a request for which the store has no answer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnStoreError {
    /// Count in this process alone, with its share of every limit.
    #[default]
    Local,
    /// Refuse it.
    Deny,
}
