//! A real Envoy with config/ingress/envoy-grpc/ as it stands, between a client and a backend that remembers what reached
//! it. The verifier is the real engine behind the real gRPC port, in this process.

mod failure;
mod tls;
mod verifier;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::nginx::verifier::string;
use crate::support::backend::{Backend, Seen};
use crate::support::envoy::{Envoy, replaced};
use crate::support::http::{Answer, HttpClient};
use crate::support::ports;
use crate::support::wait::eventually;
use verifier::{Options, Verifier};

/// Everything from the client's side of Envoy on.
struct Site {
    envoy: Envoy,
    backend: Backend,
}

impl Site {
    async fn start(verifier: SocketAddr) -> Self {
        Self::start_with(verifier, |text| text).await
    }

    /// `change`: of Envoy's configuration.
    async fn start_with(verifier: SocketAddr, change: impl FnOnce(String) -> String) -> Self {
        let backend = Backend::start().await;
        let envoy = Envoy::asking_over_grpc(verifier, backend.address(), change).await;
        let site = Self { envoy, backend };
        site.answers_when("Envoy asks the verifier", "/healthz", &[], 200).await;
        site.backend.take();
        site
    }

    async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        HttpClient::new(self.envoy.address()).get(target, headers).await.expect("Envoy answers")
    }

    async fn answers_when(&self, what: &str, target: &str, headers: &[(&str, &str)], status: u16) {
        eventually(what, async || match self.get(target, headers).await {
            answer if answer.status.as_u16() == status => Ok(()),
            answer => Err(format!("{answer:?}: {}", self.envoy.log())),
        })
        .await;
    }

    /// The only request that has reached the backend.
    fn seen(&self) -> Seen {
        self.backend.take_one()
    }
}

/// Fails unless the client was given the problem document of `code`, and the backend nothing.
#[track_caller]
fn assert_refused(site: &Site, answer: &Answer, status: u16, code: &str) {
    let document: Value = serde_json::from_str(&answer.body).expect("the body is a document");
    let told = (answer.status.as_u16(), answer.header("content-type"), &document["status"], &document["code"]);
    let expected = (status, Some("application/problem+json"), &status.into(), &code.into());
    assert_eq!(told, expected, "{}", answer.body);
    assert_eq!(answer.header("x-request-id"), document["requestId"].as_str());
    assert_eq!(site.backend.take().len(), 0, "the backend must not be asked");
}

#[tokio::test]
async fn refusals_reach_the_client_as_they_are() {
    let verifier = Verifier::start().await;
    let site = Site::start(verifier.address()).await;
    let (key, limited) = (string("ci"), string("limited"));
    let (key, limited) = (key.expose(), limited.expose());
    for (target, headers, status, code) in [
        ("/v1/models", &[][..], 401, "UNAUTHORIZED"),
        ("/v1/models", &[("x-api-key", "sk_live_made_up")], 401, "UNAUTHORIZED"),
        ("/v1/models", &[("x-api-key", key), ("x-api-key", limited)], 401, "UNAUTHORIZED"),
        ("/v1/admin", &[("x-api-key", key)], 403, "INSUFFICIENT_SCOPE"),
        ("/v2", &[("x-api-key", key)], 403, "ROUTE_NOT_FOUND"),
        ("/v1/models;x", &[("x-api-key", key)], 400, "BAD_REQUEST"),
        ("/v1/models", &[("x-api-key", string("revoked").expose())], 401, "REVOKED"),
    ] {
        let answer = site.get(target, headers).await;
        assert_refused(&site, &answer, status, code);
        let challenge = (status == 401).then_some("Bearer realm=\"speech/transcripts\"");
        assert_eq!(answer.header("www-authenticate"), challenge, "{code}");
    }
    let limited = [("x-api-key", limited)];
    for remaining in ["1", "0"] {
        let answer = site.get("/v1/models", &limited).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-remaining")), (200, Some(remaining)));
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=2;w=3600"));
    }
    site.backend.take();
    let answer = site.get("/v1/models", &limited).await;
    assert_refused(&site, &answer, 429, "RATE_LIMITED");
    assert!(answer.header("retry-after").is_some() && answer.header("x-ratelimit-reset").is_some(), "{answer:?}");
}

#[tokio::test]
async fn the_backend_behind_envoy_learns_who_calls_and_never_the_credential() {
    let verifier = Verifier::start().await;
    let site = Site::start(verifier.address()).await;
    let key = string("ci");
    let bearer = format!("bearer {}", key.expose());
    let query = format!("/v1/models?api_key={}&page=2", key.expose());
    let forged = [("x-apikey-id", "key_forged"), ("x-apikey-tier", "enterprise"), ("x-auth-would-deny", "forged")];
    for (target, credential) in [
        ("/v1/models?page=2", Some(("x-api-key", key.expose()))),
        ("/v1/models?page=2", Some(("authorization", &*bearer))),
        (&*query, None),
    ] {
        let headers: Vec<_> = forged.into_iter().chain(credential).collect();
        assert_eq!(site.get(target, &headers).await.status, 200);
        let seen = site.seen();
        assert_eq!(seen.uri.to_string(), "/v1/models?page=2");
        seen.assert_is_from_ci();
        assert_eq!(seen.header("x-auth-would-deny"), None);
    }
    let public = [("x-api-key", key.expose()), ("x-apikey-id", "key_forged")];
    assert_eq!(site.get("/healthz", &public).await.status, 200);
    let seen = site.seen();
    assert_eq!((seen.header("x-apikey-id"), seen.header("x-api-key")), (None, None));
    // Only the log of who asked knows.
    let line = "code=ALLOWED key=key_ci ";
    eventually("the access log is written", async || {
        let log = site.envoy.log();
        if log.contains(line) && !log.contains(key.expose()) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn without_an_api_named_by_envoy_the_host_decides_if_it_may() {
    let nameless = |text: String| {
        replaced(
            &text,
            "check_settings: {context_extensions: {api: speech/transcripts}}",
            "check_settings: {context_extensions: {}}",
        )
    };
    let key = string("ci");
    for (route_by_host, host, status) in
        [(false, "api.example.com", 404), (true, "other.example.com", 404), (true, "API.example.com:8000", 200)]
    {
        let options = Options { spec: json!({"hosts": ["api.example.com"]}), route_by_host, ..Options::default() };
        let verifier = Verifier::start_with(ports::free(), options).await;
        let backend = Backend::start().await;
        let envoy = Envoy::asking_over_grpc(verifier.address(), backend.address(), nameless).await;
        let client = HttpClient::new(envoy.address());
        let headers = [("x-api-key", key.expose()), ("host", host)];
        eventually(&format!("{host} is answered {status}"), async || {
            let answer = client.get("/v1/models", &headers).await?;
            if answer.status.as_u16() == status { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn the_route_names_the_api_as_envoy_gateway_describes_it() {
    let described = |text: String| {
        let text = replaced(
            &text,
            "check_settings: {context_extensions: {api: speech/transcripts}}",
            "check_settings: {context_extensions: {}}",
        );
        let text = replaced(
            &text,
            "transport_api_version: V3",
            "transport_api_version: V3\n                      route_metadata_context_namespaces: [envoy-gateway]",
        );
        let resource = "{kind: HTTPRoute, name: a, namespace: speech, annotations: {keyturn-api: speech/transcripts}}";
        let metadata = format!("metadata: {{filter_metadata: {{envoy-gateway: {{resources: [{resource}]}}}}}}");
        replaced(&text, "{match: {prefix: /}, route:", &format!("{{match: {{prefix: /}}, {metadata}, route:"))
    };
    let verifier = Verifier::start().await;
    let site = Site::start_with(verifier.address(), described).await;
    let key = string("ci");
    assert_refused(&site, &site.get("/v1/admin", &[("x-api-key", key.expose())]).await, 403, "INSUFFICIENT_SCOPE");
    assert_eq!(site.get("/v1/models", &[("x-api-key", key.expose())]).await.status, 200);
}
