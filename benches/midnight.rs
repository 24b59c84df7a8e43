//! Midnight UTC for 100,000 keys with a daily quota: how every request is answered while a day ends. A real API server
//! and etcd, four real verifiers whose clocks say that midnight is near, and every key in use on both sides of it.
//!
//! ```text
//! ETCD_QUOTA_BACKEND_BYTES=8589934592 tests/cluster/run.sh cargo bench --bench midnight -- --keys 100000
//! ```
//!
//! The keys are copies of one that was minted through the API, put into etcd directly. Each is used for the first
//! time in the day that ends, so that its verifier reserves a chunk of that day's quota; then again and again, each
//! once a minute. The minute of midnight begins with the new day, in another order.
//!
//! It exits with an error when a request is not let in from the moment on that every key was used.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use futures::stream::{self, StreamExt as _};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, interval_at, sleep};

use machine::Taken;
use seed::{API, Pattern, ask};
use support::accounts;
use support::cluster::Namespace;
use support::http::HttpClient;
use support::keyturn::Keyturn;
use support::process::tool;
use support::wait::eventually_within;

#[path = "support/it.rs"]
#[expect(dead_code, clippy::panic, reason = "the tests use the rest, and it says what is wrong by panicking")]
mod support;

#[path = "support/machine.rs"]
#[expect(dead_code, reason = "another benchmark uses the rest")]
mod machine;
#[path = "support/seed.rs"]
#[expect(dead_code, reason = "another benchmark uses the rest")]
mod seed;

/// Four verifiers that list all keys at once have to share the API server.
const TO_LIST: Duration = Duration::from_mins(5);

/// Once every key is used, this is how often each is used again.
const ROUND: Duration = Duration::from_mins(1);

/// Requests are sent so often, as many as are due.
const TICK: Duration = Duration::from_millis(5);

/// First uses at the same time, of each verifier.
const FIRST_USES: usize = 8;

/// How often it is looked how far the reservations are.
const LOOK: Duration = Duration::from_secs(2);
/// Every so many looks it is told.
const TELL: usize = 10;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    #[arg(long, default_value_t = 4)]
    verifiers: usize,
    /// At how many verifiers each key is used.
    #[arg(long, default_value_t = 1)]
    homes: usize,
    /// Seconds from the start of the verifiers to midnight.
    #[arg(long, default_value_t = 480)]
    before: i64,
    /// Minutes after midnight, in each of which every key is used once.
    #[arg(long, default_value_t = 3)]
    after: u32,
    /// What cargo says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let namespace = Namespace::create().await;
    let (strings, pattern) = keys(&namespace, options.keys).await;

    #[expect(clippy::disallowed_methods, reason = "the clocks of other processes are set by this one")]
    let now = Timestamp::now();
    let ahead = (to_midnight(now) - SignedDuration::from_secs(options.before)).as_secs();
    let left = to_midnight(now) - SignedDuration::from_secs(ahead);
    let midnight = Instant::now() + Duration::try_from(left).expect("it is to come");
    let started = Instant::now();
    let kubeconfig = accounts::in_namespace(namespace.name(), "verifier");
    let start = |_| verifier_ahead(&namespace, &kubeconfig, ahead);
    let mut verifiers: Vec<_> = (0..options.verifiers).map(start).collect();
    let pids = verifiers.iter_mut().map(|verifier| verifier.process().id()).collect();
    let world = Arc::new(World {
        clients: verifiers.iter().map(|verifier| HttpClient::new(verifier.auth())).collect(),
        target: format!("/auth/nginx/{}/{API}", namespace.name()),
        strings,
        homes: options.homes,
    });
    for client in &world.clients {
        // It is not ready: its clock is wrong, as it well knows.
        eventually_within(TO_LIST, "a verifier lets the pattern in", async || {
            match ask(client, &world.target, &pattern).await.as_str() {
                "200" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    }
    print(&format!("{} verifiers let keys in after {} ms", verifiers.len(), started.elapsed().as_millis()));

    let reservations = Arc::new(Reservations { verifiers, pids, midnight, at_midnight: Mutex::default() });
    let following = tokio::spawn(Arc::clone(&reservations).follow());
    let before = reservations.taken();
    let first = world.use_all_for_the_first_time().await;
    print(&format!("every key was used after {} s; {}", started.elapsed().as_secs(), left_to(midnight)));
    let first_uses = reservations.taken();
    let answers = world.keep_using(midnight, options.after).await;
    let after = reservations.taken();
    following.abort();

    print(&format!("\n{} keys, {} verifiers, each key used at {}", options.keys, world.clients.len(), options.homes));
    print("| requests | answers | p50 ms | p99 ms | max ms |");
    print("|---|---|---|---|---|");
    print(&first.row("first uses in the day that ends"));
    answers.iter().for_each(|(when, answers)| print(&answers.row(&when.name())));
    reservations.report().await;
    for (what, from, to) in [
        ("while keys were used for the first time", &before, &first_uses),
        ("from then to the end", &first_uses, &after),
    ] {
        for ((name, from), (_, to)) in from.iter().zip(to) {
            print(&format!("{name}, {what}: {}", to.since(*from)));
        }
    }
    let refused: u64 = answers.values().map(Answers::refused).sum();
    assert_eq!(refused, 0, "requests were not let in");
}

/// Keys in etcd, with their strings; and the string of the one that they are copies of.
async fn keys(namespace: &Namespace, keys: usize) -> (Vec<String>, String) {
    // Nothing is left for a controller to do afterwards: it says when quotas run low, and nothing is low.
    let controller = seed::controller(namespace).await;
    // A chunk of it lasts for the whole run, so that what is reserved meanwhile is for the day to come.
    let quota = json!([{"name": "daily", "limit": 10_000, "period": "Day"}]);
    let mut pattern = Pattern::mint(namespace, "pattern-key", json!({"quotas": quota})).await;
    drop(controller);
    pattern.without_secrets();
    let started = Instant::now();
    let strings = pattern.multiply(namespace, 0..keys).await;
    print(&format!("{keys} keys are in etcd after {} s, bytes: {}", started.elapsed().as_secs(), pattern.bytes()));
    (strings, pattern.string().to_owned())
}

/// How far it is from `now` to the next midnight.
fn to_midnight(now: Timestamp) -> SignedDuration {
    let tomorrow = TimeZone::UTC.to_datetime(now).date().saturating_add(1.day());
    let midnight = TimeZone::UTC.to_timestamp(tomorrow.to_datetime(jiff::civil::Time::midnight()));
    now.duration_until(midnight.expect("there is a tomorrow"))
}

fn verifier_ahead(namespace: &Namespace, kubeconfig: &std::path::Path, ahead: i64) -> Keyturn {
    let own = [format!("--namespace={}", namespace.name()), format!("--operator-namespace={}", namespace.name())];
    let environment = [
        ("LD_PRELOAD", tool("libfaketime.so.1").into_os_string()),
        ("FAKETIME", format!("{ahead:+}").into()),
        // Only what day it is: everything that is waited for takes as long as ever.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    Keyturn::start_in("verifier", kubeconfig, &[&own[0], &own[1], "--drain-delay=0s"], environment)
}

fn left_to(midnight: Instant) -> String {
    match midnight.checked_duration_since(Instant::now()) {
        Some(left) => format!("{} s to midnight", left.as_secs()),
        None => format!("{} s after midnight", midnight.elapsed().as_secs()),
    }
}

/// Keys, and verifiers that judge them.
struct World {
    clients: Vec<HttpClient>,
    target: String,
    strings: Vec<String>,
    homes: usize,
}

impl World {
    async fn use_key(&self, key: usize, home: usize) -> (String, Duration) {
        let sent = Instant::now();
        let client = &self.clients[(key + home % self.homes) % self.clients.len()];
        (ask(client, &self.target, &self.strings[key]).await, sent.elapsed())
    }

    /// Until each is let in at all of its verifiers.
    async fn use_all_for_the_first_time(&self) -> Answers {
        let answers = &Mutex::new(Answers::default());
        let first_use = |(key, home): (usize, usize)| async move {
            loop {
                let (answer, took) = self.use_key(key, home).await;
                let let_in = answer == "200";
                answers.lock().expect("nobody panics").add(answer, took);
                if let_in {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let all = (0..self.homes).flat_map(|home| (0..self.strings.len()).map(move |key| (key, home)));
        let at_once = FIRST_USES * self.clients.len();
        stream::iter(all).map(first_use).buffer_unordered(at_once).collect::<Vec<()>>().await;
        std::mem::take(&mut *answers.lock().expect("nobody panics"))
    }

    /// Each once in every round, whether others are answered or not; the round of midnight begins at midnight.
    async fn keep_using(self: &Arc<Self>, midnight: Instant, after: u32) -> BTreeMap<When, Answers> {
        let mut all: BTreeMap<When, Answers> = BTreeMap::new();
        let mut asked = JoinSet::new();
        let mut begin = Instant::now();
        for round in 0.. {
            let when = match midnight.checked_duration_since(begin) {
                Some(left) if !left.is_zero() => When::Before,
                _ if begin < midnight + ROUND => When::FirstMinute,
                _ if begin < midnight + ROUND * after => When::Later,
                _ => break,
            };
            let end = if when == When::Before { (begin + ROUND).min(midnight) } else { begin + ROUND };
            let mut tick = interval_at(begin, TICK);
            let (mut sent, keys) = (0, self.strings.len());
            loop {
                let now = tick.tick().await;
                let due = now.duration_since(begin).div_duration_f64(ROUND) * keys as f64;
                while sent < keys && (sent as f64) < due {
                    let (world, key) = (Arc::clone(self), (sent * 48_271 + round * 7_919) % keys);
                    asked.spawn(async move { (when, world.use_key(key, round).await) });
                    sent += 1;
                }
                while let Some(answered) = asked.try_join_next() {
                    let (when, (answer, took)) = answered.expect("nobody panics");
                    all.entry(when).or_default().add(answer, took);
                }
                if sent == keys || now >= end {
                    break;
                }
            }
            begin = end;
            tokio::time::sleep_until(end).await;
        }
        while let Some(answered) = asked.join_next().await {
            let (when, (answer, took)) = answered.expect("nobody panics");
            all.entry(when).or_default().add(answer, took);
        }
        all
    }
}

/// When a request was sent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum When {
    Before,
    FirstMinute,
    Later,
}

impl When {
    fn name(self) -> String {
        match self {
            Self::Before => "each key again and again, until midnight",
            Self::FirstMinute => "each key once in the first minute of the new day",
            Self::Later => "each key once in every minute after that",
        }
        .to_owned()
    }
}

/// How often there was which answer, and how long each took.
#[derive(Default)]
struct Answers {
    counts: BTreeMap<String, u64>,
    took: Vec<Duration>,
}

impl Answers {
    fn add(&mut self, answer: String, took: Duration) {
        *self.counts.entry(answer).or_default() += 1;
        self.took.push(took);
    }

    fn refused(&self) -> u64 {
        self.counts.iter().filter(|(answer, _)| *answer != "200").map(|(_, count)| count).sum()
    }

    fn row(&self, what: &str) -> String {
        let mut took = self.took.clone();
        took.sort_unstable();
        let rank = |percent: usize| {
            let at = (took.len() * percent).div_ceil(100).max(1) - 1;
            took.get(at).copied().unwrap_or_default().as_secs_f64() * 1_000.0
        };
        let counts = self.counts.iter().map(|(answer, count)| format!("{count} times {answer}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        format!("| {what} | {counts} | {:.1} | {:.1} | {:.1} |", rank(50), rank(99), rank(100))
    }
}

/// What the verifiers reserve.
struct Reservations {
    verifiers: Vec<Keyturn>,
    pids: Vec<u32>,
    midnight: Instant,
    /// What was written when it was looked at last before midnight: chunks of that day, and of the next.
    at_midnight: Mutex<(f64, f64)>,
}

impl Reservations {
    /// Of all verifiers together.
    async fn sum(&self, purpose: &str, outcome: &str) -> f64 {
        let name = format!(r#"keyturn_reservations_total{{purpose="{purpose}",outcome="{outcome}"}}"#);
        let mut sum = 0.0;
        for verifier in &self.verifiers {
            sum += verifier.metric(&name).await.unwrap_or(0.0);
        }
        sum
    }

    async fn follow(self: Arc<Self>) {
        let mut look = interval(LOOK);
        for looks in 0.. {
            look.tick().await;
            let (today, next) = (self.sum("Request", "Written").await, self.sum("NextPeriod", "Written").await);
            if Instant::now() < self.midnight {
                *self.at_midnight.lock().expect("nobody panics") = (today, next);
            }
            if looks % TELL == 0 {
                let left = left_to(self.midnight);
                print(&format!("    {left}: {today} chunks for requests, {next} of the next day"));
            }
        }
    }

    fn taken(&self) -> Vec<(String, Taken)> {
        let ours = self.pids.iter().enumerate();
        let ours = ours.map(|(at, pid)| (format!("verifier {}", at + 1), Taken::by(*pid)));
        ours.chain(machine::servers().map(|(name, taken)| (name.to_owned(), taken))).collect()
    }

    async fn report(&self) {
        for purpose in ["Request", "NextPeriod", "GiveBack"] {
            let mut outcomes = Vec::new();
            for outcome in ["Written", "Nothing", "Conflict", "Missing", "Replaced", "Failed", "GivenUp", "Busy"] {
                let count = self.sum(purpose, outcome).await;
                if count > 0.0 {
                    outcomes.push(format!("{count} {outcome}"));
                }
            }
            print(&format!("reservations for {purpose}: {}", outcomes.join(", ")));
        }
        let (today, next) = *self.at_midnight.lock().expect("nobody panics");
        let since = self.sum("Request", "Written").await - today;
        print(&format!(
            "shortly before midnight {next} chunks of the new day were written; {since} since, for requests"
        ));
    }
}

#[expect(clippy::print_stdout, reason = "what a benchmark is for")]
fn print(line: &str) {
    println!("{line}");
}
