//! What a decision costs without any transport: `Engine::verify` for keys with one scope, one CIDR range and two
//! rate limits, drawn uniformly from the whole index, beside what could not be left out of it.
//!
//! `cargo bench --bench engine` prints the bytes that a key takes, too.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its figures and ends at a surprise")]
#![expect(clippy::cast_possible_truncation, reason = "the remainder by 256 is a byte")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::hint::black_box;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use criterion::measurement::{Measurement, WallTime};
use criterion::{Bencher, BenchmarkId, Criterion, criterion_group, criterion_main};
use foldhash::fast::RandomState;
use jiff::Timestamp;
use keyturn::core::address::AddressSet;
use keyturn::core::digest::{Digest, Pepper};
use keyturn::core::key::{Environment, KeyFormat};
use keyturn::core::policy::{
    Api, Credential, Delivery, Key, Mode, ObjectName, Preflight, RateLimit, Schedule, Tier, Unmatched,
};
use keyturn::core::query::Query;
use keyturn::core::rotation::VersionState;
use keyturn::core::route::{Route, Routes};
use keyturn::core::scope::Scope;
use keyturn::core::verdict::Denial;
use keyturn::verify::engine::Engine;
use keyturn::verify::gate::{Gate, Watched};
use keyturn::verify::index::{Index, KeyRecord, KeyVersion};
use keyturn::verify::request::{Original, Request};

const SIZES: [usize; 2] = [1, 100_000];

/// Requests that are prepared together, outside of what is timed: their headers stay in the cache, as those of
/// a request that has just been parsed are.
const BATCH: usize = 256;

/// SplitMix64: reproducible and independent of any library.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

fn format() -> KeyFormat {
    KeyFormat { prefix: "sk".into(), length: 32 }
}

fn string(random: &mut Random) -> String {
    let fill = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]));
        Ok(())
    };
    format().mint(Environment::Live, fill).unwrap().expose().to_owned()
}

fn limit(name: &str, limit: u32, seconds: u64) -> RateLimit {
    RateLimit { name: name.into(), limit, window: Duration::from_secs(seconds), auto_apply: true }
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("speech", name)
}

/// An API with a dozen routes, of which the requests take one.
fn api() -> Api {
    let route = |name: &str, path: &str| Route {
        name: name.into(),
        methods: vec!["GET".into()],
        path: path.into(),
        require: Some(Query::parse("transcripts:read").unwrap()),
        resource: None,
        cost: 1,
        charges: vec![],
        public: false,
    };
    let mut routes: Vec<_> = (0..10).map(|at| route(&format!("r{at}"), &format!("/v1/things{at}/{{id}}"))).collect();
    routes.push(route("read", "/v1/transcripts/{id}"));
    routes.push(route("list", "/v1/transcripts"));
    Api {
        mode: Mode::Enforce,
        name: name("transcripts"),
        key_format: format(),
        credentials: vec![
            Credential::Header { name: "authorization".into(), scheme: Some("Bearer".into()) },
            Credential::Header { name: "x-api-key".into(), scheme: None },
        ],
        grants: vec![],
        default_tier: None,
        default_schedule: Schedule::default(),
        expires_after: None,
        default_scopes: vec![],
        reversible_revocation: false,
        routes: Routes::build(routes).unwrap(),
        unmatched: Unmatched::Deny,
        preflight: Preflight::Pass,
        identify_scopes: false,
    }
}

/// A key as a watch hands it over: every string is its own, and so are owner and range.
fn record(at: usize, digest: Digest) -> KeyRecord {
    let uid: Arc<str> = format!("6f1e0c1a-0000-4000-8000-{at:012}").into();
    let name = name(&format!("customer-{at:06}"));
    let network = format!("10.{}.{}.0/24", at / 256 % 256, at % 256);
    let key = Key {
        name: name.clone(),
        uid: Arc::clone(&uid),
        created_at: Timestamp::UNIX_EPOCH,
        api: self::name("transcripts"),
        environment: Environment::Live,
        owner: Some(format!("acme-{at:06}").into()),
        tier: Some("pro".into()),
        scopes: Some(vec![Scope::parse("transcripts:read").unwrap()]),
        roles: vec![],
        ip_allowlist: AddressSet::parse([network]).unwrap(),
        resources: vec![],
        rate_limits: vec![limit("burst", u32::MAX, 1)],
        quotas: vec![],
        credits: None,
        enabled: true,
        revoked: false,
        expires_at: None,
        rotation: Schedule::default(),
        rotation_request: None,
        secret_name: Arc::clone(&name.name),
        delivery: Delivery::Retain,
        source: None,
    };
    let version = KeyVersion { number: 1, digest, state: VersionState::Current, not_after: None };
    KeyRecord {
        key: Ok(key),
        name,
        uid,
        created_at: Timestamp::UNIX_EPOCH,
        id: Some(format!("key_{at:022}")),
        versions: vec![version],
        usage: None,
        revoked_for_good: false,
        refused_by_controller: None,
    }
}

fn index() -> Index {
    let index = Index::default();
    let pro = Tier { name: "pro".into(), rate_limits: vec![limit("requests", u32::MAX, 86_400)], ..Tier::default() };
    index.set_processes(NonZeroU32::MIN);
    index.change_policies(|policies| {
        policies.apis.insert(name("transcripts"), Ok(Arc::new(api())));
        policies.tiers.insert(name("pro"), Ok(Arc::new(pro)));
    });
    index
}

/// Pages that the process keeps in memory, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4_096
}

fn engine(index: Index, pepper: &Pepper) -> Engine {
    let gate = Gate::new(Duration::from_secs(30));
    gate.permit(Duration::from_secs(30));
    Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::ZERO));
    Engine::new(Arc::new(index), Arc::new(gate), pepper.clone().into())
}

/// Fills an index as a first list does and prints what the process grew by.
fn filled(digests: &[Digest]) -> Index {
    let index = index();
    let before = resident();
    let records = || digests.iter().enumerate().map(|(at, digest)| record(at, *digest));
    // One after the other: what a list holds while it is read is not what a key costs afterwards.
    let heap = allocation_counter::measure(|| records().for_each(|record| index.apply(record)));
    let keys = i64::try_from(digests.len()).unwrap();
    let grown = i64::try_from(resident().saturating_sub(before)).unwrap();
    println!(
        "{keys} keys: {} bytes of heap and {} bytes of resident memory each",
        heap.bytes_current / keys,
        grown / keys
    );
    index
}

/// Nanoseconds per judgement of every batch: on a machine that others use too, the quickest tenth tells what a
/// judgement costs and the rest what the others do.
#[derive(Default)]
struct Spread(Vec<f64>);

impl Spread {
    fn print(mut self, name: &str) {
        self.0.sort_unstable_by(f64::total_cmp);
        let quantile = |tenths: usize| self.0.get(self.0.len() * tenths / 10).copied().unwrap_or(f64::NAN);
        let [low, middle, high] = [1, 5, 9].map(quantile);
        println!("{name}: p10 {low:.0} ns, p50 {middle:.0} ns, p90 {high:.0} ns over batches of {BATCH}");
    }
}

/// Times `judge` for things that `prepare` makes of numbers drawn uniformly below `size`, a batch at a time.
fn drawn<T>(
    bencher: &mut Bencher<'_>,
    spread: &mut Spread,
    size: usize,
    mut prepare: impl FnMut(usize) -> T,
    mut judge: impl FnMut(&T),
) {
    let mut random = Random(1);
    let mut batch = Vec::with_capacity(BATCH);
    bencher.iter_custom(|iterations| {
        let mut total = Duration::ZERO;
        let mut left = usize::try_from(iterations).unwrap();
        while left > 0 {
            batch.clear();
            batch.extend((0..left.min(BATCH)).map(|_| prepare(random.below(size))));
            let start = WallTime.start();
            batch.iter().for_each(&mut judge);
            let elapsed = WallTime.end(start);
            if batch.len() == BATCH {
                spread.0.push(elapsed.as_secs_f64() * 1e9 / BATCH as f64);
            }
            total += elapsed;
            left -= batch.len();
        }
        total
    });
}

/// A request as far as requests differ.
struct Presented {
    authorization: String,
    client: IpAddr,
    now: Timestamp,
}

/// Requests with these strings, a microsecond apart, each from where its key may be used.
fn presented(strings: &[String]) -> impl FnMut(usize) -> Presented {
    let mut now = Timestamp::from_second(1_000_000_000).unwrap();
    move |at| {
        now += Duration::from_micros(1);
        let authorization = format!("Bearer {}", strings[at]);
        Presented { authorization, client: [10, (at / 256 % 256) as u8, (at % 256) as u8, 9].into(), now }
    }
}

fn verify(engine: &Engine, presented: &Presented) -> Option<Denial> {
    let headers = [("host", "example.com"), ("authorization", &*presented.authorization)];
    let request = Request {
        namespace: "speech",
        api: "transcripts",
        route: None,
        original: Ok(Original {
            method: "GET",
            target: b"/v1/transcripts/42?verbose=true",
            client: Some(presented.client),
        }),
        headers: &headers[..],
    };
    engine.verify(&request, presented.now, Duration::from_secs(1)).alone().denial
}

fn engine_verify(criterion: &mut Criterion) {
    let pepper = Pepper::new("p1", &[7; 32]).unwrap();
    let mut group = criterion.benchmark_group("engine");
    for size in SIZES {
        let mut random = Random(size as u64);
        let strings: Vec<_> = (0..size).map(|_| string(&mut random)).collect();
        let digests: Vec<_> = strings.iter().map(|string| pepper.digest_of(string.as_bytes())).collect();
        let engine = engine(filled(&digests), &pepper);
        let unknown: Vec<_> = (0..size).map(|_| string(&mut random)).collect();
        let map: HashMap<_, _, RandomState> = digests.iter().copied().zip(0..).collect();
        let mut bench = |name: &str, run: &mut dyn FnMut(&mut Bencher<'_>, &mut Spread)| {
            let mut spread = Spread::default();
            group.bench_function(BenchmarkId::new(name, size), |bencher| run(bencher, &mut spread));
            spread.print(&format!("{name}/{size}"));
        };
        bench("verify", &mut |bencher, spread| {
            let judge = |key: &Presented| assert_eq!(verify(&engine, key), None);
            drawn(bencher, spread, size, presented(&strings), judge);
        });
        bench("verify an unknown key", &mut |bencher, spread| {
            let judge = |key: &Presented| assert!(verify(&engine, key).is_some());
            drawn(bencher, spread, size, presented(&unknown), judge);
        });
        bench("digest alone", &mut |bencher, spread| {
            let judge = |key: &String| {
                black_box(pepper.digest_of(key.as_bytes()));
            };
            drawn(bencher, spread, size, |at| strings[at].clone(), judge);
        });
        bench("HashMap look-up alone", &mut |bencher, spread| {
            let judge = |digest: &Digest| {
                black_box(map.get(digest));
            };
            drawn(bencher, spread, size, |at| digests[at], judge);
        });
    }
    group.finish();
}

criterion_group!(benches, engine_verify);
criterion_main!(benches);
