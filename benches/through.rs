//! What judging costs through real proxies with the configurations of config/ingress: nobody asked, servers asked that let
//! everything pass, and Keyturn asked about 100,000 keys with limits; beside them Envoy's own filter for API keys.
//!
//! ```text
//! tests/cluster/run.sh cargo bench --bench through
//! ```
//!
//! Counted is the processor time of the proxy's processes and of the thread of whoever it asks. 32 connections of
//! a client on another thread ask one proxy at a time, without a pause, for `KEYTURN_BENCH_MILLISECONDS` (1,000) in
//! each round; client and backend, which share the processors with them, are not counted. nginx and Envoy have one
//! worker, the others as many threads as they take. `KEYTURN_BENCH_PROXIES`, of their names, leaves the others out.

#![expect(clippy::unwrap_used, reason = "a benchmark ends at a surprise")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use keyturn::telemetry::{self, LogFormat};
use keyturn::transport::Outside;
use keyturn::transport::grpc::{self, GrpcPort};
use keyturn::transport::server::{Admission, Drain, serve};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use check::CheckRequest;
use fields::FIELDS;
use fleet::{Fleet, Kind as Judged};
use plain::{CONNECTIONS, ask_all};
use rounds::{Figures, compare, time};
use server::{Server, auth_port, processor_of};
use support::proxy::{Kind, Options, Proxy};
use support::root;

/// The test support, as far as it is needed here.
#[path = "../tests/it/support"]
#[expect(dead_code, clippy::panic, reason = "the tests use the rest, and it says what is wrong by panicking")]
mod support {
    pub(crate) mod envoy;
    pub(crate) mod http;
    pub(crate) mod nginx;
    pub(crate) mod ports;
    pub(crate) mod process;
    pub(crate) mod proxy;
    pub(crate) mod wait;

    pub(crate) fn root() -> &'static std::path::Path {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
    }
}

#[path = "support/check.rs"]
mod check;
#[path = "support/fields.rs"]
mod fields;
#[path = "support/fleet.rs"]
#[expect(dead_code, reason = "other benchmarks use the rest")]
mod fleet;
#[path = "support/plain.rs"]
mod plain;
#[path = "support/rounds.rs"]
mod rounds;
#[path = "support/server.rs"]
mod server;

const SIZE: usize = 100_000;
const KINDS: [Kind; 6] = [Kind::Nginx, Kind::Traefik, Kind::Caddy, Kind::Haproxy, Kind::Envoy, Kind::EnvoyGrpc];

/// A proxy to be measured, and whom it asks.
struct Contender<'a> {
    name: &'a str,
    proxy: Proxy,
    /// Its first process.
    process: BTreeSet<u32>,
    asked: Option<&'a Server>,
    /// How many of the keys its requests take turns with.
    keys: usize,
}

impl Contender<'_> {
    fn processor(&self) -> [Duration; 2] {
        // Workers come after their master has begun to listen.
        let processes = self.process.iter().flat_map(|first| started_by(*first).into_iter().chain([*first]));
        let of_process = |process: u32| processor_of(format!("/proc/{process}/task").as_ref(), |_| true);
        [processes.map(of_process).sum(), self.asked.map(Server::processor).unwrap_or_default()]
    }

    fn measure(&self, requests: &[String], client: &Runtime, time: Duration, seed: &mut u64) -> Figures {
        let (began, used) = (Instant::now(), self.processor());
        let asking = ask_all(self.proxy.address(), &requests[..self.keys], began + time, seed);
        let latencies = client.block_on(asking);
        let took = began.elapsed();
        let now = self.processor();
        let [proxy, asked] = [0, 1].map(|at| now[at].saturating_sub(used[at]));
        let requests = u32::try_from(latencies.len()).unwrap();
        Figures { proxy: Some(proxy / requests), ..Figures::new(latencies, took, proxy + asked) }
    }
}

/// Everything that the proxies stand between.
struct Around {
    client: Runtime,
    backend: Server,
    fleet: Fleet,
}

impl Around {
    /// A proxy that asks that server, or none, with that change of its configuration.
    fn contender<'a>(
        &self,
        kind: Kind,
        name: &'a str,
        asked: Option<&'a Server>,
        change: impl FnOnce(String) -> String,
    ) -> Contender<'a> {
        let before = started_by(std::process::id());
        // Nobody listens where nobody is asked.
        let verifier = asked.map_or_else(support::ports::free, |server| server.address);
        let api = "speech/transcripts";
        // It would close each connection after a thousand requests.
        let kept = if kind == Kind::Nginx { "keepalive_requests 1000000000;\n" } else { "" };
        let edit = |text: String| kept.to_owned() + &change(text);
        let start = Proxy::start_edited(kind, api, verifier, self.backend.address, Options::default(), edit);
        let proxy = self.client.block_on(start);
        let process = &started_by(std::process::id()) - &before;
        Contender { name, proxy, process, asked, keys: SIZE }
    }

    /// Envoy with its own filter in place of the one that asks.
    fn own_filter<'a>(&self, name: &'a str, keys: usize) -> Contender<'a> {
        let contender = self.contender(Kind::Envoy, name, None, |text| {
            let credentials = self.fleet.strings[..keys].iter().enumerate();
            let credentials = credentials.fold(String::new(), |mut list, (at, key)| {
                let _ = write!(list, "{{key: {key}, client: customer-{at:06}}}, ");
                list
            });
            let filter = format!(
                "- name: envoy.filters.http.api_key_auth
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth
                      key_sources: [{{header: Authorization}}]
                      forwarding: {{header: x-apikey-name, hide_credentials: true}}
                      credentials: [{credentials}]
                  "
            );
            replaced(text, EXT_AUTHZ, ROUTER, &filter)
        });
        Contender { keys, ..contender }
    }
}

/// The filters of Envoy's configurations.
const EXT_AUTHZ: &str = "- name: envoy.filters.http.ext_authz\n";
const ROUTER: &str = "- name: envoy.filters.http.router\n";

/// The processes that this one has started.
fn started_by(process: u32) -> BTreeSet<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let children: String = children.collect();
    children.split_whitespace().map(|child| child.parse().unwrap()).collect()
}

/// With what lies between `from`, which goes too, and `to`, which stays, replaced.
fn replaced(text: String, from: &str, to: &str, by: &str) -> String {
    let (before, rest) = text.split_once(from).expect("the configuration has it");
    let after = rest.find(to).expect("the configuration goes on so");
    format!("{before}{by}{}", &rest[after..])
}

/// The configuration of a proxy that asks nobody.
fn asking_nobody(kind: Kind, text: String) -> String {
    match kind {
        Kind::Nginx => {
            let part = |name: &str| format!("include {}", root().join("config/ingress/nginx").join(name).display());
            let kept = "proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host";
            let text = replaced(text, &part("keyturn.conf"), "\n", "");
            replaced(text, &part("keyturn-protect.conf"), ";", kept)
        }
        Kind::Traefik => replaced(text, "middlewares: [keyturn]", "\n", "middlewares: []"),
        Kind::Caddy => replaced(text, "import keyturn {", "\n", ""),
        Kind::Haproxy => replaced(text, "http-request lua.keyturn", "default_backend", ""),
        Kind::Envoy | Kind::EnvoyGrpc => replaced(text, EXT_AUTHZ, ROUTER, ""),
    }
}

/// Servers that are asked over HTTP, and those that are asked over gRPC: the first two let everything pass.
fn servers(fleet: &Fleet) -> [[Server; 3]; 2] {
    let http = [
        Server::start("bare hyper", |listener| plain::bare(listener, &[])),
        Server::start("bare hyper, the same fields", |listener| plain::bare(listener, &FIELDS)),
        Server::start("Keyturn", |listener| {
            let port = auth_port(fleet, Outside::default());
            let answer = move |call| {
                let port = Arc::clone(&port);
                async move { port.answer(call).await }
            };
            serve(listener, answer, Drain::default(), Admission::default())
        }),
    ];
    let grpc = [
        Server::start("bare tonic", |listener| check::bare::<CheckRequest>(listener, Vec::new())),
        Server::start("bare tonic, the same fields", |listener| check::bare::<CheckRequest>(listener, FIELDS.to_vec())),
        Server::start("Keyturn", |listener| {
            let (auth, drain) = (auth_port(fleet, Outside::default()), Drain::default());
            let port = GrpcPort::new(auth, false, Arc::new(|| true), drain.stop.clone());
            grpc::server::serve(listener, port, None, drain, Admission::default())
        }),
    ];
    [http, grpc]
}

#[expect(clippy::disallowed_methods, reason = "a benchmark is told by its environment")]
fn chosen() -> Vec<Kind> {
    let told = std::env::var("KEYTURN_BENCH_PROXIES").unwrap_or_default();
    let is_chosen = |kind: &Kind| told.is_empty() || told.split(',').any(|name| name == format!("{kind:?}"));
    KINDS.into_iter().filter(is_chosen).collect()
}

fn main() {
    // As in a process: without a subscriber, tracing asks at every span whether there is a log.
    telemetry::init(LogFormat::Text, "info").unwrap();
    let client = Builder::new_current_thread().enable_all().build().unwrap();
    // Proxies say that all requests come from here.
    let fleet = Fleet::admitting(SIZE, Judged::Limited, Some("127.0.0.0/8"));
    let backend = Server::start("backend", |listener| plain::bare(listener, &[]));
    let [http, grpc] = servers(&fleet);
    let around = Around { client, backend, fleet };
    let request = |key: &String| {
        format!(
            "GET /v1/transcripts/42?verbose=true HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.14.1\r\n\
             Accept: */*\r\nAuthorization: Bearer {key}\r\n\r\n"
        )
    };
    let requests: Vec<_> = around.fleet.strings.iter().map(request).collect();
    let (time, mut seed) = (time(), 0);
    for kind in chosen() {
        let servers = if kind == Kind::EnvoyGrpc { &grpc } else { &http };
        let mut contenders: Vec<_> =
            servers.iter().map(|server| around.contender(kind, server.name, Some(server), |text| text)).collect();
        contenders.push(around.contender(kind, "nobody is asked", None, |text| asking_nobody(kind, text)));
        if kind == Kind::Envoy {
            contenders.push(around.own_filter("Envoy's api_key_auth, 1 key", 1));
            contenders.push(around.own_filter("Envoy's api_key_auth, 100,000 keys", SIZE));
        }
        let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
        compare(&format!("{kind:?}, {SIZE} keys, {CONNECTIONS} connections"), &names, |at| {
            contenders[at].measure(&requests, &around.client, time, &mut seed)
        });
    }
}
