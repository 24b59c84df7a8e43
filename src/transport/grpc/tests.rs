//! Whole answers of a real engine, by messages as Envoy sends them.

use std::fmt::Write as _;
use std::sync::OnceLock;

use prost::Message as _;
use prost::bytes::Bytes;

use super::wire::{HeaderValueOption, Pair};
use super::*;
use crate::core::hosts::HostClaim;
use crate::core::policy::{Age, Api, Credential, Mode};
use crate::metrics::Metrics;
use crate::transport::Outside;
use crate::transport::answer::tests::{AT, api, engine_of, engine_over, index_of, string};

fn pair(key: &str, value: &str) -> Pair {
    Pair { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// A request for that path that names the API.
fn request(path: &'static str, headers: &[(&str, &str)]) -> CheckRequest {
    let mut request = CheckRequest::default();
    let attributes = &mut request.attributes;
    attributes.context_extensions = vec![pair("api", "speech/transcripts")];
    attributes.source.address.socket_address.address = "192.0.2.1".into();
    let http = &mut attributes.request.http;
    (http.method, http.path, http.host) = ("GET".into(), path.into(), "api.example.com:443".into());
    let headers = headers.iter().chain(&[("x-request-id", "r-1")]);
    http.headers = headers.map(|(name, value)| pair(name, value)).collect();
    request
}

fn with_key(path: &'static str) -> CheckRequest {
    request(path, &[("x-api-key", string().expose())])
}

fn port_of(engine: Option<Engine>, route_by_host: bool) -> GrpcPort {
    let engine = engine.map_or_else(OnceLock::new, OnceLock::from);
    let auth = AuthPort::new(Arc::new(Metrics::new()), Arc::new(engine), Outside::default());
    GrpcPort::new(Arc::new(auth), route_by_host, Arc::new(|| true), CancellationToken::new())
}

fn port(change: impl FnOnce(&mut Api)) -> GrpcPort {
    let mut api = api();
    change(&mut api);
    port_of(Some(engine_of(api)), false)
}

/// The answer as text, after the way over the wire.
async fn ask(port: &GrpcPort, request: &CheckRequest) -> String {
    let request = CheckRequest::decode(&*request.encode_to_vec()).unwrap();
    let response = port.check(&request, &HeaderMap::new(), || AT).await;
    let response = CheckResponse::decode(&*response.encode_to_vec()).unwrap();
    let mut text = format!("{}\n", response.status.code);
    let list = |title: &str, headers: &[HeaderValueOption]| {
        let line = |HeaderValueOption { header, append_action }: &HeaderValueOption| {
            assert_eq!(*append_action, HeaderValueOption::overwriting(Bytes::new(), Bytes::new()).append_action);
            format!("{title} {}: {}\n", utf8(&header.key), utf8(&header.value))
        };
        headers.iter().map(line).collect::<String>()
    };
    if let Some(denied) = &response.denied {
        text.push_str(&list("client", &denied.headers));
        let _ = writeln!(text, "{} {}", denied.status.code, utf8(&denied.body));
    }
    if let Some(ok) = &response.ok {
        text.push_str(&list("backend", &ok.headers));
        text.push_str(&list("client", &ok.response_headers_to_add));
        let names = |names: &[Bytes]| names.iter().map(utf8).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "without {}?{}", names(&ok.headers_to_remove), names(&ok.query_parameters_to_remove));
    }
    for field in response.dynamic_metadata.iter().flat_map(|metadata| &metadata.fields) {
        let _ = write!(text, "{}={} ", utf8(&field.key), field.value.string.as_ref().map(utf8).unwrap_or_default());
    }
    text.trim_end().to_owned()
}

fn utf8(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_refusal_is_told_whole() {
    let port = port(|_| {});
    assert_eq!(
        ask(&port, &request("/v1/a", &[])).await,
        r#"7
client content-type: application/problem+json
client cache-control: no-store
client x-auth-code: UNAUTHORIZED
client x-request-id: r-1
client www-authenticate: Bearer realm="speech/transcripts"
401 {"type":"https://keyturn.dev/problems/unauthorized","title":"Unauthorized","status":401,"detail":"A valid API key is required.","code":"UNAUTHORIZED","requestId":"r-1"}
code=UNAUTHORIZED api=speech/transcripts route=read"#
    );
}

#[tokio::test]
async fn what_is_remembered_of_a_refusal_is_no_key_wherever_it_was() {
    let key = string();
    let key = key.expose();
    let mut requests: Vec<CheckRequest> =
        ["x-api-key", "authorization", "cookie", "host", "x-forwarded-for", "x-original-uri"]
            .map(|name| request("/v1/a", &[(name, key)]))
            .into();
    for path in [format!("/v1/{key}"), format!("/{key}?{key}&api_key={key}")] {
        let mut of_path = with_key("/");
        of_path.attributes.request.http.path = path.into();
        requests.push(of_path);
    }
    for (name, of_api) in [("api", format!("{key}/{key}")), ("route", key.to_owned())] {
        let mut named = request("/v1/a", &[]);
        named.attributes.context_extensions.insert(0, pair(name, &of_api));
        requests.push(named);
    }
    for request in &mut requests {
        request.attributes.source.address.socket_address.address = "198.51.100.7".into();
        let port = port(|_| {});
        let _ = ask(&port, request).await;
        let told = port.auth.decisions.of("r-1");
        assert_eq!(told.len(), 1);
        let text = serde_json::to_string(&*told[0]).unwrap();
        assert!(!text.contains(&key[8..24]) && text.contains(r#""dialect":"grpc""#), "{text}");
    }
    let port = port(|_| {});
    let mut foreign = with_key("/v1/a");
    foreign.attributes.source.address.socket_address.address = "198.51.100.7".into();
    let _ = ask(&port, &foreign).await;
    let client = port.auth.decisions.of("r-1")[0].request.client.clone();
    assert_eq!((client.address, &*client.told_by), ("198.51.100.7".parse().ok(), CLIENT));
}

#[tokio::test]
async fn a_refusal_about_a_known_key_says_how_its_limit_stands() {
    let port = port(|_| {});
    let mut foreign = with_key("/v1/a");
    foreign.attributes.source.address.socket_address.address = "198.51.100.1".into();
    let text = ask(&port, &foreign).await;
    assert!(text.contains("\nclient x-ratelimit-remaining: 2\n") && text.contains("\n403 {"), "{text}");
    assert!(text.ends_with("code=IP_NOT_ALLOWED api=speech/transcripts route=read key=key_1 owner=acme-1"), "{text}");
    for _ in 0..2 {
        assert!(ask(&port, &with_key("/v1/a")).await.starts_with("0\n"));
    }
    let text = ask(&port, &with_key("/v1/a")).await;
    assert!(text.contains("\nclient retry-after: ") && text.contains("\n429 {"), "{text}");
}

#[tokio::test]
async fn whoever_may_pass_is_named_and_its_credential_removed() {
    let query = Credential::Query { name: "api_key".into() };
    let port = port(|api| api.credentials.push(query));
    assert_eq!(
        ask(&port, &with_key("/v1/a")).await,
        r#"0
backend x-apikey-id: key_1
backend x-apikey-name: ci
backend x-apikey-namespace: speech
backend x-apikey-owner: acme-1
backend x-apikey-environment: live
backend x-apikey-version: 3
backend x-apikey-scopes: read
client x-ratelimit-limit: 2
client x-ratelimit-remaining: 1
client x-ratelimit-reset: 1700000100
client ratelimit: "requests";r=1;t=100
client ratelimit-policy: "requests";q=2;w=60
without x-apikey-tier x-auth-would-deny x-api-key?api_key
code=ALLOWED api=speech/transcripts route=read key=key_1 owner=acme-1"#
    );
}

#[tokio::test]
async fn a_public_route_and_audit_mode_have_no_identity() {
    let nobody = "0\nwithout x-apikey-id x-apikey-name x-apikey-namespace x-apikey-owner x-apikey-environment x-apikey-tier x-apikey-version x-apikey-scopes";
    let text = ask(&port(|_| {}), &with_key("/healthz")).await;
    assert_eq!(
        text,
        format!("{nobody} x-auth-would-deny x-api-key?\ncode=ALLOWED api=speech/transcripts route=health")
    );
    let text = ask(&port(|api| api.mode = Mode::Audit), &request("/v1/a", &[])).await;
    let expected = nobody.replacen("0\n", "0\nbackend x-auth-would-deny: UNAUTHORIZED\n", 1);
    assert_eq!(
        text,
        format!("{expected} x-api-key?\ncode=ALLOWED would_deny=UNAUTHORIZED api=speech/transcripts route=read")
    );
}

#[tokio::test]
async fn nothing_passes_that_cannot_be_judged() {
    let port_without_engine = port_of(None, true);
    let text = ask(&port_without_engine, &with_key("/v1/a")).await;
    assert!(text.contains("\nclient retry-after: 5\n503 {"), "{text}");
    let port = port(|_| {});
    for (name, code) in
        [("", "404 "), ("speech", "404 "), ("speech/other", "404 "), ("speech/transcripts/x", "404 "), ("é/", "404 ")]
    {
        let mut request = with_key("/v1/a");
        request.attributes.context_extensions = vec![pair("api", name)];
        let text = ask(&port, &request).await;
        assert!(text.starts_with("7\n") && text.contains(&format!("\n{code}")), "{name}: {text}");
    }
    let mut without_path = with_key("/v1/a");
    without_path.attributes.request.http.path = Bytes::new();
    assert!(ask(&port, &without_path).await.contains("\n400 "));
    assert!(ask(&port, &CheckRequest::default()).await.contains("\n404 "));
}

#[tokio::test]
async fn a_route_may_be_named() {
    let port = port(|_| {});
    for (route, part) in [("write", "\n403 "), ("none", "\n403 "), ("read", "code=ALLOWED")] {
        let mut request = with_key("/elsewhere");
        request.attributes.context_extensions.push(pair("route", route));
        let text = ask(&port, &request).await;
        assert!(text.contains(part), "{route}: {text}");
    }
}

#[tokio::test]
async fn the_host_names_the_api_only_where_nothing_else_does_and_it_may() {
    for (route_by_host, extensions, host, status) in [
        (false, vec![], "api.example.com", 7),
        (true, vec![], "other.example.com", 7),
        (true, vec![], "", 7),
        (true, vec![pair("api", "speech/other")], "api.example.com", 7),
        (true, vec![pair("api", "")], "API.example.com:443", 0),
        (true, vec![], "api.example.com", 0),
    ] {
        let index = index_of(api());
        let age = Age { created_at: AT.now, uid: "u1".into() };
        let claim = HostClaim { age, hosts: vec!["api.example.com".into()] };
        index.change_policies(|policies| policies.hosts.enter(&api().name, claim));
        let engine = engine_over(index);
        let mut request = with_key("/v1/a");
        request.attributes.context_extensions = extensions;
        request.attributes.request.http.host = host.into();
        let text = ask(&port_of(Some(engine), route_by_host), &request).await;
        assert!(text.starts_with(&format!("{status}\n")), "{route_by_host} {host}: {text}");
    }
}

#[test]
fn a_request_shows_nothing_of_itself() {
    assert_eq!(format!("{:?}", with_key("/v1/a")), "CheckRequest { .. }");
}
