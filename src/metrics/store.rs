//! How the store of rate limits is doing.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of a store that processes share.
#[derive(Debug)]
pub struct StoreMetrics {
    requests: Family<Labels, Counter>,
    duration: Histogram,
    waiting: Gauge,
    connected: Gauge,
    unanswered: Family<UnansweredLabels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    outcome: StoreOutcome,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct UnansweredLabels {
    action: OnStoreError,
}

/// What was done about limits for which the store had no answer.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum OnStoreError {
    /// They were counted in memory.
    Local,
    /// The request was refused.
    Deny,
}

/// What became of a request to the store.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum StoreOutcome {
    Admitted,
    Refused,
    /// As many as may were waiting.
    Busy,
    TimedOut,
    Disconnected,
    /// It has answered with an error.
    Failed,
}

impl StoreMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("store_requests", "Requests to the store of rate limits, by outcome", requests.clone());
        // 50 µs to 1.6 s: a round trip in one data centre takes some hundred microseconds.
        let duration = Histogram::new(exponential_buckets(50e-6, 2.0, 16));
        let help = "Time until the store of rate limits has answered, or was given up";
        registry.register_with_unit("store_duration", help, Unit::Seconds, duration.clone());
        let waiting = Gauge::default();
        let help = "Requests that are waiting for the store of rate limits";
        registry.register("store_waiting", help, waiting.clone());
        let connected = Gauge::default();
        let help = "1 if all servers of the store of rate limits are connected";
        registry.register("store_connected", help, connected.clone());
        let unanswered = Family::default();
        let help = "Judgements without an answer from the store of rate limits, by what was done instead";
        registry.register("store_unanswered", help, unanswered.clone());
        Self { requests, duration, waiting, connected, unanswered }
    }

    /// Counts one request.
    pub fn answered(&self, outcome: StoreOutcome, took: Duration) {
        self.requests.get_or_create(&Labels { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts one judgement without an answer.
    pub fn unanswered(&self, action: OnStoreError) {
        self.unanswered.get_or_create(&UnansweredLabels { action }).inc();
    }

    /// How many requests are waiting, and whether all servers are connected.
    pub fn set(&self, waiting: usize, connected: bool) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.connected.set(connected.into());
    }
}
