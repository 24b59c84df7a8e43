//! Judging requests: everything that a decision needs is in memory, and none of it knows where it came from.
//!
//! ```text
//! request ─► engine ─► gate          may anything be said at all?
//!              │
//!              ├─────► index         API by name, key by digest; read without a lock
//!              │         └─► entry ─► terms    what many keys share: API, tier, scopes, allowance, owner
//!              │
//!              ├─► transaction ─► account      of the key and of its owner, each under one short lock:
//!              │                    ├─ limits  what was charged to rate limits
//!              │                    └─ purse   what is held of quotas and credits
//!              └─────► counters ─► used        usage, and which keys' waits to be written down
//! ```
//!
//! Proxies that tell afterwards what went through them have it counted by [`reports`]. What is not in memory is asked
//! for by whoever asked the engine: [`spender`] has quotas and credits handed out, [`store`] counts rate limits for
//! several processes.

pub mod allowance;
pub mod counters;
pub mod engine;
pub mod entry;
pub mod gate;
pub mod index;
pub mod limits;
pub mod reports;
pub mod request;
pub mod spender;
pub mod store;
pub mod used;

mod account;
mod common;
mod credentials;
mod holders;
mod ids;
mod lookup;
mod owners;
mod parameters;
mod purse;
mod resource;
mod terms;
mod transaction;

#[cfg(test)]
mod fixtures;
