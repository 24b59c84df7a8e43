//! A verifier that is not ready, beside one that is.

use serde_json::json;

use super::verifier::{Options, Verifier};
use super::{Site, replaced};
use crate::nginx::verifier::string;
use crate::support::ports;

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
