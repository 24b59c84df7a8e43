//! Header fields of answers.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;

use crate::core::verdict::LimitState;

pub(super) const AUTH_CODE: HeaderName = HeaderName::from_static("x-auth-code");
pub(super) const AUTH_STATUS: HeaderName = HeaderName::from_static("x-auth-status");
pub(super) const AUTH_WOULD_DENY: HeaderName = HeaderName::from_static("x-auth-would-deny");
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(super) const APIKEY_ID: HeaderName = HeaderName::from_static("x-apikey-id");
pub(super) const APIKEY_NAME: HeaderName = HeaderName::from_static("x-apikey-name");
pub(super) const APIKEY_NAMESPACE: HeaderName = HeaderName::from_static("x-apikey-namespace");
pub(super) const APIKEY_OWNER: HeaderName = HeaderName::from_static("x-apikey-owner");
pub(super) const APIKEY_ENVIRONMENT: HeaderName = HeaderName::from_static("x-apikey-environment");
pub(super) const APIKEY_TIER: HeaderName = HeaderName::from_static("x-apikey-tier");
pub(super) const APIKEY_VERSION: HeaderName = HeaderName::from_static("x-apikey-version");
pub(super) const APIKEY_SCOPES: HeaderName = HeaderName::from_static("x-apikey-scopes");

const RATE_LIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const RATE_LIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Says how much of the limit closest to exhaustion is left: the three `X-RateLimit-*` that clients know (reset
/// in Unix seconds), and `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10.
pub(super) fn put_limit(headers: &mut HeaderMap, limit: &LimitState, now: Timestamp) {
    headers.insert(RATE_LIMIT_LIMIT, limit.limit.into());
    headers.insert(RATE_LIMIT_REMAINING, limit.remaining.into());
    headers.insert(RATE_LIMIT_RESET, (now.as_second() + i64::from(limit.reset_after)).into());
    let name = sf_string(&limit.name);
    put(headers, RATE_LIMIT, format!("{name};r={};t={}", limit.remaining, limit.reset_after));
    put(headers, RATE_LIMIT_POLICY, format!("{name};q={};w={}", limit.limit, limit.window));
}

/// `WWW-Authenticate` with the API as realm, so that a person with many keys knows which one is asked for.
pub(super) fn put_challenge(headers: &mut HeaderMap, namespace: &str, api: &str) {
    let is_name =
        |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    if is_name(namespace) && is_name(api) {
        put(headers, header::WWW_AUTHENTICATE, format!("Bearer realm=\"{namespace}/{api}\""));
    } else {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
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
