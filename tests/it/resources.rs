//! The schemas and CEL rules of `crds/`, tried on a real API server.

mod apikey;
mod bounds;
mod coverage;
mod explain;
mod owner;
mod protectedapi;
mod role;
mod rule;
mod samples;
mod server;
mod shared;
mod tier;

use rule::RuleCases;

/// Every rule with its cases, kind by kind.
fn all_rules() -> Vec<RuleCases> {
    [apikey::rules(), protectedapi::rules(), tier::rules(), role::rules(), owner::rules()]
        .into_iter()
        .flatten()
        .collect()
}
