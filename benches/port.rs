//! What the auth port costs over HTTP: requests as nginx makes them for 100,000 keys, beside a bare hyper server that
//! lets everything pass.
//!
//! ```text
//! tests/cluster/run.sh cargo bench --bench port
//! ```
//!
//! Every server has a runtime with one thread of its own in this process, whose processor time is what counts; 32
//! connections of a client on another thread ask one server at a time, without a pause, for
//! `KEYTURN_BENCH_MILLISECONDS` (1,000) in each round. That thread never sleeps: waking it would be charged to
//! the slower servers only. The same limits are counted in memory and in a Redis server.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at a surprise")]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join};
use keyturn::metrics::Metrics;
use keyturn::store::{Settings, Store as Shared};
use keyturn::transport::server::{Admission, Drain, serve};
use keyturn::transport::{Outside, Store};
use keyturn::verify::spender::{Shortage, Supplier};
use keyturn::verify::store::OnStoreError;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use awake::stay_awake;
use fields::FIELDS;
use fleet::{Fleet, Kind, hand_out};
use plain::{CONNECTIONS, ask_all, bare};
use rounds::{Figures, compare, time};
use server::{Server, auth_port};
use support::redis::Redis;
use support::wait::eventually;

/// The test support, as far as it is needed here.
#[path = "../tests/it/support"]
#[expect(dead_code, clippy::panic, reason = "the tests use the rest, and it says what is wrong by panicking")]
mod support {
    pub(crate) mod ports;
    pub(crate) mod process;
    pub(crate) mod redis;
    pub(crate) mod wait;
}

#[path = "support/awake.rs"]
mod awake;
#[path = "support/fields.rs"]
mod fields;
#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/rounds.rs"]
mod rounds;
#[path = "support/server.rs"]
mod server;

const SIZE: usize = 100_000;

/// Hands out chunks that last for the whole benchmark, as an API server would that is asked in no time.
struct Bank;

impl Supplier for Bank {
    fn supply(&self, shortage: Shortage) -> BoxFuture<'_, bool> {
        hand_out(&shortage, keyturn::clock::now());
        std::future::ready(true).boxed()
    }
}

/// The auth port with those keys. `outside` is called within its runtime.
fn port(name: &'static str, fleet: &Fleet, outside: impl FnOnce() -> Outside) -> Server {
    Server::start(name, |listener| {
        let port = auth_port(fleet, outside());
        let answer = move |call| {
            let port = Arc::clone(&port);
            async move { port.answer(call).await }
        };
        serve(listener, answer, Drain::default(), Admission::default())
    })
}

/// A request about every key, as nginx would send it.
fn requests(fleet: &Fleet) -> Vec<String> {
    let request = |(at, string): (usize, &String)| {
        format!(
            "GET /auth/nginx/speech/transcripts HTTP/1.1\r\nX-Original-Method: GET\r\n\
             X-Original-URI: /v1/transcripts/42?verbose=true\r\nX-Real-IP: {}\r\nHost: auth\r\nUser-Agent: curl/8.14.1\r\n\
             Accept: */*\r\nAuthorization: Bearer {string}\r\n\r\n",
            fleet::client(at)
        )
    };
    fleet.strings.iter().enumerate().map(request).collect()
}

fn measure(server: &Server, requests: &[String], client: &Runtime, time: Duration, seed: &mut u64) -> Figures {
    let (began, used) = (Instant::now(), server.processor());
    let end = began + time;
    let (latencies, ()) = client.block_on(join(ask_all(server.address, requests, end, seed), stay_awake(end)));
    Figures::new(latencies, began.elapsed(), server.processor().saturating_sub(used))
}

/// Limits in a server next door; within a runtime.
fn connect(redis: &Redis) -> Arc<Shared> {
    let settings = Settings {
        urls: vec![redis.url().parse().unwrap()],
        username: None,
        password_file: None,
        ca_file: None,
        timeout: Duration::from_secs(1),
        max_waiting: 1_024,
    };
    Arc::new(Shared::start(settings, Arc::new(Metrics::new())))
}

fn main() {
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let time = time();
    let memory = || Outside { supplier: Some(Arc::new(Bank)), store: None };
    // All have the same strings.
    let [unlimited, limited, elsewhere, owned, metered] =
        [Kind::Unlimited, Kind::Limited, Kind::Limited, Kind::Owned, Kind::Metered].map(|kind| Fleet::new(SIZE, kind));
    let (redis, store) = (client.block_on(Redis::start()), OnceLock::new());
    let in_redis = || {
        let limits = Arc::clone(store.get_or_init(|| connect(&redis)));
        Outside { supplier: None, store: Some(Store { limits, on_error: OnStoreError::Deny, metrics: Arc::default() }) }
    };
    let servers = [
        Server::start("bare hyper", |listener| bare(listener, &[])),
        Server::start("bare hyper, the same fields", |listener| bare(listener, &FIELDS)),
        port("no limits", &unlimited, memory),
        port("limits of key and tier", &limited, memory),
        port("the same in Redis", &elsewhere, in_redis),
        port("and of the owner", &owned, memory),
        port("and quota and credits", &metered, memory),
    ];
    let connected = async || store.get().and_then(|store| store.trouble()).map_or(Ok(()), Err);
    client.block_on(eventually("the store is connected", connected));
    let (requests, mut seed) = (requests(&unlimited), 0);
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    compare(&format!("Auth port, {SIZE} keys, {CONNECTIONS} connections"), &names, |at| {
        measure(&servers[at], &requests, &client, time, &mut seed)
    });
}
