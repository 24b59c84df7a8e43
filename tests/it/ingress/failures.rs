//! What becomes of requests when nothing judges them: every proxy fails closed, and recovers by itself.

use tokio::net::TcpListener;

use super::proxies::verifier as verifier_for;
use super::world::{Api, engine, string};
use crate::support::backend::Backend;
use crate::support::http::HttpClient;
use crate::support::ports;
use crate::support::proxy::{Kind, Proxy};
use crate::support::wait::eventually;

/// What a client is told without a verdict.
pub(super) struct Told {
    /// Nothing listens.
    pub(super) killed: u16,
    /// It takes connections, and answers nothing.
    pub(super) stalled: u16,
    /// It answers that it cannot judge yet, and whether the client sees that document.
    pub(super) not_synced: (u16, bool),
}

/// As docs/ingress.md says.
pub(super) const fn told(kind: Kind) -> Told {
    let (killed, stalled, not_synced) = match kind {
        Kind::Nginx | Kind::Haproxy | Kind::EnvoyGrpc => (503, 503, (503, true)),
        Kind::Traefik => (500, 500, (503, true)),
        Kind::Caddy => (502, 504, (503, true)),
        Kind::Envoy => (503, 503, (503, false)),
    };
    Told { killed, stalled, not_synced }
}

async fn fails_closed(kind: Kind) {
    let told = told(kind);
    let address = ports::free();
    let judging = async || {
        let (engine, outside) = engine();
        verifier_for(kind, address, Some(engine), outside).await
    };
    let verifier = judging().await;
    let backend = Backend::start().await;
    let proxy = Proxy::start(kind, "speech/transcripts", address, backend.address()).await;
    let client = HttpClient::new(proxy.address());
    let key = string(Api::Transcripts, "ci");
    let headers = [("x-api-key", key.as_str())];
    let ask = async || client.get("/v1/items/1", &headers).await;
    let status = async || ask().await.expect("the proxy answers").status.as_u16();
    assert_eq!(status().await, 200, "{kind:?}");
    backend.take();

    verifier.stop().await;
    assert_eq!(status().await, told.killed, "{kind:?} without a verifier");
    let stalled = TcpListener::bind(address).await.expect("the port is free again");
    assert_eq!(status().await, told.stalled, "{kind:?} with a verifier that answers nothing");
    drop(stalled);

    let starting = verifier_for(kind, address, None, keyturn::transport::Outside::default()).await;
    eventually(&format!("{kind:?} asks a verifier that knows nothing yet"), async || {
        let answer = ask().await?;
        let is_document = answer.body.contains("\"UNAVAILABLE\"");
        let seen = (answer.status.as_u16(), is_document);
        if seen == told.not_synced { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(backend.take().len(), 0, "{kind:?} lets nothing pass");

    starting.stop().await;
    let _verifier = judging().await;
    eventually(&format!("{kind:?} recovers"), async || {
        let answer = ask().await?;
        if answer.status == 200 { Ok(()) } else { Err(answer.status.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn nginx_fails_closed_and_recovers() {
    fails_closed(Kind::Nginx).await;
}

#[tokio::test]
async fn traefik_fails_closed_and_recovers() {
    fails_closed(Kind::Traefik).await;
}

#[tokio::test]
async fn caddy_fails_closed_and_recovers() {
    fails_closed(Kind::Caddy).await;
}

#[tokio::test]
async fn haproxy_fails_closed_and_recovers() {
    fails_closed(Kind::Haproxy).await;
}

#[tokio::test]
async fn envoy_fails_closed_and_recovers() {
    fails_closed(Kind::Envoy).await;
}

#[tokio::test]
async fn envoy_over_grpc_fails_closed_and_recovers() {
    fails_closed(Kind::EnvoyGrpc).await;
}
