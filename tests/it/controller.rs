//! The controller against a real API server, in a namespace of each test's own.

mod audit;
mod duplicates;
mod enforced;
mod faults;
mod hosts;
mod import;
mod judge;
mod lifecycle;
mod lifetime;
mod low;
mod mistakes;
mod notices;
mod owners;
mod peppers;
mod places;
mod restore;
mod rotation;
mod secrets;
mod usage;
pub(crate) mod world;
