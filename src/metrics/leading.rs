//! What the controller that leads is doing, and how the keys are.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The metrics of a controller.
#[derive(Debug)]
pub struct LeadingMetrics {
    leads: Gauge,
    reconciles: Family<OutcomeLabels, Counter>,
    duration: Histogram,
    keys: Family<StateLabels, Gauge>,
    overdue: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    outcome: Reconciled,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StateLabels {
    state: String,
}

/// What became of an attempt to look after a key.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Reconciled {
    Done,
    /// Tried again.
    Failed,
}

impl LeadingMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let leads = Gauge::default();
        registry.register("leading", "1 if the controller of this process leads", leads.clone());
        let reconciles = Family::default();
        registry.register("reconciles", "Attempts to look after a key, by outcome", reconciles.clone());
        // 1 ms to 16 s: a key that is at rest takes no request, a rotation several.
        let duration = Histogram::new(exponential_buckets(1e-3, 4.0, 8));
        registry.register_with_unit(
            "reconcile_duration",
            "Time spent looking after a key",
            Unit::Seconds,
            duration.clone(),
        );
        let keys = Family::default();
        registry.register("keys", "Keys, by status.state", keys.clone());
        let overdue = Gauge::default();
        let help = "Keys whose rotation should have taken place five minutes ago or earlier";
        registry.register("rotations_overdue", help, overdue.clone());
        Self { leads, reconciles, duration, keys, overdue }
    }

    /// Whether the controller leads.
    pub fn set_leads(&self, leads: bool) {
        self.leads.set(leads.into());
    }

    /// Counts one attempt.
    pub fn reconciled(&self, outcome: Reconciled, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabels { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// How many keys are in a state.
    pub fn set_keys(&self, state: &str, count: usize) {
        let labels = StateLabels { state: state.to_owned() };
        self.keys.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many keys should have been rotated already.
    pub fn set_overdue(&self, count: usize) {
        self.overdue.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
