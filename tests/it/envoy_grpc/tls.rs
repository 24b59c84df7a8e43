//! Envoy and the gRPC port over TLS, each with a certificate.

use std::sync::Arc;

use keyturn::tls::{ServerFiles, ServerTls};
use keyturn::transport::grpc::server::PROTOCOL;

use super::verifier::{Options, Verifier};
use super::{Site, replaced};
use crate::nginx::verifier::string;
use crate::support::backend::Backend;
use crate::support::envoy::Envoy;
use crate::support::http::HttpClient;
use crate::support::ports;
use crate::support::redis::Certificates;

/// The cluster `keyturn` over TLS: trusts the authority, and has a certificate that the other one signed.
fn over_tls(text: &str, authority: &Certificates, own: Option<&Certificates>) -> String {
    let own = own.map_or_else(String::new, |own| {
        let (certificate, key) = (own.certificate(), own.key());
        let (certificate, key) = (certificate.display(), key.display());
        format!(
            ", tls_certificates: [{{certificate_chain: {{filename: {certificate}}}, private_key: {{filename: {key}}}}}]"
        )
    });
    let trusted = authority.ca();
    let socket = format!(
        "connect_timeout: 1s
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          common_tls_context: {{validation_context: {{trusted_ca: {{filename: {}}}}}{own}}}
      typed_extension",
        trusted.display()
    );
    replaced(text, "connect_timeout: 1s\n      typed_extension", &socket)
}

#[tokio::test]
async fn only_who_has_a_certificate_of_the_authority_asks_over_tls() {
    let (servers, proxies, strangers) =
        (Certificates::of("servers"), Certificates::of("proxies"), Certificates::of("strangers"));
    let files = ServerFiles { certificate: servers.certificate(), key: servers.key(), client_ca: Some(proxies.ca()) };
    let tls = Some(Arc::new(ServerTls::new(files, PROTOCOL).await.expect("the files are good")));
    let verifier = Verifier::start_with(ports::free(), Options { tls, ..Options::default() }).await;
    let key = string("ci");
    let headers = [("x-api-key", key.expose())];
    for (authority, own) in [(&servers, None), (&servers, Some(&strangers)), (&strangers, Some(&proxies))] {
        let backend = Backend::start().await;
        let change = |text: String| over_tls(&text, authority, own);
        let envoy = Envoy::asking_over_grpc(verifier.address(), backend.address(), change).await;
        let answer = HttpClient::new(envoy.address()).get("/v1/models", &headers).await.expect("Envoy answers");
        assert_eq!((answer.status.as_u16(), backend.take().len()), (503, 0));
    }
    let site = Site::start_with(verifier.address(), |text| over_tls(&text, &servers, Some(&proxies))).await;
    assert_eq!(site.get("/v1/models", &headers).await.status, 200);
}
