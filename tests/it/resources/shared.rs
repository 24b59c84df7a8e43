//! Rules that several kinds have in the same words.

use serde_json::{Value, json};

use super::rule::{RuleCases, rule};

/// Puts a value where the rule under test looks at it: the spec that it makes is added to the minimal one.
pub(super) type Put = fn(Value) -> Value;

const NO_OBJECT_NAME: &str = "is no name of an object; use";

pub(super) fn object_name(kind: &'static str, path: &str, put: Put) -> RuleCases {
    rule(kind, path, NO_OBJECT_NAME)
        .accepts(put(json!("a")))
        .accepts(put(json!("a-1.b")))
        .refuses(put(json!("Pro")))
        .refuses(put(json!("-a")))
        .refuses(put(json!("a_b")))
        .refuses(put(json!("a..b")))
}

pub(super) fn object_names(kind: &'static str, path: &str, put: Put) -> RuleCases {
    rule(kind, path, NO_OBJECT_NAME)
        .accepts(put(json!(["a", "a-1.b"])))
        .accepts(put(json!([])))
        .refuses(put(json!(["a", "B"])))
}

pub(super) fn owner(kind: &'static str, path: &str, put: Put) -> RuleCases {
    rule(kind, path, "is no name of an owner")
        .accepts(put(json!("ACME_1.a-b")))
        .refuses(put(json!("a b")))
        .refuses(put(json!("a/b")))
}

pub(super) fn scopes(kind: &'static str, path: &str, put: Put) -> RuleCases {
    rule(kind, path, "is no scope; use")
        .accepts(put(json!(["transcripts:read", "a/b.*-c_d"])))
        .accepts(put(json!([])))
        .refuses(put(json!(["transcripts:read", "a b"])))
        .refuses(put(json!(["(a)"])))
}

pub(super) fn addresses(kind: &'static str, path: &str, put: Put) -> RuleCases {
    rule(kind, path, "is neither an IP address nor a CIDR range; write")
        .accepts(put(json!(["127.0.0.1", "10.1.2.3/8", "2001:db8::/32", "::1"])))
        .refuses(put(json!(["127.0.0.1", "10.0.0.0/33"])))
        .refuses(put(json!(["10.0.0"])))
        .refuses(put(json!(["localhost"])))
}

pub(super) fn token(kind: &'static str, path: &str, put: Put) -> RuleCases {
    rule(kind, path, "is no HTTP token; use")
        .accepts(put(json!("X-API_Key")))
        .refuses(put(json!("a b")))
        .refuses(put(json!("a:")))
}

pub(super) fn duration(kind: &'static str, path: &str, put: impl Fn(Value) -> Value) -> RuleCases {
    let rule = ["30d", "720h", "1m30s", "60500ms", "1h2m3s4ms"]
        .into_iter()
        .fold(rule(kind, path, "is no duration; write"), |rule, text| rule.accepts(put(json!(text))));
    ["", "d", "90", "1.5h", "-1s", "1d2h", "10000d", "100000s", "1w", "soon"]
        .into_iter()
        .fold(rule, |rule, text| rule.refuses(put(json!(text))))
}

/// A schedule at `path`.
pub(super) fn schedule(kind: &'static str, path: &str, put: Put) -> Vec<RuleCases> {
    vec![
        rule(kind, path, "; shorten gracePeriod or lengthen interval")
            .accepts(put(json!({"interval": "90d", "gracePeriod": "24h"})))
            .accepts(put(json!({"interval": "1h", "gracePeriod": "59m59s999ms"})))
            .accepts(put(json!({"gracePeriod": "9999d"})))
            .accepts(put(json!({"interval": "90d"})))
            .refuses(put(json!({"interval": "1d", "gracePeriod": "24h"})))
            .refuses(put(json!({"interval": "1h", "gracePeriod": "2h"}))),
        rule(kind, format!("{path}.interval"), "is shorter than 1m; make it 1m or longer")
            .accepts(put(json!({"interval": "1m"})))
            .accepts(put(json!({"interval": "1d"})))
            .accepts(put(json!({"interval": "60000ms"})))
            .refuses(put(json!({"interval": "59s"})))
            .refuses(put(json!({"interval": "0d"})))
            .refuses(put(json!({"interval": "59s999ms"}))),
        duration(kind, &format!("{path}.interval"), |interval| put(json!({"interval": interval}))),
        duration(kind, &format!("{path}.gracePeriod"), |grace| put(json!({"gracePeriod": grace}))),
    ]
}

/// The rate limits and quotas of a spec.
pub(super) fn limits(kind: &'static str) -> Vec<RuleCases> {
    fn limit(field: &str, value: Value) -> Value {
        let mut limit = json!({"name": "requests", "limit": 1, "window": "1s"});
        limit[field] = value;
        json!({"rateLimits": [limit]})
    }
    vec![
        duration(kind, "spec.rateLimits[].window", |window| limit("window", window)),
        token(kind, "spec.rateLimits[].name", |name| limit("name", name)),
        token(kind, "spec.quotas[].name", |name| json!({"quotas": [{"name": name, "limit": 1, "period": "Day"}]})),
        rule(kind, "spec.rateLimits[].window", "is out of range; make it 1s to 720h")
            .accepts(limit("window", json!("1s")))
            .accepts(limit("window", json!("720h")))
            .accepts(limit("window", json!("30d")))
            .refuses(limit("window", json!("999ms")))
            .refuses(limit("window", json!("720h1ms")))
            .refuses(limit("window", json!("31d"))),
    ]
}
