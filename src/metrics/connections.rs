//! Who connects to the auth port.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of connections to the auth port.
#[derive(Clone, Debug, Default)]
pub struct Connections {
    open: Gauge,
    turned_away: Family<Labels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    reason: TurnedAway,
}

/// Why nothing is judged for whoever connected.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum TurnedAway {
    /// Its address is none of those that may ask.
    Peer,
    /// As many connections as may be are open.
    Full,
    /// The head of a request took too long to arrive.
    Slow,
}

impl Connections {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("connections", "Connections to the auth port that are open", metrics.open.clone());
        let help = "Connections to the auth port that were closed, and requests from addresses that may not ask";
        registry.register("turned_away", help, metrics.turned_away.clone());
        metrics
    }

    /// Counts one more that is open.
    pub fn opened(&self) {
        self.open.inc();
    }

    /// Counts one less that is open.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// Counts one for whom nothing is judged.
    pub fn turned_away(&self, reason: TurnedAway) {
        self.turned_away.get_or_create(&Labels { reason }).inc();
    }
}
