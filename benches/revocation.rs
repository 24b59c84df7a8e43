//! How long a revoked key lives on: from the PATCH being sent to the first refusal that a client of nginx sees,
//! for 100 keys among 10,000. Real API server, controller, verifier and nginx:
//!
//! ```text
//! tests/cluster/run.sh cargo bench --bench revocation
//! ETCD_QUOTA_BACKEND_BYTES=8589934592 tests/cluster/run.sh cargo bench --bench revocation -- --copied --keys 100000
//! ```
//!
//! Once with a client that asks again as soon as it has its answer and so leaves the API server little of a small
//! machine, once with one that rests a millisecond between requests; in turns, so that both see the same machine.
//! A figure is at most one round trip (and rest) too long; round trips are printed too. So is when the API server
//! has answered the PATCH, and when it has told another watcher of the revocation: what lies between that and the
//! refusal is the verifier's, nginx's and the client's.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use clap::Parser;
use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::Instant;

use machine::quiet;
use seed::Pattern;

use support::apply::{apply_files, field, objects};
use support::backend::Backend;
use support::cluster::Namespace;
use support::http::HttpClient;
use support::keyturn::Keyturn;
use support::nginx::Nginx;

#[path = "support/it.rs"]
#[expect(dead_code, clippy::panic, reason = "the tests use the rest, and it says what is wrong by panicking")]
mod support;

#[path = "support/machine.rs"]
#[expect(dead_code, reason = "another benchmark uses the rest")]
mod machine;
#[path = "support/seed.rs"]
#[expect(dead_code, reason = "another benchmark uses the rest")]
mod seed;

const SAMPLES: usize = 100;
/// Keys created at the same time.
const WRITERS: usize = 16;

#[derive(Parser)]
struct Options {
    /// Keys among which some are revoked.
    #[arg(long, env = "KEYTURN_BENCH_KEYS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..))]
    keys: u32,
    /// Mint one, and put the others into etcd as copies of it.
    #[arg(long)]
    copied: bool,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let Options { keys, copied, .. } = Options::parse();
    let keys = keys as usize;
    let namespace = &Namespace::create().await;
    let mut controller = Keyturn::controller(namespace).await;
    let mut verifier = Keyturn::verifier(namespace);
    verifier.ready().await;
    let backend = Backend::start().await;
    let nginx =
        Nginx::protecting(&format!("{}/transcripts", namespace.name()), verifier.auth(), backend.address()).await;
    apply_files(namespace, &["config/samples/protectedapi.yaml", "config/samples/apikeytiers.yaml"]).await;

    let name = if copied { seed::name } else { name };
    if copied {
        Pattern::mint(namespace, "pattern-key", spec()).await.multiply(namespace, 0..keys).await;
        quiet(&[controller.process().id(), verifier.process().id()]).await;
    } else {
        mint(namespace, keys).await;
    }

    let watcher = Watcher::start(objects(namespace, "ApiKey")).await;
    let client = |rest| Client { proxy: nginx.address(), rest };
    let mut kinds = [
        ("asks without a pause", client(Duration::ZERO), Figures::default()),
        ("rests 1 ms between requests", client(Duration::from_millis(1)), Figures::default()),
    ];
    // Spread over all of them.
    let samples = SAMPLES * kinds.len();
    for sample in 0..samples {
        let name = name(sample * keys / samples);
        let key = namespace.string_in(&name).await.expect("an active key has its Secret");
        let (_, client, figures) = &mut kinds[sample % 2];
        figures.add(revoke(namespace, *client, &watcher, &name, key).await);
        // The application's memory of requests is not needed.
        backend.take();
    }
    for (client, _, figures) in kinds {
        print(&format!("{SAMPLES} revocations among {keys} keys; the client {client}"));
        figures.report();
    }
}

fn name(number: usize) -> String {
    format!("bench-{number:05}")
}

/// Of every key.
fn spec() -> Value {
    json!({
        "apiRef": {"name": "transcripts"},
        "scopes": ["transcripts:read"],
        "rateLimits": [{"name": "requests", "limit": 10_000_000, "window": "1s", "autoApply": true}],
    })
}

/// Creates the keys and waits until every one is Active.
async fn mint(namespace: &Namespace, keys: usize) {
    let started = Instant::now();
    let api = objects(namespace, "ApiKey");
    let create = async |number: usize| {
        let object: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1",
            "kind": "ApiKey",
            "metadata": {"name": name(number)},
            "spec": spec(),
        }))
        .expect("the manifest has the shape of an object");
        api.create(&PostParams::default(), &object).await.expect("the server accepts a key");
        progress("created", number + 1, keys, started);
    };
    stream::iter(0..keys).map(create).buffer_unordered(WRITERS).collect::<Vec<()>>().await;

    let mut active = 0;
    while active < keys {
        tokio::time::sleep(Duration::from_secs(2)).await;
        active = active_keys(namespace).await;
        print(&format!("    {active} of {keys} keys minted, {} s", started.elapsed().as_secs()));
    }
}

async fn active_keys(namespace: &Namespace) -> usize {
    let api = objects(namespace, "ApiKey");
    let mut active = 0;
    let mut page = ListParams::default().limit(1000);
    loop {
        let list = api.list(&page).await.expect("the server lists keys");
        active += list.items.iter().filter(|key| field(key, "/status/state") == "Active").count();
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page.continue_token = Some(next),
            _ => return active,
        }
    }
}

/// What the API server tells a watcher of keys about, and when.
struct Watcher {
    revoked: Arc<Mutex<HashMap<String, Instant>>>,
    told: Arc<Notify>,
}

impl Watcher {
    /// Watches from now on.
    async fn start(api: Api<DynamicObject>) -> Self {
        let (revoked, told) = (Arc::default(), Arc::new(Notify::new()));
        let this = Self { revoked: Arc::clone(&revoked), told: Arc::clone(&told) };
        let now = api.list(&ListParams::default().limit(1)).await.expect("the server lists keys");
        let from = now.metadata.resource_version.expect("a list has a version");
        let events = api.watch(&WatchParams::default().timeout(290), &from).await.expect("the server opens a watch");
        tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.try_next().await.expect("the watch goes on") {
                if let WatchEvent::Modified(key) = event
                    && field(&key, "/spec/revoked") == true
                {
                    let at = Instant::now();
                    revoked.lock().expect("nobody panics").entry(key.name_any()).or_insert(at);
                    told.notify_one();
                }
            }
        });
        this
    }

    /// When the revocation of this key has arrived.
    async fn revoked(&self, name: &str) -> Instant {
        loop {
            if let Some(at) = self.revoked.lock().expect("nobody panics").get(name) {
                return *at;
            }
            self.told.notified().await;
        }
    }
}

/// What one revocation took, from the PATCH being sent.
struct Sample {
    /// A PATCH of an object without a schema of ours, under the same load.
    bare: Duration,
    answered: Duration,
    watched: Duration,
    refused: Duration,
    /// Of the requests before.
    round_trips: Vec<Duration>,
}

/// Revokes a key while a client keeps using it.
async fn revoke(namespace: &Namespace, client: Client, watcher: &Watcher, name: &str, key: String) -> Sample {
    let let_in = Arc::new(Notify::new());
    let mut client = tokio::spawn(client.use_until_refused(key, Arc::clone(&let_in)));
    tokio::select! {
        () = let_in.notified() => {}
        ended = &mut client => {
            ended.expect("the client is let in before the key is revoked");
        }
    }
    let bare = patch_a_config_map(namespace).await;
    let api = objects(namespace, "ApiKey");
    let patch = Patch::Merge(json!({"spec": {"revoked": true, "revocationReason": "benchmark"}}));
    let sent = Instant::now();
    api.patch(name, &PatchParams::default(), &patch).await.expect("the server takes the revocation");
    let answered = Instant::now();
    let (refused, round_trips) = client.await.expect("the client ends");
    let watched = watcher.revoked(name).await;
    Sample { bare, answered: answered - sent, watched: watched - sent, refused: refused - sent, round_trips }
}

/// The least that a PATCH takes on this API server: of an object that has been there since the start.
async fn patch_a_config_map(namespace: &Namespace) -> Duration {
    let api = namespace.api::<ConfigMap>();
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"changed": format!("{:?}", Instant::now())}}}));
    let sent = Instant::now();
    api.patch("kube-root-ca.crt", &PatchParams::default(), &patch).await.expect("the server takes the change");
    sent.elapsed()
}

/// Who uses the key that is being revoked.
#[derive(Clone, Copy)]
struct Client {
    proxy: SocketAddr,
    /// Between two requests.
    rest: Duration,
}

impl Client {
    /// When the key was refused for the first time, and how long each answer before took.
    async fn use_until_refused(self, key: String, let_in: Arc<Notify>) -> (Instant, Vec<Duration>) {
        let client = HttpClient::new(self.proxy);
        let credential = format!("Bearer {key}");
        let mut round_trips = Vec::new();
        loop {
            let asked = Instant::now();
            let answer = client.get("/v1/transcripts/1", &[("Authorization", &credential)]).await;
            let answered = Instant::now();
            let answer = answer.expect("nginx answers");
            if answer.status != StatusCode::OK {
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
                return (answered, round_trips);
            }
            round_trips.push(answered - asked);
            // Let in a few times: the connection is open and everything is warm.
            if round_trips.len() == 20 {
                let_in.notify_one();
            }
            if !self.rest.is_zero() {
                tokio::time::sleep(self.rest).await;
            }
        }
    }
}

/// What all revocations took.
#[derive(Default)]
struct Figures {
    bare: Vec<Duration>,
    answered: Vec<Duration>,
    watched: Vec<Duration>,
    refused: Vec<Duration>,
    /// From another watcher being told to the refusal; zero where the verifier was told first.
    ours: Vec<Duration>,
    round_trips: Vec<Duration>,
}

impl Figures {
    fn add(&mut self, sample: Sample) {
        self.ours.push(sample.refused.saturating_sub(sample.watched));
        self.bare.push(sample.bare);
        self.answered.push(sample.answered);
        self.watched.push(sample.watched);
        self.refused.push(sample.refused);
        self.round_trips.extend(sample.round_trips);
    }

    fn report(mut self) {
        print("| | p50 ms | p90 ms | p99 ms | max ms |");
        print("|---|---|---|---|---|");
        print(&row("PATCH of a ConfigMap sent to its answer", &mut self.bare));
        print(&row("PATCH sent to its answer", &mut self.answered));
        print(&row("PATCH sent to a watcher told", &mut self.watched));
        print(&row("PATCH sent to first refusal at a client of nginx", &mut self.refused));
        print(&row("a watcher told to first refusal", &mut self.ours));
        print(&row("one request through nginx meanwhile", &mut self.round_trips));
    }
}

fn row(what: &str, values: &mut [Duration]) -> String {
    values.sort_unstable();
    // Nearest rank: the smallest value that at least so many per cent do not exceed.
    let rank = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1000.0;
    format!("| {what} | {:.2} | {:.2} | {:.2} | {:.2} |", rank(50), rank(90), rank(99), rank(100))
}

fn progress(what: &str, done: usize, all: usize, started: Instant) {
    if done.is_multiple_of(1000) {
        print(&format!("    {done} of {all} keys {what}, {} s", started.elapsed().as_secs()));
    }
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn print(line: &str) {
    println!("{line}");
}
