//! Quotas and credits over several verifiers: exactly what there is, or less, whatever happens to whom.

mod crossing;
mod faults;
mod lost;
mod low;
mod spending;
mod tiers;
mod world;
