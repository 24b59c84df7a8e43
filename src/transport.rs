//! How proxies ask: the auth port translates HTTP to the engine's request and its verdict to HTTP. It decides
//! nothing, and whatever goes wrong here is a refusal.
//!
//! [`server`] carries connections, [`health`] is the other port. Inside, `target` reads what is asked, `dialect`
//! how the proxy describes the original request, `fields` and `problem` write the answer.

mod dialect;
mod fields;
pub mod health;
mod problem;
pub mod server;
mod target;
