//! Rules of ApiKeyTier.

use serde_json::json;

use super::rule::{RuleCases, check, rule};
use super::shared;

const KIND: &str = "ApiKeyTier";

pub(super) fn rules() -> Vec<RuleCases> {
    let mut rules = shared::limits(KIND);
    rules.extend(shared::schedule(KIND, "spec.rotation", |rotation| json!({"rotation": rotation})));
    rules.push(
        rule(KIND, "spec.maxLifetime", "is shorter than 1m")
            .accepts(json!({"maxLifetime": "365d"}))
            .refuses(json!({"maxLifetime": "30s"})),
    );
    rules.push(shared::duration(KIND, "spec.maxLifetime", |life| json!({"maxLifetime": life})));
    rules
}

#[tokio::test]
async fn keeps_every_rule() {
    check(KIND, rules()).await;
}
