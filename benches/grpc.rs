//! What the gRPC port costs: checks as Envoy asks for them, beside bare tonic servers that let everything pass.
//!
//! ```text
//! cargo bench --bench grpc
//! ```
//!
//! Every server has a runtime with one thread of its own in this process, whose processor time is what counts. A client
//! on another thread keeps 32 calls going, over one connection as a worker of Envoy does and over 32, with one server at a time, without
//! a pause, for `KEYTURN_BENCH_MILLISECONDS` (1,000) in each round. That thread never sleeps: waking it would be
//! charged to the slower servers only.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at a surprise")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join, join_all};
use keyturn::telemetry::{self, LogFormat};
use keyturn::transport::Outside;
use keyturn::transport::grpc::{self, GrpcPort};
use keyturn::transport::server::{Admission, Drain};
use prost::Message;
use prost::bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use awake::stay_awake;
use calls::{call, prefixed};
use check::{
    Address, AskedRequest, AttributeContext, CHECK, CheckRequest, HeaderMap, HeaderValue, HttpRequest, Peer,
    SocketAddress, Time, bare,
};
use fields::FIELDS;
use fleet::{Fleet, Kind, Random};
use rounds::{Figures, compare, time};
use server::{Server, auth_port};

#[path = "support/awake.rs"]
mod awake;
#[path = "support/calls.rs"]
mod calls;
#[path = "support/check.rs"]
mod check;
#[path = "support/fields.rs"]
mod fields;
#[path = "support/fleet.rs"]
mod fleet;
#[path = "../tests/it/support/frames.rs"]
#[expect(dead_code, reason = "the tests use the rest")]
mod frames;
#[path = "support/rounds.rs"]
mod rounds;
#[path = "support/server.rs"]
mod server;

const SIZE: usize = 100_000;
/// A request of which nothing is read.
#[derive(Clone, Message)]
struct Unread {
    #[prost(bytes = "bytes", tag = "1")]
    attributes: Bytes,
}

/// Calls that are going at any time.
const AT_ONCE: usize = 32;

fn port(name: &'static str, fleet: &Fleet) -> Server {
    Server::start(name, |listener| {
        let (auth, drain) = (auth_port(fleet, Outside::default()), Drain::default());
        let port = GrpcPort::new(auth, false, Arc::new(|| true), drain.stop.clone());
        grpc::server::serve(listener, port, None, drain, Admission::default())
    })
}

/// A message about every key, as Envoy would send it.
fn messages(fleet: &Fleet) -> Vec<Vec<u8>> {
    let message = |(at, string): (usize, &String)| {
        let path = "/v1/transcripts/42?verbose=true";
        let (client, authorization) = (fleet::client(at).to_string(), format!("Bearer {string}"));
        let headers = [
            (":authority", "api.example.com"),
            (":path", path),
            (":method", "GET"),
            (":scheme", "http"),
            ("user-agent", "curl/8.14.1"),
            ("accept", "*/*"),
            ("authorization", &*authorization),
            ("x-forwarded-for", &*client),
            ("x-forwarded-proto", "http"),
            ("x-request-id", "0b5e7fd2-6d1c-4c0e-9a35-6f4c2a7d1e90"),
        ];
        let header = |(key, value): (&str, &str)| HeaderValue {
            key: key.to_owned(),
            value: String::new(),
            raw_value: value.into(),
        };
        let peer = |address: &str, port_value| {
            let socket_address = Some(SocketAddress { address: address.to_owned(), port_value });
            Some(Peer { address: Some(Address { socket_address }) })
        };
        let http = HttpRequest {
            id: "14305462107938573912".to_owned(),
            method: "GET".to_owned(),
            path: path.to_owned(),
            host: "api.example.com".to_owned(),
            scheme: "http".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            header_map: Some(HeaderMap { headers: headers.map(header).into() }),
        };
        let time = Some(Time { seconds: 1_700_000_000, nanos: 123_456_000 });
        let attributes = AttributeContext {
            source: peer(&client, 51_234),
            destination: peer("10.0.0.1", 8_000),
            request: Some(AskedRequest { time, http: Some(http) }),
            context_extensions: HashMap::from([("api".to_owned(), "speech/transcripts".to_owned())]),
        };
        prefixed(&CheckRequest { attributes: Some(attributes) }.encode_to_vec())
    };
    fleet.strings.iter().enumerate().map(message).collect()
}

/// The calls of a client share that many connections.
fn measure(
    server: &Server,
    messages: &[Vec<u8>],
    connections: usize,
    client: &Runtime,
    time: Duration,
    seed: &mut u64,
) -> Figures {
    let (began, used) = (Instant::now(), server.processor());
    let end = began + time;
    let calling = (0..connections).map(|connection| {
        *seed += 1;
        let mut random = Random(*seed << 8 | connection as u64);
        let next = move || &*messages[random.below(messages.len())];
        call(server.address, CHECK, AT_ONCE / connections, end, next)
    });
    let (latencies, ()) = client.block_on(join(join_all(calling), stay_awake(end)));
    let latencies = latencies.into_iter().flatten().collect();
    Figures::new(latencies, began.elapsed(), server.processor().saturating_sub(used))
}

fn main() {
    // As in a process: without a subscriber, tracing asks at every span whether there is a log.
    telemetry::init(LogFormat::Text, "info").unwrap();
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    let time = time();
    let (single, unlimited, limited) =
        (Fleet::new(1, Kind::Limited), Fleet::new(SIZE, Kind::Unlimited), Fleet::new(SIZE, Kind::Limited));
    let servers = [
        Server::start("bare tonic", |listener| bare::<CheckRequest>(listener, Vec::new())),
        Server::start("bare tonic, the same fields", |listener| bare::<CheckRequest>(listener, FIELDS.to_vec())),
        Server::start("bare tonic that reads nothing", |listener| bare::<Unread>(listener, Vec::new())),
        port("1 key with limits", &single),
        port("100,000 keys without limits", &unlimited),
        port("100,000 keys with limits", &limited),
    ];
    let (of_one, of_all, mut seed) = (messages(&single), messages(&unlimited), 0);
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    for connections in [1, AT_ONCE] {
        compare(&format!("gRPC port, {AT_ONCE} calls at once, over {connections} connections"), &names, |at| {
            let messages = if servers[at].name.starts_with("1 key") { &of_one } else { &of_all };
            measure(&servers[at], messages, connections, &client, time, &mut seed)
        });
    }
}
