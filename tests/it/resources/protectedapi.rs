//! Rules of ProtectedApi.

use serde_json::{Value, json};

use super::rule::{RuleCases, check, rule};
use super::server::Server;
use super::shared;

const KIND: &str = "ProtectedApi";

pub(super) fn rules() -> Vec<RuleCases> {
    let mut rules = vec![
        rule(KIND, "spec.hosts[]", "is no host name; write")
            .accepts(json!({"hosts": ["api.example.com", "localhost"]}))
            .refuses(json!({"hosts": ["https://api.example.com"]}))
            .refuses(json!({"hosts": ["API.example.com"]}))
            .refuses(json!({"hosts": ["api.example.com:443"]})),
        rule(KIND, "spec.keyFormat.prefix", "is no prefix; use 1 to 32 letters")
            .accepts(json!({"keyFormat": {"prefix": "v100_SK"}}))
            .refuses(json!({"keyFormat": {"prefix": "a-b"}})),
        rule(KIND, "spec.keyFormat.prefix", "spec.keyFormat.prefix cannot be changed from")
            .accepts_change(json!({}), json!({"keyFormat": {"prefix": "sk", "length": 64}}))
            .refuses_change(json!({}), json!({"keyFormat": {"prefix": "vg"}}))
            .refuses_change(json!({"keyFormat": {"prefix": "vg"}}), json!({"keyFormat": null})),
        shared::object_name(KIND, "spec.defaultTier", |tier| json!({"defaultTier": tier})),
        shared::scopes(KIND, "spec.defaults.scopes[]", |scopes| json!({"defaults": {"scopes": scopes}})),
        rule(KIND, "spec.defaults.expiresAfter", "is shorter than 1m")
            .accepts(json!({"defaults": {"expiresAfter": "365d"}}))
            .refuses(json!({"defaults": {"expiresAfter": "0s"}})),
        shared::addresses(KIND, "spec.trustedForwarders[]", |entries| json!({"trustedForwarders": entries})),
    ];
    rules.extend(shared::schedule(
        KIND,
        "spec.defaults.rotation",
        |rotation| json!({"defaults": {"rotation": rotation}}),
    ));
    rules.push(shared::duration(
        KIND,
        "spec.defaults.expiresAfter",
        |life| json!({"defaults": {"expiresAfter": life}}),
    ));
    rules.extend(credentials());
    rules.extend(routes());
    rules.extend(grants());
    rules.extend(codes());
    rules
}

fn credentials() -> Vec<RuleCases> {
    let one = |credential: Value| json!({"credentials": [credential]});
    vec![
        rule(KIND, "spec.credentials[]", "spec.credentials[] must have a header or a query, and not both")
            .accepts(json!({"credentials": [{"header": "X-API-Key"}, {"query": "api_key"}]}))
            .refuses(one(json!({})))
            .refuses(one(json!({"header": "a", "query": "b"}))),
        rule(KIND, "spec.credentials[]", "has no header to stand in")
            .accepts(one(json!({"header": "Authorization", "scheme": "Bearer"})))
            .refuses(one(json!({"query": "api_key", "scheme": "Bearer"}))),
        shared::token(KIND, "spec.credentials[].header", |name| json!({"credentials": [{"header": name}]})),
        shared::token(KIND, "spec.credentials[].query", |name| json!({"credentials": [{"query": name}]})),
        shared::token(
            KIND,
            "spec.credentials[].scheme",
            |name| json!({"credentials": [{"header": "Authorization", "scheme": name}]}),
        ),
    ]
}

fn route(fields: &[(&str, Value)]) -> Value {
    let mut route = json!({"name": "read", "path": "/"});
    for (field, value) in fields {
        route[*field] = value.clone();
    }
    json!({"routes": [route]})
}

fn routes() -> Vec<RuleCases> {
    let resource = || json!({"kind": "model", "from": [{"path": "model"}]});
    let from = |place: Value| route(&[("resource", json!({"kind": "model", "from": [place]}))]);
    vec![
        shared::token(KIND, "spec.routes[].name", |name| route(&[("name", name)])),
        rule(KIND, "spec.routes[].methods[]", "is no HTTP method; write it in capitals")
            .accepts(route(&[("methods", json!(["GET", "M-SEARCH"]))]))
            .refuses(route(&[("methods", json!(["GET", "post"]))])),
        rule(KIND, "spec.routes[].path", "does not begin with a slash")
            .accepts(route(&[("path", json!("/v1/models/{model}/{*rest}"))]))
            .refuses(route(&[("path", json!("v1"))])),
        rule(KIND, "spec.routes[]", "is public, so nobody checks")
            .accepts(route(&[("public", json!(true))]))
            .accepts(route(&[("require", json!("a")), ("resource", resource())]))
            .refuses(route(&[("public", json!(true)), ("require", json!("a"))]))
            .refuses(route(&[("public", json!(true)), ("rateLimits", json!([{"name": "a"}]))]))
            .refuses(route(&[("public", json!(true)), ("resource", resource())])),
        rule(KIND, "spec.routes[].resource.from[]", "must have exactly one of path, header, query and body")
            .accepts(from(json!({"body": "/model"})))
            .refuses(from(json!({})))
            .refuses(from(json!({"path": "a", "header": "b"}))),
        rule(KIND, "spec.routes[].resource.from[].body", "is no JSON pointer (RFC 6901); write it as /runtime_id")
            .accepts(from(json!({"body": "/model"})))
            .accepts(from(json!({"body": "/a~1b/~0/0"})))
            .refuses(from(json!({"body": "model"})))
            .refuses(from(json!({"body": "/a~b"}))),
    ]
}

fn grants() -> Vec<RuleCases> {
    fn grant(field: &str, value: Value) -> Value {
        let mut grant = json!({"name": "g", "from": {"selector": {"matchLabels": {"team": "a"}}}});
        grant[field] = value;
        json!({"grants": [grant]})
    }
    vec![
        shared::object_names(KIND, "spec.grants[].roles[]", |names| grant("roles", names)),
        shared::object_names(KIND, "spec.grants[].tiers[]", |names| grant("tiers", names)),
    ]
}

fn codes() -> Vec<RuleCases> {
    vec![
        rule(KIND, "spec.denials[].code", "is no code; write it in capitals")
            .accepts(json!({"denials": [{"code": "REVOKED", "status": 403, "detail": "Gone."}]}))
            .refuses(json!({"denials": [{"code": "revoked", "status": 403}]})),
        rule(KIND, "spec.denials[].code", "is answered where no API is known")
            .accepts(json!({"denials": [{"code": "ROUTE_NOT_FOUND", "status": 404}]}))
            .refuses(json!({"denials": [{"code": "API_NOT_FOUND", "status": 403}]})),
        rule(KIND, "spec.denials[].status", "has clients log in to their proxy")
            .accepts(json!({"denials": [{"code": "REVOKED", "status": 410}]}))
            .refuses(json!({"denials": [{"code": "REVOKED", "status": 407}]})),
        rule(KIND, "spec.denials[]", "changes nothing; add status or detail")
            .accepts(json!({"denials": [{"code": "REVOKED", "detail": "Gone."}]}))
            .refuses(json!({"denials": [{"code": "REVOKED"}]})),
        rule(KIND, "spec", "has one that this API does not answer with")
            .accepts(json!({"denials": [{"code": "MODEL_FORBIDDEN", "status": 404}]}))
            .accepts(json!({
                "denials": [{"code": "REVOKED", "status": 403}, {"code": "NO_SUCH_VOICE", "status": 404}],
                "resourceCatalogs": [{"kind": "voice", "denyCode": "NO_SUCH_VOICE"}],
            }))
            .refuses(json!({"denials": [{"code": "REVOKED", "status": 403}, {"code": "REVOKD", "status": 403}]})),
        rule(KIND, "spec.resourceCatalogs[].denyCode", "is no code; write it in capitals")
            .accepts(json!({"resourceCatalogs": [{"kind": "model", "denyCode": "MODEL_FORBIDDEN"}]}))
            .refuses(json!({"resourceCatalogs": [{"kind": "model", "denyCode": "model-forbidden"}]})),
        rule(KIND, "spec.resourceCatalogs[].denyCode", "is a code with a meaning of its own")
            .accepts(json!({"resourceCatalogs": [{"kind": "runtime", "denyCode": "MODEL_FORBIDDEN"}]}))
            .refuses(json!({"resourceCatalogs": [{"kind": "runtime", "denyCode": "REVOKED"}]})),
        rule(KIND, "spec.resourceCatalogs[].kind", "is no kind of resource")
            .accepts(json!({"resourceCatalogs": [{"kind": "voice-model2"}]}))
            .refuses(json!({"resourceCatalogs": [{"kind": "Model"}]}))
            .refuses(json!({"resourceCatalogs": [{"kind": "route"}]})),
        rule(KIND, "spec.routes[].resource.kind", "is no kind of resource")
            .accepts(resource("model"))
            .refuses(resource("model_x"))
            .refuses(resource("api")),
    ]
}

fn resource(kind: &str) -> Value {
    json!({"routes": [{"name": "r", "path": "/", "resource": {"kind": kind, "from": [{"query": "q"}]}}]})
}

#[tokio::test]
async fn refuses_scopes_of_grants_that_are_none() {
    let server = Server::new(KIND).await;
    let grant = |scope: &str| json!({"grants": [{"name": "g", "from": {"selector": {}}, "scopes": [scope]}]});
    assert!(server.try_create(&grant("a b")).await.unwrap_err().contains("spec.grants[0].scopes[0]"));
    server.try_create(&grant("transcripts:*")).await.unwrap();
}

#[tokio::test]
async fn refuses_operators_of_selectors_that_there_are_not() {
    let server = Server::new(KIND).await;
    let grant = |operator: &str| {
        let selector = json!({"matchExpressions": [{"key": "team", "operator": operator, "values": ["a"]}]});
        json!({"grants": [{"name": "g", "from": {"selector": selector}}]})
    };
    let refused = server.try_create(&grant("in")).await.unwrap_err();
    assert!(refused.contains("matchExpressions[0].operator: Unsupported value: \"in\""), "{refused}");
    server.try_create(&grant("In")).await.unwrap();
}

#[tokio::test]
async fn keeps_every_rule() {
    check(KIND, rules()).await;
}
