//! Rules of ApiKeyRole.

use serde_json::json;

use super::rule::{RuleCases, check};
use super::shared;

const KIND: &str = "ApiKeyRole";

pub(super) fn rules() -> Vec<RuleCases> {
    vec![shared::scopes(KIND, "spec.scopes[]", |scopes| json!({"scopes": scopes}))]
}

#[tokio::test]
async fn keeps_every_rule() {
    check(KIND, rules()).await;
}
