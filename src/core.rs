//! The domain, pure: no Kubernetes, no HTTP, no runtime, no files, no clock, no random numbers. Whatever
//! decides something lives here as a function of its arguments, so that a table of cases can test it.

pub mod acceptance;
pub mod access_log;
pub mod address;
pub mod audit;
pub mod budget;
pub mod check;
mod claimants;
pub mod decision;
pub mod denials;
pub mod digest;
pub mod duration;
pub mod enforced;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod forwarded;
pub mod glob;
pub mod grant;
pub mod handover;
pub mod hosts;
pub mod instant;
pub mod key;
pub mod leadership;
pub mod ledger;
pub mod lifecycle;
pub mod owner;
pub mod path;
pub mod pepper;
pub mod places;
pub mod pointer;
pub mod policy;
pub mod query;
pub mod ratelimit;
pub mod report;
pub mod resource;
pub mod rotation;
pub mod route;
pub mod scope;
pub mod selector;
pub mod skew;
pub mod source;
pub mod usage;
pub mod verdict;
