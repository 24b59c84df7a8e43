//! HTTP/2 as browsers speak it: over TLS, agreed on by ALPN. What [`super::http2`] tries over the one is tried over the other.

use std::net::SocketAddr;

use futures::future::join_all;
use keyturn::tls::ClientFiles;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::http2::get_nowhere;
use super::site::{ALL, Site};
use super::world::Api;
use crate::support::envoy::replaced;
use crate::support::ports;
use crate::support::proxy::{Kind, Options};
use crate::support::redis::Certificates;

/// The proxy's configuration with TLS: at that address, or beside cleartext at its own where it can tell the two apart.
fn with_tls(kind: Kind, text: &str, address: SocketAddr, certificates: &Certificates) -> String {
    let (certificate, key) = (certificates.certificate(), certificates.key());
    let (chain, private) = (certificate.display(), key.display());
    match kind {
        Kind::Nginx => {
            let own = "listen {listen}";
            let listen = format!("listen {address} ssl http2; ssl_certificate {chain}; ssl_certificate_key {private};");
            replaced(text, own, &format!("{listen} {own}"))
        }
        Kind::Traefik => {
            let router =
                "    over-tls: {rule: PathPrefix(`/`), middlewares: [keyturn], service: backend, tls: {}}\n  services:";
            let store = format!(
                "tls: {{stores: {{default: {{defaultCertificate: {{certFile: {chain}, keyFile: {private}}}}}}}}}\n"
            );
            replaced(text, "  services:", router) + &store
        }
        Kind::Caddy => {
            let text = replaced(text, "protocols h1 h2c", "protocols h1 h2 h2c");
            // Otherwise it redirects from port 80.
            let text = replaced(&text, "admin off", "admin off\n\tauto_https off");
            let (_, site) = text.split_once("http://:{$PORT:8000} {").expect("it has a site");
            format!("{text}\nhttps://:{} {{\n\ttls {chain} {private}{site}", address.port())
        }
        Kind::Haproxy => {
            let read = |file| std::fs::read_to_string(file).expect("openssl has written it");
            let both = certificate.with_extension("pem");
            std::fs::write(&both, read(&certificate) + &read(&key)).expect("the folder can be written to");
            let bind = format!("bind {address} ssl crt {} alpn h2,http/1.1\n    bind \"${{LISTEN}}\"", both.display());
            replaced(text, "bind \"${LISTEN}\"", &bind)
        }
        Kind::Envoy | Kind::EnvoyGrpc => {
            let types = "\"@type\": type.googleapis.com/envoy.extensions";
            let chain = format!(
                "
        - filter_chain_match: {{transport_protocol: tls}}
          transport_socket:
            name: envoy.transport_sockets.tls
            typed_config:
              {types}.transport_sockets.tls.v3.DownstreamTlsContext
              common_tls_context:
                alpn_protocols: [h2, http/1.1]
                tls_certificates: [{{certificate_chain: {{filename: {chain}}}, private_key: {{filename: {private}}}}}]
          filters: *filters
      listener_filters:
        - name: envoy.filters.listener.tls_inspector
          typed_config: {{{types}.filters.listener.tls_inspector.v3.TlsInspector}}
  clusters:"
            );
            replaced(&replaced(text, "        - filters:\n", "        - filters: &filters\n"), "\n  clusters:", &chain)
        }
    }
}

#[tokio::test]
async fn nothing_that_is_said_over_http2_and_tls_gets_around_a_route() {
    let certificates = Certificates::of("clients");
    let trusted = ClientFiles { ca: Some(certificates.ca()), identity: None };
    let connector = trusted.connector().await.expect("the authority's certificate is good");
    // At once, for some take their time to hang up.
    join_all(ALL.map(async |kind| {
        let (own, other) = (ports::free(), ports::free());
        let options = Options { listen: Some(own), ..Options::default() };
        let edit = |text: String| with_tls(kind, &text, other, &certificates);
        let site = Site::start_edited(kind, Api::Transcripts, options, edit).await;
        let address = if matches!(kind, Kind::Nginx | Kind::Caddy | Kind::Haproxy) { other } else { own };
        get_nowhere(&site, "https", async || {
            let stream = TcpStream::connect(address).await.expect("the proxy listens");
            let connector = connector.with_alpn(vec![b"h2".to_vec()]);
            let stream = connector.connect(ServerName::from(address.ip()), stream).await;
            let stream = stream.unwrap_or_else(|error| panic!("{kind:?}: {error}"));
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "{kind:?}");
            stream
        })
        .await;
    }))
    .await;
}
