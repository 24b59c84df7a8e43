//! What becomes of spans of traces.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The metrics of traces.
#[derive(Debug)]
pub struct SpanMetrics {
    spans: Family<Labels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    outcome: SpanOutcome,
}

/// What became of a span.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum SpanOutcome {
    /// The collector has it.
    Exported,
    /// The collector did not take it.
    Failed,
    /// As many as may were waiting for the collector.
    Dropped,
}

impl SpanMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let spans = Family::default();
        registry.register("spans", "Spans of requests that are traced, by what became of them", spans.clone());
        Self { spans }
    }

    /// Counts spans.
    pub fn add(&self, outcome: SpanOutcome, count: usize) {
        self.spans.get_or_create(&Labels { outcome }).inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
