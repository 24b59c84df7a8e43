//! What clients of Envoy see when the verifier is not there, does not answer or is not ready: never the backend.

use std::net::Ipv4Addr;

use serde_json::json;
use tokio::net::TcpListener;

use super::verifier::{Options, Verifier};
use super::{Envoy, Site, replaced};
use crate::nginx::verifier::string;
use crate::support::backend::Backend;
use crate::support::http::HttpClient;
use crate::support::ports;

#[tokio::test]
async fn without_a_verifier_envoy_lets_nothing_pass_and_it_goes_on_when_there_is_one() {
    let address = ports::free();
    let verifier = Verifier::start_with(address, Options::default()).await;
    let site = Site::start(address).await;
    let key = string("ci");
    let headers = [("x-api-key", key.expose())];
    assert_eq!(site.get("/v1/models", &headers).await.status, 200);
    site.backend.take();

    verifier.stop().await;
    for target in ["/v1/models", "/healthz"] {
        assert_eq!(site.get(target, &headers).await.status, 503, "{target}");
    }
    assert_eq!(site.backend.take().len(), 0);

    let _verifier = Verifier::start_with(address, Options::default()).await;
    site.answers_when("Envoy finds the verifier again", "/v1/models", &headers, 200).await;
}

#[tokio::test]
async fn a_verifier_that_is_not_ready_is_not_asked_while_another_is() {
    // One that refuses, so that it shows whether it was asked.
    let spec = json!({"routes": [{"name": "health", "path": "/healthz", "public": true}]});
    let refusing = Verifier::start_with(ports::free(), Options { spec, ..Options::default() }).await;
    let verifier = Verifier::start().await;
    refusing.set_ready(false);
    let endpoint = |verifier: &Verifier| {
        let address = verifier.address();
        let (ip, port) = (address.ip(), address.port());
        format!("- endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}\n")
    };
    let both = |text: String| {
        let (first, second) = (endpoint(&refusing), endpoint(&verifier));
        replaced(&text, &first, &format!("{first}              {second}"))
    };
    let site = Site::start_with(refusing.address(), both).await;
    let key = string("ci");
    let headers = [("x-api-key", key.expose())];
    site.answers_when("the one that is ready is asked", "/v1/models", &headers, 200).await;
    for _ in 0..20 {
        assert_eq!(site.get("/v1/models", &headers).await.status, 200);
    }
    refusing.set_ready(true);
    site.answers_when("both are asked", "/v1/models", &headers, 403).await;
}

#[tokio::test]
async fn a_verifier_that_does_not_answer_lets_nothing_pass() {
    // It accepts connections and says nothing.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
    let backend = Backend::start().await;
    let verifier = silent.local_addr().expect("a listener has an address");
    let envoy = Envoy::asking_over_grpc(verifier, backend.address(), |text| text).await;
    let key = string("ci");
    let answer = HttpClient::new(envoy.address()).get("/v1/models", &[("x-api-key", key.expose())]).await;
    assert_eq!(answer.expect("Envoy answers").status, 503);
    assert_eq!(backend.take().len(), 0);
}
