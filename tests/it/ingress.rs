//! Every proxy in front of the real engine: one table of cases for all dialects and all real proxies, what clients
//! lie about, and what becomes of requests when nothing judges them.

mod addresses;
mod attacks;
mod bodies;
pub(crate) mod cases;
mod dialects;
mod failures;
mod http2;
mod processes;
mod proxies;
mod site;
mod slow;
mod store;
mod tls;
mod websocket;
pub(crate) mod world;
