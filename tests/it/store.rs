//! Rate limits in real servers: that the script counts as `core::ratelimit` does, and what becomes of requests while
//! a server is away, slow, full or wrong.

mod arithmetic;
mod cluster;
mod failures;
mod login;
mod processes;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use keyturn::core::ratelimit::Rule;
use keyturn::metrics::Metrics;
use keyturn::store::{Settings, Store};
use keyturn::verify::store::{LimitStore, StoreAnswer, StoreCharge, StoreError, StoreRequest};
use smallvec::smallvec;

use crate::support::redis::Redis;
use crate::support::wait::eventually;

/// So long that no test sees it end.
const LONG: Duration = Duration::from_hours(720);

fn settings(urls: &[String]) -> Settings {
    Settings {
        urls: urls.iter().map(|url| url.parse().expect("a server's URL is one")).collect(),
        username: None,
        password_file: None,
        ca_file: None,
        timeout: Duration::from_millis(500),
        max_waiting: 64,
    }
}

fn start(settings: Settings) -> Store {
    Store::start(settings, Arc::new(Metrics::new()))
}

/// A store that is connected to these servers.
async fn connected(settings: Settings) -> Store {
    let store = start(settings);
    is_connected(&store).await;
    store
}

/// A store that is connected to this server.
async fn connected_to(server: &Redis) -> Store {
    connected(settings(&[server.url()])).await
}

async fn is_connected(store: &Store) {
    eventually("the store is connected", async || store.trouble().map_or(Ok(()), Err)).await;
}

/// Waits until the store says that it is in this trouble.
async fn is_in_trouble(store: &Store, why: &str) {
    eventually(&format!("the trouble is {why}"), async || match store.trouble() {
        Some(trouble) if trouble.contains(why) => Ok(()),
        trouble => Err(format!("{trouble:?}")),
    })
    .await;
}

/// One unit of a limit that lasts.
fn request(tag: &str, limit: u32) -> StoreRequest {
    let charge = StoreCharge { key: "k:requests".into(), rule: Rule::new(limit, LONG), cost: 1 };
    StoreRequest { tag: tag.into(), charges: smallvec![charge], commit: true }
}

/// Whether one unit of a limit that lasts is admitted.
async fn admits(store: &Store, tag: &str, limit: u32) -> Result<bool, StoreError> {
    store.charge(request(tag, limit)).await.map(|answer| answer.admitted)
}

/// Waits until a request is answered by a store that recovers by itself.
async fn answers(store: &Store, request: &StoreRequest) -> StoreAnswer {
    eventually("the store answers", async || {
        store.charge(request.clone()).await.map_err(|error| format!("{error}; {:?}", store.trouble()))
    })
    .await
}
