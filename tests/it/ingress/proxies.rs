//! The table through real proxies: what the client gets, and what reaches the backend.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::Method;
use keyturn::transport::Outside;
use keyturn::verify::engine::Engine;

use super::cases::{Case, LIMIT_FIELDS, Outcome, cases};
use super::world::{Api, engine};
use crate::nginx::verifier::Verifier;
use crate::support::backend::{Backend, Seen};
use crate::support::http::{Answer, HttpClient};
use crate::support::proxy::{Kind, Proxy};

/// What every request claims besides; none of it may reach the backend.
const FORGED: [(&str, &str); 5] = [
    ("x-apikey-id", "forged"),
    ("x-apikey-tier", "forged"),
    ("x-apikey-scopes", "forged"),
    ("x_apikey_owner", "forged"),
    ("x-auth-would-deny", "forged"),
];

/// Traefik adds nothing to an answer that passes.
const fn tells_limits(kind: Kind) -> bool {
    !matches!(kind, Kind::Traefik)
}

#[track_caller]
fn assert_answered(kind: Kind, case: &Case, answer: &Answer, mut seen: Vec<Seen>) {
    let context = format!("{kind:?}: {}: {} {:?} {}", case.name, answer.status, answer.headers, answer.body);
    let left = |left: &Option<u32>| left.map(|left| left.to_string());
    let told = answer.header("x-ratelimit-remaining").map(str::to_owned);
    match &case.outcome {
        Outcome::Passes { id, would_deny, remaining } => {
            assert_eq!(answer.status.as_u16(), 200, "{context}");
            assert_eq!(seen.len(), case.times as usize, "{context}");
            let seen = seen.remove(0);
            assert_eq!(seen.method.as_str(), case.method, "{context}");
            // Over gRPC Envoy is told to take the credential out of the query too.
            if kind != Kind::Traefik && !(kind == Kind::EnvoyGrpc && case.target.contains("api_key=")) {
                assert_eq!(seen.uri.to_string(), case.target, "{context}");
            }
            let text = |name| seen.header(name).unwrap_or_default();
            for (name, value) in case.identity(*id) {
                assert_eq!(text(name), value, "{name} {context}");
            }
            assert_eq!(text("x-auth-would-deny"), would_deny.unwrap_or_default(), "{context}");
            let forged = seen.headers.iter().find(|(_, value)| *value == "forged");
            assert_eq!(forged, None, "{context}");
            for credential in ["authorization", "x-api-key"] {
                assert_eq!(seen.header(credential), None, "{context}");
            }
            let remaining = if tells_limits(kind) { *remaining } else { None };
            assert_eq!(told, left(&remaining), "{context}");
            for field in LIMIT_FIELDS {
                assert_eq!(answer.header(field).is_some(), remaining.is_some(), "{field} {context}");
            }
        }
        Outcome::Refused { status, code, retry, remaining } => {
            assert_eq!(answer.status.as_u16(), *status, "{context}");
            assert_eq!(seen.len() + 1, case.times as usize, "{context}");
            assert_eq!(answer.header("www-authenticate").is_some(), *status == 401, "{context}");
            assert_eq!(answer.header("retry-after").is_some(), *retry, "{context}");
            assert_eq!(told, left(remaining), "{context}");
            if case.method == "HEAD" {
                assert_eq!(answer.body, "", "{context}");
            } else {
                answer.assert_is_problem(*status, code);
            }
        }
    }
}

/// A verifier that answers as that proxy asks.
pub(super) async fn verifier(kind: Kind, at: SocketAddr, engine: Option<Engine>, outside: Outside) -> Verifier {
    if kind == Kind::EnvoyGrpc {
        Verifier::serving_grpc_at(at, engine, outside).await
    } else {
        Verifier::serving_at(at, engine, outside).await
    }
}

pub(super) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

async fn goes_through(kind: Kind) {
    let name = format!("{kind:?}").replace("EnvoyGrpc", "Envoy");
    let backend = Backend::start().await;
    for api in Api::ALL {
        let (engine, outside) = engine();
        let verifier = verifier(kind, any_port(), Some(engine), outside).await;
        let site = format!("speech/{}", api.name());
        let proxy = Proxy::start(kind, &site, verifier.address(), backend.address()).await;
        for case in cases().iter().filter(|case| case.api == api && !case.except.contains(&name.as_str())) {
            let client = if case.http2 {
                HttpClient::over_http2(proxy.address())
            } else {
                HttpClient::from_address(case.from, proxy.address())
            };
            let own = case.headers.iter().map(|(name, value)| (*name, value.as_str()));
            let headers: Vec<_> = own.chain(FORGED).collect();
            backend.take();
            let mut last = None;
            for _ in 0..case.times {
                let method: Method = case.method.parse().expect("a method");
                let answer = client.send(method, &case.target, &headers).await;
                last = Some(answer.unwrap_or_else(|error| panic!("{kind:?}: {}: {error}", case.name)));
            }
            assert_answered(kind, case, &last.expect("it is sent at least once"), backend.take());
        }
    }
}

#[tokio::test]
async fn the_table_goes_through_nginx() {
    goes_through(Kind::Nginx).await;
}

#[tokio::test]
async fn the_table_goes_through_traefik() {
    goes_through(Kind::Traefik).await;
}

#[tokio::test]
async fn the_table_goes_through_caddy() {
    goes_through(Kind::Caddy).await;
}

#[tokio::test]
async fn the_table_goes_through_haproxy() {
    goes_through(Kind::Haproxy).await;
}

#[tokio::test]
async fn the_table_goes_through_envoy() {
    goes_through(Kind::Envoy).await;
}

#[tokio::test]
async fn the_table_goes_through_envoy_over_grpc() {
    goes_through(Kind::EnvoyGrpc).await;
}
