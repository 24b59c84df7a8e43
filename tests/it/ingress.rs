//! Every proxy in front of the real engine: one table of cases for all dialects and all real proxies, what clients
//! lie about, and what becomes of requests when nothing judges them.

mod attacks;
pub(crate) mod cases;
mod dialects;
mod failures;
mod proxies;
pub(crate) mod world;
