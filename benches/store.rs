//! What limits cost that are counted in a server: charges of two limits through `keyturn::store`, beside a bare client that sends
//! the same `EVALSHA` to the same server.
//!
//! ```text
//! tests/cluster/run.sh cargo bench --bench store
//! ```
//!
//! Both keep 1, 16 and 64 requests going at once for `KEYTURN_BENCH_MILLISECONDS` (1,000) a round, in turns, on a runtime
//! with one thread, whose processor time is what counts. The bare client has as many connections as the store, one,
//! and as many as requests, none of which is ever sent two at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use keyturn::core::ratelimit::Rule;
use keyturn::metrics::Metrics;
use keyturn::store::{Settings, Store};
use keyturn::verify::store::{LimitStore, StoreCharge, StoreRequest};
use redis::aio::MultiplexedConnection;
use rustix::time::{ClockId, clock_gettime};
use smallvec::smallvec;
use tokio::runtime::Builder;
use tokio::sync::Mutex;
use tokio::time::Instant;

use rounds::{Figures, compare, time};
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

#[path = "support/rounds.rs"]
mod rounds;

/// So many that none is refused.
const LIMIT: u32 = 1_000_000_000;
const WINDOWS: [Duration; 2] = [Duration::from_secs(1), Duration::from_hours(1)];
/// Whose limits are charged, in turns.
const OWNERS: usize = 1_000;

/// One charge of both limits of an owner.
trait Charging {
    async fn charge(&self, task: usize, owner: usize);
}

impl Charging for Store {
    async fn charge(&self, _task: usize, owner: usize) {
        let limit = |key: &str, window| StoreCharge { key: key.into(), rule: Rule::new(LIMIT, window), cost: 1 };
        let charges = smallvec![limit("k:a", WINDOWS[0]), limit("k:b", WINDOWS[1])];
        let tag = format!("owner-{owner}").into();
        let answer = LimitStore::charge(self, StoreRequest { tag, charges, commit: true }).await;
        assert!(answer.expect("the server answers").admitted);
    }
}

/// Connections of which each has one request going at a time.
struct Bare {
    digest: String,
    connections: Vec<Mutex<MultiplexedConnection>>,
}

impl Bare {
    async fn connect(server: &Redis, connections: usize) -> Self {
        let client = redis::Client::open(format!("redis://{}", server.address())).expect("the address is one");
        let connect = (0..connections).map(|_| client.get_multiplexed_async_connection());
        let mut connections: Vec<_> =
            join_all(connect).await.into_iter().map(|connection| connection.expect("the server answers")).collect();
        let source = include_str!("../src/store/charge.lua");
        let digest = redis::cmd("SCRIPT").arg("LOAD").arg(source).query_async(&mut connections[0]).await;
        let digest = digest.expect("the script is one");
        Self { digest, connections: connections.into_iter().map(Mutex::new).collect() }
    }
}

impl Charging for Bare {
    async fn charge(&self, task: usize, owner: usize) {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.digest).arg(2);
        for (name, window) in ["k:a", "k:b"].into_iter().zip(WINDOWS) {
            command.arg(format!("keyturn:{{owner-{owner}}}:{name}:{}", window.as_millis()));
        }
        command.arg(1);
        for window in WINDOWS {
            command.arg(LIMIT).arg(window.as_millis()).arg(1);
        }
        let mut connection = self.connections[task % self.connections.len()].lock().await;
        let answer: Vec<i64> = command.query_async(&mut *connection).await.expect("the server answers");
        assert_eq!(answer[0], 1);
    }
}

/// Keeps that many charges going for as long.
async fn measure(charging: &impl Charging, at_once: usize, time: Duration) -> Figures {
    let (began, used) = (Instant::now(), processor());
    let end = began + time;
    let tasks = (0..at_once).map(|task| async move {
        let mut latencies = Vec::new();
        let mut owner = task;
        loop {
            let sent = Instant::now();
            if sent >= end {
                return latencies;
            }
            charging.charge(task, owner % OWNERS).await;
            owner += at_once;
            latencies.push(sent.elapsed());
        }
    });
    let latencies = join_all(tasks).await.into_iter().flatten().collect();
    Figures::new(latencies, began.elapsed(), processor().saturating_sub(used))
}

/// What this process has had of the processors; the server is another one.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("there is a runtime");
    let time = time();
    let _inside = runtime.enter();
    let server = runtime.block_on(Redis::start());
    let settings = Settings {
        urls: vec![server.url().parse().expect("a server's URL is one")],
        username: None,
        password_file: None,
        ca_file: None,
        timeout: Duration::from_secs(5),
        max_waiting: 1_024,
    };
    let store = Store::start(settings, Arc::new(Metrics::new()));
    let connected = async || store.trouble().map_or(Ok(()), Err);
    runtime.block_on(eventually("the store is connected", connected));
    for at_once in [1, 16, 64] {
        let (one, as_many) =
            runtime.block_on(async { (Bare::connect(&server, 1).await, Bare::connect(&server, at_once).await) });
        let names = ["bare, one connection", "bare, a connection each", "store"];
        compare(&format!("{at_once} charges at once"), &names, |contender| match contender {
            0 => runtime.block_on(measure(&one, at_once, time)),
            1 => runtime.block_on(measure(&as_many, at_once, time)),
            _ => runtime.block_on(measure(&store, at_once, time)),
        });
    }
}
