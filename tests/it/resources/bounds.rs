//! Every bound: the most is accepted, within what the server allows CEL to cost, and one more is refused.

use serde_json::{Value, json};

use super::server::Server;

/// A spec with `n` of something, which may be at most `most`.
struct Bound {
    what: &'static str,
    most: usize,
    spec: fn(usize) -> Value,
}

const fn bound(what: &'static str, most: usize, spec: fn(usize) -> Value) -> Bound {
    Bound { what, most, spec }
}

/// `n` different strings of `length` characters that begin with a letter and end with a digit.
fn strings(n: usize, length: usize) -> Vec<String> {
    (0..n).map(|at| format!("{at:x>length$}")).collect()
}

/// One string of `n` characters.
fn text(n: usize) -> String {
    "a".repeat(n)
}

/// An object with `n` members, each with a value of `length` characters.
fn map(n: usize, length: usize) -> Value {
    strings(n, 63).into_iter().map(|name| (name, Value::from(text(length)))).collect::<serde_json::Map<_, _>>().into()
}

/// A list of `n` objects that `item` makes from different strings.
fn list(n: usize, item: fn(String) -> Value) -> Value {
    strings(n, 253).into_iter().map(item).collect::<Vec<_>>().into()
}

fn limits(n: usize) -> Value {
    list(n, |name| json!({"name": name, "limit": 1_000_000_000, "window": "99h59m59s999ms", "autoApply": true}))
}

fn quotas(n: usize) -> Value {
    list(n, |name| json!({"name": name, "limit": 1_000_000_000_000_000_i64, "period": "Month"}))
}

/// `n` distinct IPv6 networks, the longest spelling that is read.
fn networks(n: usize) -> Vec<String> {
    (0..n).map(|at| format!("2001:0db8:0000:0000:0000:0000:{at:0>4x}:0000/112")).collect()
}

fn one_route(field: &str, value: Value) -> Value {
    let mut route = json!({"name": "r", "path": "/"});
    route[field] = value;
    json!({"routes": [route]})
}

const KEY: &[Bound] = &[
    bound("apiRef.name", 253, |n| json!({"apiRef": {"name": text(n)}})),
    bound("apiRef.namespace", 253, |n| json!({"apiRef": {"name": "a", "namespace": text(n)}})),
    bound("displayName", 255, |n| json!({"displayName": text(n)})),
    bound("description", 1024, |n| json!({"description": text(n)})),
    bound("owner", 255, |n| json!({"owner": text(n)})),
    bound("tier", 253, |n| json!({"tier": text(n)})),
    bound("scopes", 1000, |n| json!({"scopes": strings(n, 128)})),
    bound("scopes[]", 128, |n| json!({"scopes": [text(n)]})),
    bound("roles", 100, |n| json!({"roles": strings(n, 253)})),
    bound("roles[]", 253, |n| json!({"roles": [text(n)]})),
    bound("ipAllowlist", 256, |n| json!({"ipAllowlist": networks(n)})),
    bound("resources", 32, |n| json!({"resources": list(n, |kind| json!({"kind": kind, "deny": strings(64, 128)}))})),
    bound("resources[].allow", 256, |n| json!({"resources": [{"kind": "model", "allow": strings(n, 128)}]})),
    bound("resources[].deny", 256, |n| json!({"resources": [{"kind": "model", "deny": strings(n, 128)}]})),
    bound("resources[].deny[]", 128, |n| json!({"resources": [{"kind": "model", "deny": [text(n)]}]})),
    bound("rateLimits", 50, |n| json!({"rateLimits": limits(n)})),
    bound("rateLimits[].limit", 1_000_000_000, |n| json!({"rateLimits": [{"name": "a", "limit": n, "window": "1s"}]})),
    bound("quotas", 8, |n| json!({"quotas": quotas(n)})),
    bound(
        "credits.refill.day",
        31,
        |n| json!({"credits": {"granted": 0, "refill": {"interval": "Monthly", "amount": 1, "day": n}}}),
    ),
    bound("revocationReason", 1024, |n| json!({"revocationReason": text(n)})),
    bound("rotation.request.id", 253, |n| json!({"rotation": {"request": {"id": text(n)}}})),
    bound("secret.name", 253, |n| json!({"secret": {"name": text(n)}})),
    bound("secret.key", 253, |n| json!({"secret": {"key": text(n)}})),
    bound("secret.previousKey", 253, |n| json!({"secret": {"previousKey": "b".repeat(n)}})),
    bound("secret.sealTo", 1580, |n| json!({"secret": {"delivery": "Sealed", "sealTo": format!("{}=", text(n - 1))}})),
    bound("secret.labels", 32, |n| json!({"secret": {"labels": map(n, 63)}})),
    bound("secret.labels{}", 63, |n| json!({"secret": {"labels": map(1, n)}})),
    bound("secret.annotations", 32, |n| json!({"secret": {"annotations": map(n, 1024)}})),
    bound("secret.annotations{}", 1024, |n| json!({"secret": {"annotations": map(1, n)}})),
    bound("secret.data", 16, |n| json!({"secret": {"data": map(n, 4096)}})),
    bound("secret.data{}", 4096, |n| json!({"secret": {"data": map(1, n)}})),
    bound("metadata", 100, |n| json!({"metadata": map(n, 1000)})),
];

const API: &[Bound] = &[
    bound("hosts", 64, |n| json!({"hosts": strings(n, 253)})),
    bound("hosts[]", 253, |n| json!({"hosts": [text(n)]})),
    bound("keyFormat.prefix", 32, |n| json!({"keyFormat": {"prefix": text(n)}})),
    bound("keyFormat.length", 64, |n| json!({"keyFormat": {"length": n}})),
    bound("credentials", 64, |n| json!({"credentials": list(n, |name| json!({"header": name, "scheme": text(253)}))})),
    bound("grants", 64, |n| {
        json!({"grants": list(n, |name| json!({
            "name": name, "from": {"selector": {}}, "scopes": strings(128, 128), "roles": strings(20, 253),
        }))})
    }),
    bound(
        "grants[].scopes",
        1000,
        |n| json!({"grants": [{"name": "g", "from": {"selector": {}}, "scopes": strings(n, 128)}]}),
    ),
    bound(
        "grants[].roles",
        100,
        |n| json!({"grants": [{"name": "g", "from": {"selector": {}}, "roles": strings(n, 253)}]}),
    ),
    bound(
        "grants[].tiers",
        64,
        |n| json!({"grants": [{"name": "g", "from": {"selector": {}}, "tiers": strings(n, 253)}]}),
    ),
    bound("defaults.scopes", 1000, |n| json!({"defaults": {"scopes": strings(n, 128)}})),
    bound("trustedForwarders", 64, |n| json!({"trustedForwarders": networks(n)})),
    bound("routes", 256, |n| {
        json!({"routes": list(n, |name| json!({
            "name": name, "methods": ["GET", "HEAD"], "path": format!("/{}", text(1023)), "require": text(1000),
            "rateLimits": [{"name": "a"}], "resource": {"kind": "model", "from": [{"path": "a"}, {"body": "/a"}]},
        }))})
    }),
    bound("routes[].path", 1024, |n| one_route("path", format!("/{}", text(n - 1)).into())),
    bound("routes[].require", 1000, |n| one_route("require", text(n).into())),
    bound("routes[].methods", 16, |n| {
        one_route("methods", (0..n).map(|at| text(at + 1).to_uppercase()).collect::<Vec<_>>().into())
    }),
    bound("routes[].rateLimits", 50, |n| one_route("rateLimits", list(n, |name| json!({"name": name})))),
    bound("routes[].resource.from", 16, |n| {
        one_route("resource", json!({"kind": "model", "from": list(n, |name| json!({"header": name}))}))
    }),
    bound("resourceCatalogs", 16, |n| {
        json!({"resourceCatalogs": list(n, |kind| json!({
            "kind": kind, "denyCode": "A", "entries": list(64, |id| json!({"id": id, "name": text(253)})),
        }))})
    }),
    bound(
        "resourceCatalogs[].entries",
        1024,
        |n| json!({"resourceCatalogs": [{"kind": "model", "entries": list(n, |id| json!({"id": id, "group": text(253)}))}]}),
    ),
    bound("denials", 32, |n| {
        let code = |at: usize| {
            let code = format!("{}_NOT_FOUND", text(at + 200).to_uppercase());
            json!({"code": code, "status": 599, "detail": text(1024)})
        };
        json!({"denials": (0..n).map(code).collect::<Vec<_>>()})
    }),
    bound("denials[].status", 599, |n| json!({"denials": [{"code": "REVOKED", "status": n}]})),
    bound("denials[].detail", 1024, |n| json!({"denials": [{"code": "REVOKED", "detail": text(n)}]})),
];

const TIER: &[Bound] = &[
    bound("displayName", 255, |n| json!({"displayName": text(n)})),
    bound("rateLimits", 50, |n| json!({"rateLimits": limits(n)})),
    bound("quotas", 8, |n| json!({"quotas": quotas(n)})),
    bound("maxActiveKeysPerOwner", 1_000_000_000, |n| json!({"maxActiveKeysPerOwner": n})),
];

const ROLE: &[Bound] = &[
    bound("description", 1024, |n| json!({"description": text(n)})),
    bound("scopes", 1000, |n| json!({"scopes": strings(n, 128)})),
    bound("scopes[]", 128, |n| json!({"scopes": [text(n)]})),
];

const OWNER: &[Bound] = &[
    bound("externalId", 255, |n| json!({"externalId": text(n)})),
    bound("displayName", 255, |n| json!({"displayName": text(n)})),
    bound("namespaces", 64, |n| json!({"namespaces": strings(n, 253)})),
    bound("tier", 253, |n| json!({"tier": text(n)})),
    bound("rateLimits", 50, |n| json!({"rateLimits": limits(n)})),
    bound("quotas", 8, |n| json!({"quotas": quotas(n)})),
    bound("maxActiveKeys", 1_000_000_000, |n| json!({"maxActiveKeys": n})),
    bound("metadata", 100, |n| json!({"metadata": map(n, 1000)})),
];

#[tokio::test]
async fn apikey_accepts_the_most_and_refuses_more() {
    check("ApiKey", KEY).await;
}

#[tokio::test]
async fn protectedapi_accepts_the_most_and_refuses_more() {
    check("ProtectedApi", API).await;
}

#[tokio::test]
async fn apikeytier_accepts_the_most_and_refuses_more() {
    check("ApiKeyTier", TIER).await;
}

#[tokio::test]
async fn apikeyrole_accepts_the_most_and_refuses_more() {
    check("ApiKeyRole", ROLE).await;
}

#[tokio::test]
async fn apikeyowner_accepts_the_most_and_refuses_more() {
    check("ApiKeyOwner", OWNER).await;
}

/// What a request body holds: 3 MiB. Some collections are larger at their most than one object can be.
const REQUEST_BYTES: usize = 3 * 1024 * 1024;

async fn check(kind: &'static str, bounds: &[Bound]) {
    let server = Server::new(kind).await;
    let mut failures = Vec::new();
    let mut largest = json!({});
    for bound in bounds {
        let most = (bound.spec)(bound.most);
        if let Err(answer) = server.try_create(&most).await {
            failures.push(format!("{} with {}: {answer}", bound.what, bound.most));
        }
        match server.try_create(&(bound.spec)(bound.most + 1)).await {
            Ok(_) => failures.push(format!("{} with {} is accepted", bound.what, bound.most + 1)),
            Err(answer) if !answer.starts_with("422") => {
                failures.push(format!("{} with {}: {answer}", bound.what, bound.most + 1));
            }
            Err(_) => {}
        }
        merge(&mut largest, most);
    }
    assert!(largest.to_string().len() < REQUEST_BYTES, "the largest object does not fit into a request");
    if let Err(answer) = server.try_create(&largest).await {
        failures.push(format!("with everything at its most: {answer}"));
    }
    assert!(failures.is_empty(), "{kind}:\n{}", failures.join("\n"));
}

/// Adds the members of `more` to `into`; of two lists or values the larger one stays.
fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) if into.to_string().len() < more.to_string().len() || into.is_null() => {
            *into = more;
        }
        _ => {}
    }
}
