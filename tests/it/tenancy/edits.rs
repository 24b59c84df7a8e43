//! Edits of a key that is in use. With the controller stopped the verifier refuses by itself.

use serde_json::{Value, json};

use super::world::{HOME, KEY, WRITE, World, path};

/// What the tenant changes, and the reason that the key is then refused for.
fn edits() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("every scope", json!({"scopes": ["*"]}), "ScopeNotAllowed"),
        ("a wider pattern", json!({"scopes": ["transcripts*"]}), "ScopeNotAllowed"),
        ("one scope more", json!({"scopes": ["transcripts:write", "admin"]}), "ScopeNotAllowed"),
        ("a larger tier", json!({"tier": "enterprise"}), "TierNotAllowed"),
        ("a tier of its own", json!({"tier": "own"}), "TierNotAllowed"),
        ("a larger role", json!({"roles": ["reader", "admin"]}), "RoleNotAllowed"),
        ("a role of its own", json!({"roles": ["root"]}), "RoleNotAllowed"),
        ("somebody's owner", json!({"owner": "neighbour"}), "OwnerNotAllowed"),
        ("an owner that nobody declared", json!({"owner": "undeclared"}), "OwnerNotAllowed"),
    ]
}

/// As the samples have it.
fn as_granted() -> Value {
    json!({"scopes": ["transcripts:write"], "tier": "pro", "roles": ["reader"], "owner": "acme-1"})
}

pub(super) async fn check_with_the_controller(world: &World) {
    for (what, edit, reason) in edits() {
        change(world, edit).await;
        let key = world.judged("ApiKey", HOME, KEY, &[reason]).await;
        assert_eq!(key["status"]["state"], "Rejected", "{what}");
        change(world, as_granted()).await;
        world.judged("ApiKey", HOME, KEY, &["Accepted"]).await;
    }
    world.expect_usable("after the edits").await;
}

pub(super) async fn check_without_the_controller(world: &World) {
    let string = world.string(HOME, KEY).await;
    for (what, edit, _) in edits() {
        change(world, edit).await;
        world.becomes(what, &string, WRITE, "NOT_ACCEPTED").await;
        change(world, as_granted()).await;
        world.becomes(what, &string, WRITE, "OK").await;
    }
}

async fn change(world: &World, spec: Value) {
    world.tenant.must("PATCH", &path("ApiKey", HOME, KEY), Some(&json!({"spec": spec}))).await;
}
