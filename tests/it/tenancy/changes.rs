//! What the platform changes under a key that is in use: what is lost is refused, and what is regained is let in again.

use serde_json::{Value, json};

use super::world::{HOME, KEY, WRITE, World, path};

pub(super) async fn check(world: &World) {
    labels(world).await;
    recreated_api(world).await;
    recreated_owner(world).await;
    roles_and_tiers(world).await;
    rivals(world).await;
}

/// Waits until controller and verifier both refuse the tenant's key.
async fn refused(world: &World, what: &str, reason: &str) {
    let string = world.string(HOME, KEY).await;
    world.becomes(what, &string, WRITE, "NOT_ACCEPTED").await;
    world.judged("ApiKey", HOME, KEY, &[reason]).await;
}

/// Waits until both accept it again, with the string that it had.
async fn accepted_again(world: &World, what: &str) {
    world.judged("ApiKey", HOME, KEY, &["Accepted"]).await;
    world.expect_usable(what).await;
}

async fn labels(world: &World) {
    let label = async |team: Value| {
        let patch = json!({"metadata": {"labels": {"team": team}}});
        world.platform.must("PATCH", "/api/v1/namespaces/team-a", Some(&patch)).await;
    };
    for (what, team) in [("a label that is gone", Value::Null), ("a label of another team", json!("b"))] {
        label(team).await;
        refused(world, what, "NamespaceNotAllowed").await;
        label(json!("a")).await;
        accepted_again(world, what).await;
    }
}

/// The same name says nothing: what counts is what the API grants now.
async fn recreated_api(world: &World) {
    let what = "an API that was made anew";
    let api = path("ProtectedApi", "speech", "transcripts");
    let before = world.platform.must("GET", &api, None).await["spec"].clone();
    let recreate = async |grants: Value| {
        world.platform.delete(&api).await;
        let mut spec = before.clone();
        spec["grants"] = grants;
        world.platform.create("ProtectedApi", "speech", "transcripts", spec).await;
    };
    recreate(json!([])).await;
    refused(world, what, "NamespaceNotAllowed").await;
    let mut less = before["grants"].clone();
    less[0]["scopes"] = json!(["transcripts:read"]);
    recreate(less).await;
    refused(world, what, "ScopeNotAllowed").await;
    recreate(before["grants"].clone()).await;
    accepted_again(world, what).await;
}

/// Somebody else makes an owner of the same name, for others.
async fn recreated_owner(world: &World) {
    let what = "an owner that was made anew";
    let owner = path("ApiKeyOwner", "speech", "acme");
    let recreate = async |spec: Value| {
        world.platform.delete(&owner).await;
        world.platform.create("ApiKeyOwner", "speech", "acme", spec).await;
    };
    recreate(json!({"externalId": "acme-1", "namespaces": ["team-b"]})).await;
    refused(world, what, "OwnerNotAllowed").await;
    recreate(json!({"externalId": "acme-2", "namespaces": [HOME]})).await;
    refused(world, what, "OwnerNotAllowed").await;
    // One key is as many as there may be; it is there already, and it counts whichever namespace the next one is in.
    recreate(json!({"externalId": "acme-1", "namespaces": [HOME], "maxActiveKeys": 1})).await;
    accepted_again(world, what).await;
    world.tenant.create_key("second", &json!({"owner": "acme-1", "tier": "pro"})).await;
    let at_home = json!({"apiRef": {"name": "transcripts"}, "owner": "acme-1"});
    world.platform.create("ApiKey", "speech", "second", at_home).await;
    for namespace in [HOME, "speech"] {
        world.judged("ApiKey", namespace, "second", &["KeyLimitReached"]).await;
        world.platform.delete(&path("ApiKey", namespace, "second")).await;
    }
    recreate(json!({"externalId": "acme-1", "namespaces": [HOME]})).await;
    accepted_again(world, what).await;
}

/// Granted, but not there any more: what the tenant has by the same names does not stand in.
async fn roles_and_tiers(world: &World) {
    for (kind, name, reason) in [("ApiKeyRole", "reader", "RoleNotFound"), ("ApiKeyTier", "pro", "TierNotFound")] {
        let object = path(kind, "speech", name);
        let spec = world.platform.must("GET", &object, None).await["spec"].clone();
        world.platform.delete(&object).await;
        refused(world, name, reason).await;
        world.platform.create(kind, "speech", name, spec).await;
        accepted_again(world, name).await;
    }
}

/// Two owners with one external id: when the elder goes, the other one is told.
async fn rivals(world: &World) {
    world.judged("ApiKeyOwner", "speech", "latecomer", &["ExternalIdTaken"]).await;
    world.platform.delete(&path("ApiKeyOwner", "speech", "neighbour")).await;
    world.judged("ApiKeyOwner", "speech", "latecomer", &["Accepted"]).await;
    world.platform.delete(&path("ApiKeyOwner", "speech", "latecomer")).await;
    world.platform.create("ApiKeyOwner", "speech", "neighbour", json!({"namespaces": ["team-b"]})).await;
    world.judged("ApiKey", "team-b", "ci", &["Accepted"]).await;
}
