//! What clients lie about, through every real proxy: nobody gets in where they must not, and nothing falls over.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::site::{ALL, Site};
use super::world::{Api, string};
use crate::support::http::HttpClient;

/// What any proxy, or any backend's framework, might take for the path or the method.
const OTHER_REQUEST: [(&str, &str); 14] = [
    ("x-original-uri", "/healthz"),
    ("x-original-url", "http://h/healthz"),
    ("x-original-method", "GET"),
    ("x-forwarded-uri", "/healthz"),
    ("x-forwarded-method", "GET"),
    ("x-forwarded-prefix", "/healthz"),
    ("x-rewrite-url", "/healthz"),
    ("x-envoy-original-path", "/healthz"),
    ("x-http-method-override", "GET"),
    ("path", "/healthz"),
    ("method", "GET"),
    ("x_original_uri", "/healthz"),
    ("x_forwarded_uri", "/healthz"),
    ("x-auth-code", "ALLOWED"),
];

/// What any of them might take for the address.
const OTHER_ADDRESS: [(&str, &str); 10] = [
    ("x-forwarded-for", "192.0.2.1"),
    ("x-real-ip", "192.0.2.1"),
    ("forwarded", "for=192.0.2.1"),
    ("x-envoy-external-address", "192.0.2.1"),
    ("x-client-ip", "192.0.2.1"),
    ("true-client-ip", "192.0.2.1"),
    ("cf-connecting-ip", "192.0.2.1"),
    ("x-envoy-internal", "true"),
    ("x_forwarded_for", "192.0.2.1"),
    ("x_real_ip", "192.0.2.1"),
];

/// Ways to spell a path that is refused so that somebody takes it for one that is public, or the other way round.
pub(super) const TARGETS: [&str; 24] = [
    "/v1/admin",
    "/v1/admin/",
    "/healthz/../v1/admin",
    "/healthz/%2e%2e/v1/admin",
    "/healthz/.%2e/v1/admin",
    "/healthz%2f..%2fv1/admin",
    "/healthz/..%2fv1/admin",
    "/healthz/..;/v1/admin",
    "/healthz;/../v1/admin",
    "/healthz\\..\\v1\\admin",
    "/healthz%5c..%5cv1%5cadmin",
    "/healthz%00/../v1/admin",
    "/healthz#/../v1/admin",
    "//v1/admin",
    "/./v1/admin",
    "/v1//admin",
    "/v1/admin;/healthz",
    "/v1/admin?/healthz",
    "/v1/admin#/healthz",
    "/v1/admin?policy=/auth/nginx/speech/open",
    "http://other.example/v1/admin",
    "http://other.example/healthz/../v1/admin",
    "http://healthz/v1/admin",
    "healthz/../v1/admin",
];

/// What is answered to these bytes, which ask for the connection to be closed; empty when it is closed without a word.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the proxy listens");
    let mut answer = Vec::new();
    let exchange = async {
        // A proxy that has heard enough may hang up.
        let _ = stream.write_all(request.as_bytes()).await;
        let _ = stream.read_to_end(&mut answer).await;
    };
    timeout(Duration::from_secs(20), exchange).await.expect("the proxy answers or hangs up");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_the_client_says_about_its_request_counts_nowhere() {
    for kind in ALL {
        let site = Site::start(kind).await;
        let client = HttpClient::new(site.proxy.address());
        let key = string(Api::Transcripts, "ci");
        for headers in OTHER_REQUEST.into_iter().map(|lie| vec![lie]).chain([OTHER_REQUEST.to_vec()]) {
            let headers: Vec<_> = headers.into_iter().chain([("x-api-key", key.as_str())]).collect();
            let answer = client.get("/v1/admin", &headers).await.expect("the proxy answers");
            assert_eq!(answer.status, 403, "{kind:?} {headers:?}");
            answer.assert_is_problem(403, "INSUFFICIENT_SCOPE");
            let answer = client.get("/v1/items/1", &headers[..headers.len() - 1]).await.expect("the proxy answers");
            assert_eq!(answer.status, 401, "{kind:?} {headers:?}");
        }
        assert_eq!(site.backend.take().len(), 0, "{kind:?}");
    }
}

#[tokio::test]
async fn what_the_client_says_about_its_address_counts_nowhere() {
    for kind in ALL {
        let site = Site::start(kind).await;
        let client = HttpClient::new(site.proxy.address());
        let (far, near) = (string(Api::Transcripts, "far"), string(Api::Transcripts, "near"));
        for headers in OTHER_ADDRESS.into_iter().map(|lie| vec![lie]).chain([OTHER_ADDRESS.to_vec()]) {
            let with = |key: &'static str, value| headers.iter().copied().chain([(key, value)]).collect::<Vec<_>>();
            let answer = client.get("/v1/items/1", &with("x-api-key", far.as_str())).await.expect("the proxy answers");
            assert_eq!(answer.status, 403, "{kind:?} {headers:?}");
            answer.assert_is_problem(403, "IP_NOT_ALLOWED");
            let answer = client.get("/v1/items/1", &with("x-api-key", near.as_str())).await.expect("the proxy answers");
            assert_eq!(answer.status, 200, "{kind:?} {headers:?}");
        }
        assert_eq!(site.backend.take().len(), OTHER_ADDRESS.len() + 1, "{kind:?}");
    }
}

/// The one path that everybody may have.
pub(super) fn is_public(uri: &http::Uri) -> bool {
    matches!(uri.path(), "/healthz" | "/healthz/")
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_its_route() {
    for kind in ALL {
        let site = Site::start(kind).await;
        let key = string(Api::Transcripts, "ci");
        for target in TARGETS {
            // A key that may not do this one thing, and none.
            for credential in [format!("X-API-Key: {key}\r\n"), String::new()] {
                let request = format!("GET {target} HTTP/1.1\r\nHost: site\r\n{credential}Connection: close\r\n\r\n");
                let answer = raw(site.proxy.address(), &request).await;
                let passed = site.backend.take();
                let wrong: Vec<_> = passed.iter().filter(|seen| !is_public(&seen.uri)).collect();
                assert!(wrong.is_empty(), "{:?} {target} {credential}: {wrong:?} {answer}", site.kind);
            }
        }
    }
}

#[tokio::test]
async fn malformed_and_oversized_requests_get_nowhere() {
    let key = string(Api::Transcripts, "ci");
    let huge = format!("X-API-Key: {key}\r\nX: {}\r\n", "y".repeat(64 * 1024));
    let two = format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {}\r\n", string(Api::Transcripts, "other"));
    for kind in ALL {
        let site = Site::start(kind).await;
        for (what, head) in [
            ("64 KiB of headers", format!("GET /v1/items/1 HTTP/1.1\r\nHost: site\r\n{huge}")),
            ("two keys", format!("GET /v1/items/1 HTTP/1.1\r\nHost: site\r\n{two}")),
            ("no path", format!("GET  HTTP/1.1\r\nHost: site\r\nX-API-Key: {key}\r\n")),
            ("CONNECT", "CONNECT site:80 HTTP/1.1\r\nHost: site:80\r\n".to_owned()),
            ("the proxy's own paths", "GET /_keyturn/judge HTTP/1.1\r\nHost: site\r\n".to_owned()),
            ("the auth port's paths", "GET /auth/nginx/speech/open HTTP/1.1\r\nHost: site\r\n".to_owned()),
            (
                "another method in the body",
                "POST /v1/items/1 HTTP/1.1\r\nHost: site\r\nContent-Length: 0\r\n".to_owned(),
            ),
        ] {
            let answer = raw(site.proxy.address(), &format!("{head}Connection: close\r\n\r\n")).await;
            assert!(!answer.starts_with("HTTP/1.1 2"), "{kind:?} {what}: {answer}");
            assert_eq!(site.backend.take().len(), 0, "{kind:?} {what}: {answer}");
        }
        let client = HttpClient::new(site.proxy.address());
        let answer = client.get("/v1/items/1", &[("x-api-key", key.as_str())]).await.expect("the proxy answers");
        assert_eq!(answer.status, 200, "{kind:?}: it still works");
    }
}
