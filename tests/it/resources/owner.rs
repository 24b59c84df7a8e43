//! Rules of ApiKeyOwner.

use serde_json::json;

use super::rule::{RuleCases, check};
use super::shared;

const KIND: &str = "ApiKeyOwner";

pub(super) fn rules() -> Vec<RuleCases> {
    let mut rules = shared::limits(KIND);
    rules.push(shared::owner(KIND, "spec.externalId", |id| json!({"externalId": id})));
    rules.push(shared::object_name(KIND, "spec.tier", |tier| json!({"tier": tier})));
    rules.push(shared::object_names(KIND, "spec.namespaces[]", |names| json!({"namespaces": names})));
    rules
}

#[tokio::test]
async fn keeps_every_rule() {
    check(KIND, rules()).await;
}
