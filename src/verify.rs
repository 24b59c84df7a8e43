//! Judging requests: everything that a decision needs is in memory, and none of it knows where it came from.
//!
//! ```text
//! request ─► engine ─► gate          may anything be said at all?
//!              │
//!              ├─────► index         API by name, key by digest; read without a lock
//!              │         └─► entry ─► terms    what many keys share: API, tier, scopes, limits
//!              │
//!              └─────► counters      limits and usage of one key under one short lock
//!                        └─► used    which keys' usage waits to be written down
//!
//! store: what a request charges to limits that several processes count together
//! ```

pub mod counters;
pub mod engine;
pub mod entry;
pub mod gate;
pub mod index;
pub mod limits;
pub mod request;
pub mod store;
pub mod used;

mod credentials;
mod holders;
mod lookup;
mod parameters;
mod resource;
mod terms;

#[cfg(test)]
mod fixtures;
