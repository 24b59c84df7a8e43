//! The table through every dialect, without a proxy: called as each proxy calls.

use axum::http::Method;

use super::cases::{Case, LIMIT_FIELDS, Outcome, cases};
use super::world::{Api, engine};
use crate::nginx::verifier::Verifier;
use crate::support::http::{Answer, HttpClient};

const ONLY_401_AND_403: [&str; 3] = ["nginx", "ingress-nginx", "ngf"];
const EVERYTHING: [&str; 6] = ["traefik", "caddy", "apisix", "haproxy", "envoy", "envoy-edge"];

/// What proxies keep to themselves.
const HOP_BY_HOP: [&str; 2] = ["connection", "upgrade"];

/// How a proxy describes the case.
fn described(dialect: &str, case: &Case) -> (Method, String, Vec<(&'static str, String)>) {
    let policy = format!("/auth/{dialect}/speech/{}", case.api.name());
    let mut headers: Vec<_> = case.headers.iter().filter(|(name, _)| !HOP_BY_HOP.contains(name)).cloned().collect();
    let (method, target, from) = (case.method.to_owned(), case.target.clone(), case.from.to_string());
    let url = format!("https://api.example{target}");
    headers.extend(match dialect {
        "nginx" => vec![("x-original-method", method), ("x-original-uri", target), ("x-real-ip", from)],
        "ingress-nginx" => vec![("x-original-method", method), ("x-original-url", url), ("x-real-ip", from)],
        "ngf" => vec![("method", method), ("path", target)],
        "envoy" => vec![("x-forwarded-for", from)],
        "envoy-edge" => vec![("x-envoy-external-address", from)],
        _ => vec![("x-forwarded-method", method), ("x-forwarded-uri", target), ("x-forwarded-for", from)],
    });
    if dialect.starts_with("envoy") {
        let method = case.method.parse().expect("a method");
        return (method, format!("{policy}{}", case.target), headers);
    }
    (Method::GET, policy, headers)
}

/// Fails unless the proxy is answered what the table says, in what it can carry.
#[track_caller]
fn assert_told(dialect: &str, case: &Case, answer: &Answer) {
    let context = format!("{dialect}: {}: {} {:?} {}", case.name, answer.status, answer.headers, answer.body);
    let only_401_and_403 = ONLY_401_AND_403.contains(&dialect);
    let left = match &case.outcome {
        Outcome::Passes { id, would_deny, remaining } => {
            assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, ""), "{context}");
            for (name, value) in case.identity(*id) {
                assert_eq!(answer.header(name), Some(value.as_str()), "{name} {context}");
            }
            assert_eq!(answer.header("x-auth-would-deny"), Some(would_deny.unwrap_or_default()), "{context}");
            remaining
        }
        Outcome::Refused { status, code, retry, remaining } => {
            let carried = if only_401_and_403 && *status != 401 { 403 } else { *status };
            assert_eq!(answer.status.as_u16(), carried, "{context}");
            assert_eq!(answer.header("x-auth-code"), Some(*code), "{context}");
            assert_eq!(answer.header("x-auth-status"), Some(status.to_string().as_str()), "{context}");
            assert_eq!(answer.header("www-authenticate").is_some(), *status == 401, "{context}");
            assert_eq!(answer.header("retry-after").is_some(), *retry, "{context}");
            let is_bare = only_401_and_403 || (case.method == "HEAD" && dialect.starts_with("envoy"));
            assert_eq!(answer.body.is_empty(), is_bare, "{context}");
            if !is_bare {
                answer.assert_is_problem(*status, code);
            }
            remaining
        }
    };
    let left = left.map(|left| left.to_string());
    assert_eq!(answer.header("x-ratelimit-remaining"), left.as_deref(), "{context}");
    for field in LIMIT_FIELDS {
        assert_eq!(answer.header(field).is_some(), left.is_some(), "{field} {context}");
    }
}

async fn goes_through(dialect: &str) {
    let (engine, outside) = engine();
    let verifier = Verifier::serving(Some(engine), outside).await;
    let client = HttpClient::new(verifier.address());
    for case in cases().iter().filter(|case| !case.except.contains(&dialect)) {
        let (method, target, headers) = described(dialect, case);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut last = None;
        for _ in 0..case.times {
            last = Some(client.send(method.clone(), &target, &headers).await.expect("the verifier answers"));
        }
        assert_told(dialect, case, &last.expect("it is sent at least once"));
    }
}

#[tokio::test]
async fn the_table_goes_through_every_dialect() {
    for dialect in ONLY_401_AND_403.into_iter().chain(EVERYTHING) {
        goes_through(dialect).await;
    }
}

#[tokio::test]
async fn an_ipv6_client_is_judged_by_its_address() {
    let (engine, outside) = engine();
    let verifier = Verifier::serving(Some(engine), outside).await;
    let client = HttpClient::new(verifier.address());
    for dialect in ONLY_401_AND_403.into_iter().chain(EVERYTHING) {
        for (from, passes) in [("2001:db8::7", true), ("2001:db9::7", false), ("::ffff:192.0.2.7", false)] {
            let mut case = cases().swap_remove(0);
            case.from = from.parse().expect("an address");
            case.headers = vec![("x-api-key", super::world::string(Api::Transcripts, "six"))];
            let (method, target, headers) = described(dialect, &case);
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answer = client.send(method, &target, &headers).await.expect("the verifier answers");
            assert_eq!(answer.status == 200, passes && dialect != "ngf", "{dialect} {from}");
        }
    }
}
