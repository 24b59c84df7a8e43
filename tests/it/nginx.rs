//! A real nginx with config/ingress/nginx/ as it stands, between a client and a backend that remembers what
//! reached it. The verifier is the real engine behind the real auth port, in this process.

pub(crate) mod verifier;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use http::Method;

use crate::support::backend::{Backend, Seen};
use crate::support::http::{Answer, HttpClient};
use crate::support::nginx::Nginx;
use crate::support::process::{Process, tool};
use crate::support::wait::eventually;
use verifier::{Verifier, string};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/ingress/nginx");

/// Everything from the client's side of nginx on.
struct Site {
    nginx: Nginx,
    backend: Backend,
}

impl Site {
    async fn start(verifiers: &[SocketAddr]) -> Self {
        let backend = Backend::start().await;
        let servers: Vec<_> = verifiers.iter().map(|address| format!("server {address};")).collect();
        let servers = servers.join(" ");
        let http = format!(
            "upstream keyturn {{ {servers} keepalive 64; }}
            upstream backend {{ server {}; keepalive 64; }}
            server {{
                listen {{listen}};
                set $keyturn_api speech/transcripts;
                include {CONFIG}/keyturn.conf;
                location / {{
                    include {CONFIG}/keyturn-protect.conf;
                    proxy_pass http://backend;
                }}
            }}",
            backend.address()
        );
        Self { nginx: Nginx::start(&http).await, backend }
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        HttpClient::new(self.nginx.address()).get(target, headers).await.expect("nginx answers")
    }

    /// The only request that has reached the backend.
    fn seen(&self) -> Seen {
        self.backend.take_one()
    }
}

/// Fails unless the client was given the problem document of `code`, and the backend nothing.
#[track_caller]
fn assert_refused(site: &Site, answer: &Answer, status: u16, code: &str) {
    let document: serde_json::Value = serde_json::from_str(&answer.body).expect("the body is a document");
    let told = (answer.status.as_u16(), answer.header("content-type"), &document["status"], &document["code"]);
    let expected = (status, Some("application/problem+json"), &status.into(), &code.into());
    assert_eq!(told, expected, "{}", answer.body);
    assert_eq!(site.backend.take().len(), 0, "the backend must not be asked");
}

#[tokio::test]
async fn refusals_reach_the_client_with_their_true_status_and_a_problem_document() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let key = string("ci");
    let key = key.expose();
    for (target, headers, status, code) in [
        ("/v1/models", &[][..], 401, "UNAUTHORIZED"),
        ("/v1/models", &[("x-api-key", "sk_live_made_up")], 401, "UNAUTHORIZED"),
        ("/v1/models", &[("authorization", "Basic dTpw")], 401, "UNAUTHORIZED"),
        ("/v1/admin", &[("x-api-key", key)], 403, "INSUFFICIENT_SCOPE"),
        ("/v2", &[("x-api-key", key)], 403, "ROUTE_NOT_FOUND"),
        ("/v1/a%2Fb/../models", &[("x-api-key", key)], 400, "BAD_REQUEST"),
        ("/v1/models", &[("x-api-key", string("revoked").expose())], 401, "REVOKED"),
    ] {
        let answer = site.get(target, headers).await;
        assert_refused(&site, &answer, status, code);
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{code}");
    }
}

#[tokio::test]
async fn what_the_client_says_about_itself_does_not_count() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let key = string("ci");
    let lies = [
        ("x-api-key", key.expose()),
        ("x-original-uri", "/v1/models"),
        ("x-original-method", "GET"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
    ];
    assert_refused(&site, &site.get("/v1/admin", &lies).await, 403, "INSUFFICIENT_SCOPE");
    let post =
        HttpClient::new(site.nginx.address()).send(Method::POST, "/v1/models", &lies).await.expect("nginx answers");
    assert_refused(&site, &post, 403, "ROUTE_NOT_FOUND");
    let foreigner = HttpClient::from_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), site.nginx.address());
    let foreign = foreigner.get("/v1/models", &lies).await.expect("nginx answers");
    assert_refused(&site, &foreign, 403, "IP_NOT_ALLOWED");
}

#[tokio::test]
async fn in_audit_mode_everybody_passes_and_the_backend_learns_who_would_not() {
    let verifier = Verifier::start_in_mode("Audit").await;
    let site = Site::start(&[verifier.address()]).await;
    let (key, revoked) = (string("ci"), string("revoked"));
    let forged = ("x-auth-would-deny", "forged");
    for (target, headers, id, would_deny) in [
        ("/v1/models", vec![forged], None, Some("UNAUTHORIZED")),
        ("/v1/admin", vec![forged, ("x-api-key", key.expose())], None, Some("INSUFFICIENT_SCOPE")),
        ("/v1/models", vec![forged, ("x-api-key", revoked.expose())], None, Some("REVOKED")),
        ("/v1/models", vec![forged, ("x-api-key", key.expose())], Some("key_ci"), None),
    ] {
        assert_eq!(site.get(target, &headers).await.status, 200, "{would_deny:?}");
        let seen = site.seen();
        assert_eq!((seen.header("x-apikey-id"), seen.header("x-auth-would-deny")), (id, would_deny));
    }
}

#[tokio::test]
async fn the_backend_learns_who_calls_and_never_the_credential() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let key = string("ci");
    let bearer = format!("Bearer {}", key.expose());
    for credential in [("x-api-key", key.expose()), ("authorization", &bearer)] {
        let headers =
            [credential, ("x-apikey-id", "key_forged"), ("x-apikey-tier", "enterprise"), ("x-apikey-scopes", "*")];
        let answer = site.get("/v1/models?page=2", &headers).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "from the backend\n"));
        let seen = site.seen();
        assert_eq!((seen.method.as_str(), seen.uri.to_string().as_str()), ("GET", "/v1/models?page=2"));
        seen.assert_is_from_ci();
    }
}

#[tokio::test]
async fn a_public_route_lets_nobody_claim_to_be_somebody() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let answer = site.get("/healthz", &[("x-apikey-id", "key_forged"), ("x-api-key", "anything")]).await;
    assert_eq!(answer.status.as_u16(), 200);
    let seen = site.seen();
    assert_eq!((seen.header("x-apikey-id"), seen.header("x-api-key")), (None, None));
}

#[tokio::test]
async fn limits_are_told_on_success_and_a_429_says_when_to_come_back() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let key = string("limited");
    let headers = [("x-api-key", key.expose())];
    for remaining in ["1", "0"] {
        let answer = site.get("/v1/models", &headers).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(
            (answer.header("x-ratelimit-limit"), answer.header("x-ratelimit-remaining")),
            (Some("2"), Some(remaining))
        );
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=2;w=3600"));
        assert!(
            answer
                .header("ratelimit")
                .is_some_and(|field| field.starts_with(&format!("\"requests\";r={remaining};t=")))
        );
    }
    assert_eq!(site.backend.take().len(), 2);
    let refused = site.get("/v1/models", &headers).await;
    assert_refused(&site, &refused, 429, "RATE_LIMITED");
    let seconds = |name| refused.header(name).and_then(|value| value.parse::<u32>().ok());
    assert!(seconds("retry-after").is_some_and(|wait| (1..=2 * 3600).contains(&wait)), "{:?}", refused.headers);
    assert_eq!(seconds("x-ratelimit-remaining"), Some(0));
    assert!(seconds("x-ratelimit-reset").is_some());
}

#[tokio::test]
async fn nothing_passes_without_a_verdict() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let key = string("ci");
    verifier.stop().await;
    let answer = site.get("/v1/models", &[("x-api-key", key.expose())]).await;
    assert_refused(&site, &answer, 503, "UNAVAILABLE");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn connections_to_the_verifier_are_reused_under_load() {
    let verifier = Verifier::start().await;
    let site = Site::start(&[verifier.address()]).await;
    let key = format!("x-api-key: {}", string("ci").expose());
    for header in [key.as_str(), "x-api-key: none"] {
        let before = connections_ended(verifier.address());
        let report = Load::start(site.nginx.address(), header).report().await;
        let ended = connections_ended(verifier.address()) - before;
        // nginx ends one after 1,000 requests (keepalive_requests), of which a refusal takes two.
        assert!(report.requests > 200, "{}", report.text);
        assert!(
            ended < usize::try_from(report.requests / 20).expect("a few seconds of requests"),
            "{ended} connections to the verifier have ended in {} requests",
            report.requests
        );
    }
}

#[tokio::test]
async fn a_verifier_leaves_under_load_without_a_failed_request() {
    let (leaving, staying) = (Verifier::start().await, Verifier::start().await);
    let site = Site::start(&[leaving.address(), staying.address()]).await;
    let load = Load::start(site.nginx.address(), &format!("x-api-key: {}", string("ci").expose()));
    eventually("both verifiers are asked", async || {
        let judged = (leaving.judged(), staying.judged());
        if judged.0 > 100 && judged.1 > 100 { Ok(()) } else { Err(format!("{judged:?}")) }
    })
    .await;
    leaving.stop().await;
    let report = load.report().await;
    assert!(!report.text.contains("Non-2xx") && !report.text.contains("Socket errors"), "{}", report.text);
}

/// A load generator, which calls for a while over 16 connections.
struct Load(Process);

struct Report {
    requests: u64,
    text: String,
}

impl Load {
    fn start(address: SocketAddr, header: &str) -> Self {
        let target = format!("http://{address}/v1/models");
        let arguments = ["--threads=1", "--connections=16", "--duration=2s", "--header", header, &target];
        Self(Process::start("wrk", &tool("wrk"), arguments))
    }

    async fn report(mut self) -> Report {
        self.0.ended().await;
        let text = self.0.log();
        let count = text.lines().find_map(|line| line.trim().split_once(" requests in "));
        let requests =
            count.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("wrk reports no count: {text}"));
        Report { requests, text }
    }
}

/// Connections to `address` that the kernel still remembers as ended (TIME_WAIT), at either end.
fn connections_ended(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string(Path::new("/proc/net/tcp")).expect("the kernel tells its connections");
    let port = format!(":{:04X}", address.port());
    let is_ended = |line: &&str| {
        let mut columns = line.split_whitespace().skip(1);
        let ends = [columns.next(), columns.next()];
        columns.next() == Some("06") && ends.into_iter().flatten().any(|end| end.ends_with(&port))
    };
    table.lines().filter(is_ended).count()
}
