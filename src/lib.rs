//! Keyturn owns the whole life of an API key on Kubernetes: it mints the key into a Secret, rotates it with
//! overlap, revokes it, and judges every request that an ingress asks about.
//!
//! ```text
//!              core                   decisions; pure: time and entropy are arguments
//!             /    \
//!      resources    verify            custom resources, parsed into core once | digest -> verdict, in memory
//!       /     \     /    \
//! controller   feed   store   transport   reconciles, writes | fills the index | shared counters | proxies ask
//!        \       |     /     /
//!              cli                    composes the processes
//! ```
//!
//! `shipper`, a process of its own beside a proxy, stands on core alone. An arrow only ever points upwards; `tests/it/architecture.rs` reads the imports and fails otherwise.

pub mod call;
pub mod cli;
pub mod clock;
pub mod controller;
pub mod core;
pub mod entropy;
pub mod feed;
pub mod metrics;
pub mod resources;
pub mod seal;
pub mod secret_file;
pub mod shipper;
pub mod spans;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod transport;
pub mod verify;
