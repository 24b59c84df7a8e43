//! Quotas and credits of which little is left.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// What a controller knows of ledgers.
#[derive(Debug)]
pub struct LowMetrics {
    budgets: Family<Labels, Gauge>,
    waiting: Gauge,
}

/// Who has quotas or credits.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub enum Holder {
    Key,
    Owner,
}

/// What they have.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum BudgetKind {
    Quota,
    Credits,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    holder: Holder,
    kind: BudgetKind,
}

impl LowMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let (budgets, waiting) = (Family::default(), Gauge::default());
        let help = "Keys and owners of which was told that little or nothing is left, and that got no more since";
        registry.register("low_budgets", help, budgets.clone());
        let help = "Keys and owners whose ledgers have changed and are to be read";
        registry.register("ledgers_waiting", help, waiting.clone());
        Self { budgets, waiting }
    }

    /// Of how many little is left.
    pub fn set(&self, holder: Holder, kind: BudgetKind, count: usize) {
        self.budgets.get_or_create(&Labels { holder, kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// How many are to be looked at.
    pub fn set_waiting(&self, count: usize) {
        self.waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
