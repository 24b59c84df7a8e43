//! Reservations of quotas and credits.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What becomes of quotas and credits between this process and their ledgers.
#[derive(Debug, Default)]
pub struct Reservations {
    attempts: Family<Labels, Counter>,
    lost: Counter,
    waiting: Gauge,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    purpose: Purpose,
    outcome: Reservation,
}

/// What a ledger was to be changed for.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Purpose {
    /// Requests wait.
    Request,
    /// The first chunk of the period to come.
    NextPeriod,
    /// What nobody spends here is given back.
    GiveBack,
}

/// What became of an attempt to change a ledger.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Reservation {
    Written,
    /// There is not enough left, or nothing to be done.
    Nothing,
    /// Somebody else was faster; tried again.
    Conflict,
    /// There is no ApiKeyUsage.
    Missing,
    /// It is not the one that the key or owner names.
    Replaced,
    /// The API server did not answer, or not with yes.
    Failed,
    /// It may be written or not, and is not written again.
    GivenUp,
    /// As much was being written as may.
    Busy,
}

impl Reservations {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let help = "Attempts to change a ledger of quotas and credits, by purpose and outcome";
        registry.register("reservations", help, all.attempts.clone());
        let help =
            "Requests of quotas, and credits, that were or may have been handed out to this process and can't be spent";
        registry.register("reservations_lost", help, all.lost.clone());
        let help = "Keys and owners of which requests wait for quotas or credits";
        registry.register("reservations_waiting", help, all.waiting.clone());
        all
    }

    pub fn attempt(&self, purpose: Purpose, outcome: Reservation) {
        self.attempts.get_or_create(&Labels { purpose, outcome }).inc();
    }

    /// That much was handed out, or may have been, and is not spent by anybody.
    pub fn lost(&self, amount: u64) {
        self.lost.inc_by(amount);
    }

    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
    }
}
