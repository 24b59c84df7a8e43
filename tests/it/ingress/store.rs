//! Rate limits whose store is away, through every real proxy.

use std::sync::Arc;
use std::time::Duration;

use keyturn::metrics::Metrics;
use keyturn::store::{Settings, Store};
use keyturn::transport;
use keyturn::verify::store::OnStoreError;

use super::failures::told;
use super::proxies::{any_port, verifier};
use super::site::ALL;
use super::world::{Api, engine, string};
use crate::support::backend::Backend;
use crate::support::http::HttpClient;
use crate::support::proxy::{Kind, Proxy};
use crate::support::redis::Redis;
use crate::support::wait::eventually;

async fn without_its_store(kind: Kind, on_error: OnStoreError) {
    let mut server = Redis::start().await;
    let metrics = Arc::new(Metrics::new());
    let settings = Settings {
        urls: vec![server.url().parse().expect("it is a URL")],
        username: None,
        password_file: None,
        ca_file: None,
        timeout: Duration::from_millis(500),
        max_waiting: 64,
    };
    let limits = Arc::new(Store::start(settings, Arc::clone(&metrics)));
    let (engine, mut outside) = engine();
    outside.store = Some(transport::Store { limits, on_error, metrics });
    let verifier = verifier(kind, any_port(), Some(engine.with_limits_elsewhere()), outside).await;
    let backend = Backend::start().await;
    let proxy = Proxy::start(kind, "speech/transcripts", verifier.address(), backend.address()).await;
    let client = HttpClient::new(proxy.address());
    let ask = async |key| {
        let string = string(Api::Transcripts, key);
        client.get("/v1/items/1", &[("x-api-key", string.as_str())]).await
    };
    let becomes = async |what: &str, status: u16| {
        eventually(&format!("{kind:?} {what}"), async || {
            let answer = ask("plenty").await?;
            if answer.status == status { Ok(answer) } else { Err(answer.status.to_string()) }
        })
        .await
    };
    becomes("has its store", 200).await;

    server.kill().await;
    backend.take();
    if on_error == OnStoreError::Deny {
        let (status, is_document) = told(kind).not_synced;
        let answer = becomes("refuses", status).await;
        assert_eq!(answer.body.contains("\"UNAVAILABLE\""), is_document, "{kind:?}");
        backend.take();
        for _ in 0..5 {
            assert_eq!(ask("plenty").await.expect("the proxy answers").status, status, "{kind:?}");
        }
        assert_eq!(backend.take().len(), 0, "{kind:?}");
    } else {
        for _ in 0..5 {
            assert_eq!(ask("plenty").await.expect("the proxy answers").status, 200, "{kind:?} counts by itself");
        }
        for status in [200, 200, 429] {
            let answer = ask("limited").await.expect("the proxy answers");
            assert_eq!(answer.status, status, "{kind:?} counts by itself");
        }
    }
    assert_eq!(ask("ci").await.expect("the proxy answers").status, 200, "{kind:?}: nothing is counted of this key");

    server.restart().await;
    becomes("recovers", 200).await;
}

#[tokio::test]
async fn limits_that_cannot_be_counted_refuse_where_they_are_to() {
    for kind in ALL {
        without_its_store(kind, OnStoreError::Deny).await;
    }
}

#[tokio::test]
async fn limits_that_cannot_be_counted_together_are_counted_alone() {
    for kind in ALL {
        without_its_store(kind, OnStoreError::Local).await;
    }
}
