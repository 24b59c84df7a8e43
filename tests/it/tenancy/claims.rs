//! New keys that claim more than was granted: a condition says why, and nothing is minted.

use serde_json::{Value, json};

use super::world::{HOME, World, accepted, ours, path, secret_path};

/// What a new key of the tenant's claims, and what it is told.
struct Claim {
    what: &'static str,
    spec: Value,
    /// One of them is the reason.
    reasons: &'static [&'static str],
    /// Part of the message.
    says: &'static str,
}

fn claim(what: &'static str, spec: Value, reasons: &'static [&'static str], says: &'static str) -> Claim {
    Claim { what, spec, reasons, says }
}

pub(super) async fn check(world: &World) {
    for (kind, name, spec) in own_objects() {
        world.tenant.create(kind, HOME, name, spec).await;
    }
    let password =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"}, "data": {"password": "eA=="}});
    world.tenant.must("POST", &secret_path(HOME, ""), Some(&password)).await;

    let claims = claims();
    let name = |at: usize| format!("claim-{at}");
    for (at, claim) in claims.iter().enumerate() {
        world.tenant.create_key(&name(at), &claim.spec).await;
    }
    let mut failures = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let key = world.judged("ApiKey", HOME, &name(at), claim.reasons).await;
        let message = accepted(&key)["message"].as_str().unwrap_or_default();
        if !message.contains(claim.says) {
            failures.push(format!("{}: {message}", claim.what));
        }
        let minted = world.platform.send("GET", &secret_path(HOME, &name(at)), None).await.is_ok();
        if minted || key["status"].get("versions").is_some() {
            failures.push(format!("{}: there is a version: {}", claim.what, key["status"]));
        }
        world.tenant.delete(&path("ApiKey", HOME, &name(at))).await;
    }
    let after = world.tenant.must("GET", &secret_path(HOME, "database"), None).await;
    if after["data"] != password["data"] {
        failures.push("a Secret that is not Keyturn's was written".to_owned());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    strangers(world).await;
}

/// What the tenant has in its own namespace, under names that mean something beside the API.
fn own_objects() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("ApiKeyTier", "own", json!({})),
        ("ApiKeyTier", "enterprise", json!({})),
        ("ApiKeyRole", "root", json!({"scopes": ["*"]})),
        ("ApiKeyRole", "reader", json!({"scopes": ["*"]})),
        ("ApiKeyOwner", "neighbour", json!({"namespaces": [HOME]})),
        ("ApiKeyOwner", "undeclared", json!({"namespaces": [HOME]})),
    ]
}

fn claims() -> Vec<Claim> {
    let scopes = |what, scopes: &[&str]| {
        claim(what, json!({"scopes": scopes}), &["ScopeNotAllowed"], "set spec.scopes to what transcripts:* covers")
    };
    let tier = |what, tier: &str| {
        claim(
            what,
            json!({"tier": tier}),
            &["TierNotAllowed"],
            "is no tier of grant team-a of ProtectedApi speech/transcripts; set spec.tier to free, pro",
        )
    };
    let role = |what, role: &str| claim(what, json!({"roles": [role]}), &["RoleNotAllowed"], "it allows reader");
    let owner = |what, owner: &str| {
        claim(what, json!({"owner": owner}), &["OwnerNotAllowed"], "lists namespace team-a; leave the owner out")
    };
    let api = |what, name: &str, reasons, says| {
        claim(what, json!({"apiRef": {"name": name, "namespace": "speech"}}), reasons, says)
    };
    let bundle = |what, tier: &str, scope: &str, says| {
        let spec = json!({"apiRef": {"name": "bundles", "namespace": "speech"}, "tier": tier, "scopes": [scope]});
        claim(what, spec, &["ScopeNotAllowed"], says)
    };
    vec![
        scopes("every scope", &["*"]),
        scopes("every scope, twice", &["**"]),
        scopes("a pattern that begins as the granted one", &["transcripts*"]),
        scopes("a pattern that ends as a granted scope", &["*:read"]),
        scopes("a pattern around a granted one", &["*transcripts:*"]),
        scopes("another scope", &["admin"]),
        scopes("another scope among granted ones", &["transcripts:read", "transcripts:write", "billing:read"]),
        scopes("a scope in capitals", &["TRANSCRIPTS:read"]),
        tier("a larger tier", "enterprise"),
        tier("a tier that there is not", "gold"),
        tier("a tier of its own", "own"),
        role("a larger role", "admin"),
        role("a role that there is not", "owner"),
        role("a role of its own", "root"),
        owner("somebody's owner", "neighbour"),
        owner("an owner that nobody declared", "undeclared"),
        owner("an owner by the name of the object instead of its externalId", "acme"),
        api(
            "an API that grants nothing",
            "internal",
            &["NamespaceNotAllowed"],
            "no grant of ProtectedApi speech/internal selects namespace team-a",
        ),
        api(
            "an API that grants to others",
            "rich",
            &["NamespaceNotAllowed"],
            "no grant of ProtectedApi speech/rich selects namespace team-a",
        ),
        api("an API that there is not", "nowhere", &["ApiNotFound"], "there is no ProtectedApi speech/nowhere"),
        api(
            "the larger tier that the API's own keys have",
            "generous",
            &["TierNotAllowed"],
            "the API's spec.defaultTier: \"enterprise\" is no tier",
        ),
        claim(
            "the scopes that the API's own keys have",
            json!({"apiRef": {"name": "generous", "namespace": "speech"}, "tier": "free"}),
            &["ScopeNotAllowed"],
            "the API's spec.defaults.scopes: \"*\" is more than the scopes",
        ),
        api("no tier and so no limit", "bundles", &["TierNotAllowed"], "spec.tier: it is missing"),
        bundle(
            "the scope of one grant with the tier of another",
            "pro",
            "write",
            "more than the scopes of grant readers",
        ),
        bundle("the other way round", "free", "read", "more than the scopes of grant writers"),
        claim("a Secret of the tenant's", json!({"secret": {"name": "database"}}), &["SecretNameTaken"], "database"),
        claim("the Secret of another key", json!({"secret": {"name": "uploader"}}), &["SecretNameTaken"], "uploader"),
        claim(
            "a string from a Secret that nobody gave away",
            json!({"source": {"secretRef": {"name": "database", "key": "password"}}}),
            &["SourceNotFound"],
            "",
        ),
    ]
}

/// A namespace that no grant selects.
async fn strangers(world: &World) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team-c"}});
    world.platform.must("POST", "/api/v1/namespaces", Some(&namespace)).await;
    let key = ours("ApiKey", "ci", json!({"apiRef": {"name": "transcripts", "namespace": "speech"}}));
    world.platform.must("POST", &path("ApiKey", "team-c", ""), Some(&key)).await;
    world.judged("ApiKey", "team-c", "ci", &["NamespaceNotAllowed"]).await;
}
