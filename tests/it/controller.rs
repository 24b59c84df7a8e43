//! The controller against a real API server, in a namespace of each test's own.

mod faults;
mod lifecycle;
mod mistakes;
mod rotation;
mod secrets;
pub(crate) mod world;
