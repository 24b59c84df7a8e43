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

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join, join_all};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use keyturn::metrics::Metrics;
use keyturn::store::{Settings, Store as Shared};
use keyturn::transport::server::{Admission, Drain, serve};
use keyturn::transport::{AuthPort, Outside, Store};
use keyturn::verify::spender::{Shortage, Supplier};
use keyturn::verify::store::OnStoreError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use fleet::{Fleet, Kind, Random, hand_out};
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

#[path = "support/fleet.rs"]
mod fleet;
#[path = "support/rounds.rs"]
mod rounds;

const SIZE: usize = 100_000;
const CONNECTIONS: usize = 32;

/// Hands out chunks that last for the whole benchmark, as an API server would that is asked in no time.
struct Bank;

impl Supplier for Bank {
    fn supply(&self, shortage: Shortage) -> BoxFuture<'_, bool> {
        hand_out(&shortage, keyturn::clock::now());
        std::future::ready(true).boxed()
    }
}

/// A server to be measured.
struct Server {
    name: &'static str,
    address: SocketAddr,
    /// Ends with it.
    _runtime: Runtime,
    /// Name of its thread.
    thread: String,
}

impl Server {
    /// `start` serves on that listener for ever.
    fn start<F>(name: &'static str, at: usize, start: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let thread = format!("server-{at}");
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(&thread).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = {
            let _inside = runtime.enter();
            start(listener)
        };
        runtime.spawn(serving);
        Self { name, address, _runtime: runtime, thread }
    }

    /// The auth port with those keys. `outside` is called within its runtime.
    fn port(name: &'static str, at: usize, fleet: &Fleet, outside: impl FnOnce() -> Outside) -> Self {
        Self::start(name, at, |listener| {
            let (engine, outside) = (fleet.engine(), outside());
            fleet.warm(&engine, keyturn::clock::now());
            let engine = if outside.store.is_some() { engine.with_limits_elsewhere() } else { engine };
            let port = AuthPort::new(Arc::new(Metrics::new()), Arc::new(OnceLock::from(engine)), outside);
            let port = Arc::new(port);
            let answer = move |call| {
                let port = Arc::clone(&port);
                async move { port.answer(call).await }
            };
            serve(listener, answer, Drain::default(), Admission::default())
        })
    }

    /// Processor time of its thread.
    fn processor(&self) -> Duration {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let own = tasks
            .filter(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == self.thread));
        let nanoseconds = own.map(|task| {
            let statistics = std::fs::read_to_string(task.join("schedstat")).unwrap();
            statistics.split(' ').next().unwrap().parse::<u64>().unwrap()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

/// What the auth port is measured by: the same connections, and an empty answer with these fields.
async fn bare(listener: TcpListener, fields: HeaderMap) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let fields = fields.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let mut response = Response::new(String::new());
            response.headers_mut().clone_from(&fields);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(75))
            .max_header_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

/// As many fields, and as long ones, as the auth port's answers have.
fn fields() -> HeaderMap {
    let lines = [
        ("x-apikey-id", "key_0000000000000000012345"),
        ("x-apikey-name", "customer-012345"),
        ("x-apikey-namespace", "speech"),
        ("x-apikey-owner", "acme-012345"),
        ("x-apikey-environment", "live"),
        ("x-apikey-tier", "pro"),
        ("x-apikey-version", "1"),
        ("x-apikey-scopes", ""),
        ("x-auth-would-deny", ""),
        ("x-ratelimit-limit", "4294967295"),
        ("x-ratelimit-remaining", "4294967280"),
        ("x-ratelimit-reset", "1700000000"),
        ("ratelimit", "\"burst\";r=4294967280;t=2"),
        ("ratelimit-policy", "\"burst\";q=4294967295;w=1"),
    ];
    let field = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    lines.into_iter().map(field).collect()
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

/// Asks without a pause until `end`; the latency of every request.
async fn ask(server: SocketAddr, requests: &[String], mut random: Random, end: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut answer) = (Vec::new(), Vec::with_capacity(4_096));
    loop {
        let sent = Instant::now();
        if sent >= end {
            return latencies;
        }
        stream.write_all(requests[random.below(requests.len())].as_bytes()).await.unwrap();
        answer.clear();
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the server goes on");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
        latencies.push(sent.elapsed());
    }
}

async fn stay_awake(end: Instant) {
    while Instant::now() < end {
        tokio::task::yield_now().await;
    }
}

fn measure(server: &Server, requests: &[String], client: &Runtime, time: Duration, seed: &mut u64) -> Figures {
    let (began, used) = (Instant::now(), server.processor());
    let ask = |connection: usize| {
        *seed += 1;
        ask(server.address, requests, Random(*seed << 8 | connection as u64), began + time)
    };
    let asking = join_all((0..CONNECTIONS).map(ask));
    let (latencies, ()) = client.block_on(join(asking, stay_awake(began + time)));
    let latencies = latencies.into_iter().flatten().collect();
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
        Server::start("bare hyper", 0, |listener| bare(listener, HeaderMap::new())),
        Server::start("bare hyper, the same fields", 1, |listener| bare(listener, fields())),
        Server::port("no limits", 2, &unlimited, memory),
        Server::port("limits of key and tier", 3, &limited, memory),
        Server::port("the same in Redis", 4, &elsewhere, in_redis),
        Server::port("and of the owner", 5, &owned, memory),
        Server::port("and quota and credits", 6, &metered, memory),
    ];
    let connected = async || store.get().and_then(|store| store.trouble()).map_or(Ok(()), Err);
    client.block_on(eventually("the store is connected", connected));
    let (requests, mut seed) = (requests(&unlimited), 0);
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    compare(&format!("Auth port, {SIZE} keys, {CONNECTIONS} connections"), &names, |at| {
        measure(&servers[at], &requests, &client, time, &mut seed)
    });
}
