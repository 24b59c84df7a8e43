//! 100,000 ApiKeys on a real API server: how long a verifier takes to know them, how fast more are minted and how fast
//! many are rotated, each beside a bare client that reads or writes the same.
//!
//! ```text
//! ETCD_QUOTA_BACKEND_BYTES=8589934592 tests/cluster/run.sh cargo bench --bench scale -- --keys 100000
//! ```
//!
//! All but the minted keys are copies of one, put into etcd directly, with their Secrets and ApiKeyUsages.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use clap::Parser;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use keyturn::resources::{ApiKey, ApiKeyUsage};
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use machine::{Taken, quiet};
use seed::{API, Pattern, ask};
use support::apply::{field, objects};
use support::cluster::Namespace;
use support::http::HttpClient;
use support::keyturn::Keyturn;

#[path = "support/it.rs"]
#[expect(dead_code, clippy::panic, reason = "the tests use the rest, and it says what is wrong by panicking")]
mod support;

#[path = "support/machine.rs"]
mod machine;
#[path = "support/seed.rs"]
#[expect(dead_code, reason = "another benchmark uses the rest")]
mod seed;

/// Keys that are created at the same time, and keys that the bare client works on at the same time.
const WRITERS: usize = 16;
const BARE: usize = 64;

/// Objects on a page, as a verifier asks for them.
const PAGE: u32 = 500;

/// How often a key is created while others are rotated.
const NOW_AND_THEN: Duration = Duration::from_secs(5);

#[derive(Parser)]
struct Options {
    /// Keys that are there before anything is measured.
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Keys that are minted, and that the bare client writes.
    #[arg(long, default_value_t = 3_000)]
    minted: usize,
    /// Keys whose rotation is due in the same minute.
    #[arg(long, default_value_t = 10_000)]
    rotated: usize,
    /// Seconds for which it is looked what processes take without anything to do.
    #[arg(long, default_value_t = 30)]
    quiet: u64,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let namespace = Namespace::create().await;
    let controller = seed::controller(&namespace).await;
    let pattern = Pattern::mint(&namespace, "pattern-key", json!({})).await;
    let due = json!({"rotation": {"interval": "20m", "gracePeriod": "1m"}});
    let rotating = Pattern::mint(&namespace, "pattern-rotating", due).await;
    drop(controller);
    let strings = pattern.multiply(&namespace, 0..options.keys).await;
    print(&format!("{} keys; bytes of each in etcd: {}", options.keys, pattern.bytes()));

    let mut verifier = cold_start(&namespace, &strings[options.keys - 1]).await;
    let mut controller = Keyturn::start("controller", &namespace, &["--leader-lease=2s"]);
    let started = Instant::now();
    controller.ready().await;
    print(&format!("the controller has read every kind after {:.1} s", started.elapsed().as_secs_f64()));
    let processes = [("verifier", verifier.process().id()), ("controller", controller.process().id())];
    let pids = processes.map(|(_, pid)| pid);
    quiet(&pids).await;
    print(&format!("and looked at every key after {:.1} s", started.elapsed().as_secs_f64()));
    let before = taken(&processes);
    sleep(Duration::from_secs(options.quiet)).await;
    tell(&format!("in {} s without anything to do", options.quiet), &before, &taken(&processes));

    // Until the end: taking them down is work for the API server.
    let elsewhere = [Namespace::create().await, Namespace::create().await];
    for (round, elsewhere) in elsewhere.iter().enumerate() {
        minting(&namespace, elsewhere, round, options.minted, &processes).await;
    }
    quiet(&pids).await;
    rotations(&namespace, rotating, options.keys..options.keys + options.rotated, &processes).await;
    sizes().await;
}

/// How long a verifier takes until it lets a key in, beside a bare client that lists the same ApiKeys.
async fn cold_start(namespace: &Namespace, string: &str) -> Keyturn {
    // The first one warms the API server up.
    for _ in 0..2 {
        let started = Instant::now();
        let (bytes, pages) = list_as_text(namespace).await;
        let took = started.elapsed().as_secs_f64();
        print(&format!("bare list: {took:.2} s for {bytes} bytes in {pages} pages"));
        let started = Instant::now();
        let keys = list_as_keys(namespace).await;
        let took = started.elapsed().as_secs_f64();
        print(&format!("bare list, parsed: {took:.2} s for {keys} keys"));
    }
    let started = Instant::now();
    let mut verifier = Keyturn::verifier(namespace);
    let client = HttpClient::new(verifier.auth());
    let target = format!("/auth/nginx/{}/{API}", namespace.name());
    while ask(&client, &target, string).await != "200" {
        sleep(Duration::from_millis(10)).await;
    }
    let taken = Taken::by(verifier.process().id()).since(Taken::default());
    print(&format!("verifier: lets the last key in after {:.2} s; {taken}", started.elapsed().as_secs_f64()));
    verifier
}

async fn list_as_text(namespace: &Namespace) -> (usize, usize) {
    let (mut bytes, mut pages, mut next) = (0, 0, String::new());
    let path = format!("/apis/keyturn.dev/v1alpha1/namespaces/{}/apikeys?limit={PAGE}", namespace.name());
    loop {
        let request = Request::get(format!("{path}&continue={next}")).body(Vec::new()).expect("it is a request");
        let text = namespace.client().request_text(request).await.expect("the server lists keys");
        (bytes, pages) = (bytes + text.len(), pages + 1);
        // No ApiKey has such a field, but the list itself.
        let token = text.rsplit_once(r#""continue":""#).and_then(|(_, rest)| rest.split('"').next());
        match token {
            Some(token) if !token.is_empty() => token.clone_into(&mut next),
            _ => return (bytes, pages),
        }
    }
}

async fn list_as_keys(namespace: &Namespace) -> usize {
    let api = namespace.api::<ApiKey>();
    let (mut keys, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let list = api.list(&page).await.expect("the server lists keys");
        keys.extend(list.items);
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page.continue_token = Some(next),
            _ => return keys.len(),
        }
    }
}

/// How fast keys are minted, beside a bare client that makes the same writes elsewhere.
async fn minting(
    namespace: &Namespace,
    elsewhere: &Namespace,
    round: usize,
    keys: usize,
    processes: &[(&'static str, u32)],
) {
    let (before, asked) = (taken(processes), requests(namespace.client()).await);
    let started = Instant::now();
    let bare = Bare::new(elsewhere);
    stream::iter(0..keys).map(|number| bare.write(number)).buffer_unordered(BARE).collect::<Vec<()>>().await;
    let bare = keys as f64 / started.elapsed().as_secs_f64();
    tell(&format!("bare client, {bare:.1} keys/s"), &before, &taken(processes));
    tell_requests(&asked, &requests(namespace.client()).await, keys);

    let (before, asked) = (taken(processes), requests(namespace.client()).await);
    let started = Instant::now();
    let mut states = States::follow(namespace, format!("bench=minted-{round}")).await;
    let create = async |number: usize| create(namespace, &format!("minted-{round}-{number}"), round).await;
    let creating = stream::iter(0..keys).map(create).buffer_unordered(WRITERS).collect::<Vec<()>>();
    let created = async {
        creating.await;
        print(&format!("    {keys} keys created after {:.1} s", started.elapsed().as_secs_f64()));
    };
    tokio::join!(created, states.until(keys, is_enforced));
    let minted = keys as f64 / started.elapsed().as_secs_f64();
    let share = 100.0 * minted / bare;
    tell(&format!("minted, {minted:.1} keys/s, {share:.0} % of the bare client"), &before, &taken(processes));
    tell_requests(&asked, &requests(namespace.client()).await, keys);
}

async fn create(namespace: &Namespace, name: &str, round: usize) {
    let key = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey",
        "metadata": {"name": name, "labels": {"bench": format!("minted-{round}")}},
        "spec": {"apiRef": {"name": API}},
    });
    let key: DynamicObject = serde_json::from_value(key).expect("it is an object");
    objects(namespace, "ApiKey").create(&PostParams::default(), &key).await.expect("the server takes a key");
}

fn is_enforced(key: &DynamicObject) -> bool {
    let conditions = field(key, "/status/conditions").as_array();
    let holds = |condition: &Value| condition["type"] == "Enforced" && condition["status"] == "True";
    field(key, "/status/state") == "Active" && conditions.into_iter().flatten().any(holds)
}

/// What minting a key writes, by somebody who reads nothing and waits for nobody.
struct Bare {
    keys: Api<DynamicObject>,
    usages: Api<ApiKeyUsage>,
    secrets: Api<Secret>,
    events: Api<Event>,
}

impl Bare {
    fn new(namespace: &Namespace) -> Self {
        Self {
            keys: objects(namespace, "ApiKey"),
            usages: namespace.api(),
            secrets: namespace.api(),
            events: namespace.api(),
        }
    }

    async fn write(&self, number: usize) {
        let (name, post) = (format!("bare-{number}"), PostParams::default());
        let key = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": name},
            "spec": {"apiRef": {"name": API}},
        });
        let key: DynamicObject = serde_json::from_value(key).expect("it is an object");
        let mut key = self.keys.create(&post, &key).await.expect("the server takes a key");
        let uid = key.uid().expect("an object has a uid");
        let owner = json!([{
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "name": name, "uid": uid, "controller": true,
        }]);
        let usage = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyUsage",
            "metadata": {"name": format!("key-{uid}"), "ownerReferences": owner}, "spec": {},
        });
        let usage = serde_json::from_value(usage).expect("it is an object");
        self.usages.create(&post, &usage).await.expect("the server takes an ApiKeyUsage");
        let secret = |name: &str| {
            let data = json!({"api-key": "x".repeat(48), "api-key-id": "key_x", "api-key-version": "1"});
            let metadata = json!({"name": name, "ownerReferences": owner, "labels": {"keyturn.dev/apikey-uid": uid}});
            serde_json::from_value::<Secret>(json!({"metadata": metadata, "stringData": data})).expect("it is one")
        };
        let staged = format!("keyturn-{uid}-1");
        self.secrets.create(&post, &secret(&staged)).await.expect("the server takes a Secret");
        key = self.status(key, "Staged").await;
        self.secrets.create(&post, &secret(&name)).await.expect("the server takes a Secret");
        key = self.status(key, "Current").await;
        let event = json!({
            "metadata": {"name": format!("{name}.1")}, "action": "Reconcile", "reason": "Minted", "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000000Z", "note": "version 1 is handed out and accepted everywhere",
            "reportingController": "bench", "reportingInstance": "bench",
            "regarding": {"apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "name": name, "uid": uid,
                "namespace": key.namespace()},
        });
        let event = serde_json::from_value(event).expect("it is an event");
        self.events.create(&post, &event).await.expect("the server takes an event");
        self.secrets.delete(&staged, &DeleteParams::default()).await.expect("the server deletes a Secret");
        self.status(key, "Retired").await;
    }

    /// A status as big as ours.
    async fn status(&self, mut key: DynamicObject, state: &str) -> DynamicObject {
        let at = "2026-01-01T00:00:00Z";
        let conditions = ["Accepted", "Ready", "SecretSynced", "Enforced"].map(|kind| {
            json!({"type": kind, "status": "True", "reason": kind, "lastTransitionTime": at, "observedGeneration": 1,
                "message": "no process that judges keys accepts what this generation forbids, now or later"})
        });
        key.data["status"] = json!({
            "observedGeneration": 1, "state": "Active", "id": "key_0000000000000000000000", "start": "sk_live_abcd",
            "versions": [{"number": 1, "digest": "0".repeat(64), "pepper": "p1", "start": "sk_live_abcd",
                "mintedAt": at, "state": state}],
            "conditions": conditions, "secretRef": {"name": key.name_any(), "key": "api-key"},
            "history": [{"at": at, "actor": "bench", "action": "Created"}, {"at": at, "actor": "keyturn", "action": "Minted"}],
        });
        let name = key.name_any();
        let written = self.keys.replace_status(&name, &PostParams::default(), &key).await;
        written.expect("the server takes a status")
    }
}

/// How long rotations take that are due in the same minute, and keys that are created meanwhile.
async fn rotations(
    namespace: &Namespace,
    mut rotating: Pattern,
    numbers: std::ops::Range<usize>,
    processes: &[(&'static str, u32)],
) {
    let keys = numbers.len();
    // Due after 20 minutes, less up to a twentieth of that.
    #[expect(clippy::disallowed_methods, reason = "when they are due is to be soon")]
    let last = Timestamp::now() + SignedDuration::from_secs(60 + 60 - 20 * 60);
    let at = rotating.key("/status/lastRotatedAt");
    let last = last.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    rotating.replace(&format!(r#""lastRotatedAt":"{at}""#), &format!(r#""lastRotatedAt":"{last}""#));
    rotating.label("bench", "rotated");
    let (before, asked) = (taken(processes), requests(namespace.client()).await);
    let mut states = States::follow(namespace, "bench=rotated".to_owned()).await;
    rotating.multiply(namespace, numbers).await;
    let started = Instant::now();
    let meanwhile = async {
        let mut took = Vec::new();
        for number in 0.. {
            let name = format!("meanwhile-{number}");
            let began = Instant::now();
            let mut state = States::follow(namespace, format!("bench=minted-{}", 1_000 + number)).await;
            create(namespace, &name, 1_000 + number).await;
            state.until(1, is_enforced).await;
            took.push(began.elapsed().as_secs_f64());
            print(&format!(
                "    a key created meanwhile is minted and enforced after {:.2} s",
                began.elapsed().as_secs_f64()
            ));
            sleep(NOW_AND_THEN).await;
        }
        took
    };
    let rotated = |key: &DynamicObject| {
        let versions = field(key, "/status/versions").as_array();
        versions.into_iter().flatten().any(|version| version["number"] == 2 && version["state"] == "Current")
    };
    tokio::select! {
        () = states.until(keys, rotated) => {}
        _ = meanwhile => {}
    }
    let took = started.elapsed().as_secs_f64();
    tell(
        &format!("{keys} keys that are due from 60 to 120 s after they came are rotated after {took:.1} s"),
        &before,
        &taken(processes),
    );
    tell_requests(&asked, &requests(namespace.client()).await, keys);
}

/// What becomes of the keys with a label.
struct States(mpsc::UnboundedReceiver<DynamicObject>);

impl States {
    async fn follow(namespace: &Namespace, label: String) -> Self {
        let api = objects(namespace, "ApiKey");
        let now = api.list(&ListParams::default().limit(1)).await.expect("the server lists keys");
        let mut from = now.metadata.resource_version.expect("a list has a version");
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let params = WatchParams::default().timeout(290).labels(&label);
            loop {
                let events = api.watch(&params, &from).await.expect("the server opens a watch");
                let mut events = std::pin::pin!(events);
                while let Ok(Some(event)) = events.try_next().await {
                    match event {
                        WatchEvent::Added(key) | WatchEvent::Modified(key) => {
                            from = key.resource_version().unwrap_or(from);
                            if tell.send(key).is_err() {
                                return;
                            }
                        }
                        WatchEvent::Bookmark(bookmark) => from = bookmark.metadata.resource_version,
                        WatchEvent::Deleted(_) | WatchEvent::Error(_) => {}
                    }
                }
            }
        });
        Self(told)
    }

    /// Waits until this has been true of so many keys.
    async fn until(&mut self, keys: usize, holds: impl Fn(&DynamicObject) -> bool) {
        let (started, mut done) = (Instant::now(), HashSet::new());
        while done.len() < keys {
            let key = self.0.recv().await.expect("the watch goes on");
            if holds(&key) && done.insert(key.name_any()) && done.len().is_multiple_of(1_000) {
                print(&format!("    {} of {keys} after {:.1} s", done.len(), started.elapsed().as_secs_f64()));
            }
        }
    }
}

type TakenBy = Vec<(&'static str, Taken)>;

fn taken(processes: &[(&'static str, u32)]) -> TakenBy {
    let ours = processes.iter().map(|(name, pid)| (*name, Taken::by(*pid)));
    ours.chain(machine::servers()).collect()
}

/// What was done, and what each has taken for it.
fn tell(what: &str, before: &TakenBy, after: &TakenBy) {
    print(what);
    for ((name, before), (_, after)) in before.iter().zip(after) {
        print(&format!("    {name}: {}", after.since(*before)));
    }
}

/// Requests to the API server by verb and resource, as it counts them itself.
async fn requests(client: &Client) -> BTreeMap<String, f64> {
    let request = Request::get("/metrics").body(Vec::new()).expect("it is a request");
    let text = client.request_text(request).await.expect("the server tells its metrics");
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
        let Some((labels, count)) = line.rsplit_once(' ') else { continue };
        let label = |name: &str| labels.split_once(&format!(r#"{name}=""#))?.1.split('"').next();
        let (Some(verb), Some(resource), Some(code)) = (label("verb"), label("resource"), label("code")) else {
            continue;
        };
        let sub = label("subresource").filter(|sub| !sub.is_empty()).map(|sub| format!("/{sub}")).unwrap_or_default();
        *counts.entry(format!("{verb} {resource}{sub} {code}")).or_default() += count.parse().unwrap_or(0.0);
    }
    counts
}

fn tell_requests(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, keys: usize) {
    let news = after.iter().map(|(what, count)| (what, (count - before.get(what).unwrap_or(&0.0)) / keys as f64));
    let news = news.filter(|(_, count)| *count >= 0.005);
    let news: Vec<_> = news.map(|(what, count)| format!("{count:.2} {what}")).collect();
    print(&format!("    requests a key: {}", news.join(", ")));
}

async fn sizes() {
    let etcd = HttpClient::new(machine::server("etcd").address());
    let text = etcd.get("/metrics", &[]).await.expect("etcd tells its metrics").body;
    let size =
        text.lines().find_map(|line| line.strip_prefix("etcd_mvcc_db_total_size_in_bytes ")?.parse::<f64>().ok());
    print(&format!("etcd's file has {:.0} MB", size.unwrap_or(0.0) / 1e6));
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn print(line: &str) {
    println!("{line}");
}
