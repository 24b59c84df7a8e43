//! The tests that need more than one module: a real API server, real proxies, real processes. One binary, so
//! that it is linked once. `make test` starts what they need; `tests/cluster/run.sh cargo test --test it NAME`
//! runs one of them.
#![cfg(test)]

mod acceptance;
mod architecture;
mod audit;
mod chart;
mod controller;
mod decisions;
mod delivery;
mod docs;
mod enforced;
mod envoy_grpc;
mod harness;
mod ingress;
mod ledger;
mod limits;
mod manifests;
mod nginx;
mod observability;
mod rbac;
mod reports;
mod resource_access;
mod resources;
mod store;
mod support;
mod tenancy;
mod traces;
mod usage;
mod verifier;
