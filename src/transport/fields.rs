//! Header fields of answers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;

use super::problem;
use crate::core::policy::{Api, Credential};
use crate::core::verdict::{Code, Denial, LimitState};
use crate::verify::entry::Identity;

pub(super) const AUTH_CODE: HeaderName = HeaderName::from_static("x-auth-code");
pub(super) const AUTH_STATUS: HeaderName = HeaderName::from_static("x-auth-status");
pub(super) static AUTH_WOULD_DENY: HeaderName = HeaderName::from_static("x-auth-would-deny");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

static APIKEY_ID: HeaderName = HeaderName::from_static("x-apikey-id");
static APIKEY_NAME: HeaderName = HeaderName::from_static("x-apikey-name");
static APIKEY_NAMESPACE: HeaderName = HeaderName::from_static("x-apikey-namespace");
static APIKEY_OWNER: HeaderName = HeaderName::from_static("x-apikey-owner");
static APIKEY_ENVIRONMENT: HeaderName = HeaderName::from_static("x-apikey-environment");
static APIKEY_TIER: HeaderName = HeaderName::from_static("x-apikey-tier");
static APIKEY_VERSION: HeaderName = HeaderName::from_static("x-apikey-version");
static APIKEY_SCOPES: HeaderName = HeaderName::from_static("x-apikey-scopes");

const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
static RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What metrics and access logs call a request that may pass.
pub(super) const ALLOWED: &str = "ALLOWED";

/// Seconds after which to ask again about what could not be judged.
const UNAVAILABLE_RETRY: u32 = 5;

/// The version that was presented, as text; empty for nobody's.
pub(super) fn version(identity: Option<&Identity>) -> String {
    identity.map(|identity| identity.version().to_string()).unwrap_or_default()
}

/// Who calls, for the backend; empty where there is nothing to say. `version` is that of the identity.
pub(super) fn identity<'a>(identity: Option<&'a Identity>, version: &'a str) -> [(&'static HeaderName, &'a str); 8] {
    let text = |read: fn(&Identity) -> &str| identity.map_or("", read);
    [
        (&APIKEY_ID, text(|identity| identity.entry().id())),
        (&APIKEY_NAME, text(|identity| identity.entry().name())),
        (&APIKEY_NAMESPACE, text(|identity| identity.entry().namespace())),
        (&APIKEY_OWNER, text(|identity| identity.entry().owner())),
        (&APIKEY_ENVIRONMENT, text(|identity| identity.entry().environment().as_str())),
        (&APIKEY_TIER, text(Identity::tier)),
        (&APIKEY_VERSION, version),
        (&APIKEY_SCOPES, text(Identity::scopes)),
    ]
}

/// How much of the limit closest to exhaustion is left: the three `X-RateLimit-*` that clients know (reset
/// in Unix seconds), and `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10.
pub(super) fn limit(limit: &LimitState, now: Timestamp) -> [(&'static HeaderName, String); 5] {
    let name = sf_string(&limit.name);
    [
        (&RATE_LIMIT_LIMIT, limit.limit.to_string()),
        (&RATE_LIMIT_REMAINING, limit.remaining.to_string()),
        (&RATE_LIMIT_RESET, (now.as_second() + i64::from(limit.reset_after)).to_string()),
        (&RATE_LIMIT, format!("{name};r={};t={}", limit.remaining, limit.reset_after)),
        (&RATE_LIMIT_POLICY, format!("{name};q={};w={}", limit.limit, limit.window)),
    ]
}

/// Says how much is left of the limit closest to exhaustion.
pub(super) fn put_limit(headers: &mut HeaderMap, state: &LimitState, now: Timestamp) {
    for (name, value) in limit(state, now) {
        put(headers, name.clone(), value);
    }
}

/// Seconds after which to ask again, where waiting may help.
pub(super) fn retry_after(denial: &Denial) -> Option<u32> {
    if denial.code == Code::Unavailable { Some(UNAVAILABLE_RETRY) } else { denial.retry_after }
}

/// Has Envoy take out of the request what the API's keys stand in; the backend needs no credential.
pub(super) fn put_headers_to_remove(headers: &mut HeaderMap, api: Option<&Api>) {
    let names = api.into_iter().flat_map(|api| &api.credentials).filter_map(|credential| match credential {
        Credential::Header { name, .. } => Some(&**name),
        Credential::Query { .. } => None,
    });
    let names: Vec<_> = names.collect();
    put(headers, HEADERS_TO_REMOVE, names.join(","));
}

/// Of an answer with a problem document as its body.
pub(super) fn put_problem(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    // A 404 may be cached otherwise (RFC 9111, section 4.2.2), and outlive its cause.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// `WWW-Authenticate` with the API as realm, so that a person with many keys knows which one is asked for.
fn put_challenge(headers: &mut HeaderMap, namespace: &str, api: &str) {
    let is_name =
        |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    let realm = is_name(namespace) && is_name(api);
    let challenge = if realm { format!("Bearer realm=\"{namespace}/{api}\"") } else { "Bearer".to_owned() };
    put(headers, header::WWW_AUTHENTICATE, challenge);
}

/// Which request is refused, with that status by that API, and what its caller may do about it: show a key, or wait for so
/// many seconds.
pub(super) fn put_refusal(
    headers: &mut HeaderMap,
    status: u16,
    (namespace, api): (&str, &str),
    request_id: String,
    retry_after: Option<u32>,
) {
    put(headers, REQUEST_ID, request_id);
    if status == 401 {
        put_challenge(headers, namespace, api);
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
}

/// Leaves a value out that cannot stand in a header.
pub(super) fn put(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// A String of RFC 9651, section 3.3.3; what it cannot hold is left out.
fn sf_string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars().filter(|c| (' '..='~').contains(c)) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_in_both_ways() {
        let limit =
            LimitState { name: "per \"minute\"".into(), limit: 100, remaining: 42, reset_after: 17, window: 60 };
        let mut headers = HeaderMap::new();
        put_limit(&mut headers, &limit, Timestamp::from_second(1_700_000_000).unwrap());
        let lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        assert_eq!(
            lines,
            [
                "x-ratelimit-limit: 100",
                "x-ratelimit-remaining: 42",
                "x-ratelimit-reset: 1700000017",
                r#"ratelimit: "per \"minute\"";r=42;t=17"#,
                r#"ratelimit-policy: "per \"minute\"";q=100;w=60"#,
            ]
        );
    }

    #[test]
    fn a_challenge_quotes_names_only() {
        for (namespace, api, expected) in [
            ("speech", "transcripts.v1", "Bearer realm=\"speech/transcripts.v1\""),
            ("a\"b", "c", "Bearer"),
            ("a", "b, Basic", "Bearer"),
        ] {
            let mut headers = HeaderMap::new();
            put_challenge(&mut headers, namespace, api);
            assert_eq!(headers[header::WWW_AUTHENTICATE], expected);
        }
    }
}
