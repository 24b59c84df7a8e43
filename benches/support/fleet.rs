//! As many keys of one API as a benchmark asks for, with an engine that judges them.

use std::convert::Infallible;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keyturn::core::address::AddressSet;
use keyturn::core::budget::{Credits, Period, Quota};
use keyturn::core::denials::Denials;
use keyturn::core::digest::{Digest, Pepper};
use keyturn::core::key::{Environment, KeyFormat};
use keyturn::core::ledger::Ledger;
use keyturn::core::owner::{Owner, OwnerClaim};
use keyturn::core::policy::{
    Age, Api, Credential, Delivery, Key, Mode, ObjectName, Preflight, RateLimit, Schedule, Tier, Unmatched,
};
use keyturn::core::query::Query;
use keyturn::core::rotation::VersionState;
use keyturn::core::route::{Route, Routes};
use keyturn::core::scope::Scope;
use keyturn::core::verdict::Denial;
use keyturn::verify::engine::{Engine, Judgement};
use keyturn::verify::gate::{Gate, Watched};
use keyturn::verify::index::{Index, KeyRecord, KeyVersion};
use keyturn::verify::request::{ClientAddress, Original, Request};
use keyturn::verify::spender::Shortage;

/// How many keys have the same owner.
const KEYS_OF_AN_OWNER: usize = 10;

/// What nobody uses up while a benchmark runs.
const PLENTY: u64 = 1 << 50;

/// SplitMix64: reproducible and independent of any library.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// What a key is judged by besides one scope and one CIDR range; each has what the one before has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    Unlimited,
    /// A rate limit of its own, and one of its tier.
    Limited,
    /// One more, which it shares with the other keys of its owner.
    Owned,
    /// A daily quota of its tier, and credits.
    Metered,
}

/// Keys with their strings, and who judges them.
pub(crate) struct Fleet {
    pub(crate) strings: Vec<String>,
    pub(crate) digests: Vec<Digest>,
    pub(crate) pepper: Pepper,
    pub(crate) index: Arc<Index>,
}

impl Fleet {
    /// Fills an index one key after the other: what a list holds while it is read is not what a key costs afterwards.
    pub(crate) fn new(size: usize, kind: Kind) -> Self {
        Self::admitting(size, kind, None)
    }

    /// As [`Fleet::new`], with keys that may be used from that network too.
    pub(crate) fn admitting(size: usize, kind: Kind, network: Option<&str>) -> Self {
        let pepper = Pepper::new("p1", &[7; 32]).unwrap();
        let strings = strings(size, size as u64);
        let digests: Vec<_> = strings.iter().map(|string| pepper.digest_of(string.as_bytes())).collect();
        let index = Arc::new(index(size, kind));
        let fleet = Self { strings, digests, pepper, index };
        fleet.digests.iter().enumerate().for_each(|(at, digest)| fleet.index.apply(record(at, *digest, kind, network)));
        fleet
    }

    /// An engine whose permit does not end while a benchmark runs.
    pub(crate) fn engine(&self) -> Engine {
        const LONG: Duration = Duration::from_hours(24 * 365 * 100);
        let gate = Gate::new(LONG);
        gate.permit(LONG);
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::ZERO));
        Engine::new(Arc::clone(&self.index), Arc::new(gate), self.pepper.clone().into())
    }

    /// Judges every key once at about that time, so that what is done once is not part of what is measured.
    pub(crate) fn warm(&self, engine: &Engine, at: Timestamp) {
        let mut present = presented(&self.strings, at);
        (0..self.strings.len()).for_each(|at| assert_eq!(verify(engine, &present(at)), None));
    }
}

/// A request as far as requests differ.
pub(crate) struct Presented {
    authorization: String,
    client: IpAddr,
    now: Timestamp,
}

/// Requests with these strings, a microsecond apart, each from where its key may be used.
pub(crate) fn presented(strings: &[String], began: Timestamp) -> impl FnMut(usize) -> Presented {
    let mut now = began;
    move |at| {
        now += Duration::from_micros(1);
        Presented { authorization: format!("Bearer {}", strings[at]), client: client(at), now }
    }
}

pub(crate) fn verify(engine: &Engine, presented: &Presented) -> Option<Denial> {
    let headers = [("host", "example.com"), ("authorization", &*presented.authorization)];
    let request = Request {
        namespace: "speech",
        api: "transcripts",
        route: None,
        original: Ok(Original {
            method: "GET",
            target: b"/v1/transcripts/42?verbose=true",
            client: ClientAddress::Known(presented.client),
        }),
        body: Ok(b""),
        headers: &headers[..],
    };
    loop {
        match engine.verify(&request, presented.now, Duration::from_secs(1)) {
            Judgement::Short(_, shortage) => hand_out(&shortage, presented.now),
            judged => return judged.alone().denial,
        }
    }
}

/// Supplies everything that is missing.
pub(crate) fn hand_out(shortage: &Shortage, now: Timestamp) {
    for spender in &shortage.spenders {
        let usage = spender.usage().unwrap();
        let (uid, began) = (usage.as_str().into(), Timestamp::UNIX_EPOCH);
        let mut ledger = Ledger { uid, began, quotas: vec![], credits: None };
        for want in spender.wants(shortage.credits, now) {
            let chunk = ledger.reserve(&want.budget, want.need, 1, now);
            assert_eq!(spender.deposit(&usage, &want, chunk, now), None);
        }
    }
}

/// Strings of that many keys; another seed gives others.
pub(crate) fn strings(size: usize, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    (0..size).map(|_| string(&mut random)).collect()
}

/// An address that may use that key.
pub(crate) fn client(at: usize) -> IpAddr {
    let [third, second] = network(at);
    [10, second, third, 9].into()
}

fn network(at: usize) -> [u8; 2] {
    let [third, second, ..] = at.to_le_bytes();
    [third, second]
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

fn limit(name: &str, seconds: u64) -> RateLimit {
    RateLimit { name: name.into(), limit: u32::MAX, window: Duration::from_secs(seconds), auto_apply: true }
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("speech", name)
}

fn owner_of(at: usize) -> String {
    format!("acme-{:06}", at / KEYS_OF_AN_OWNER)
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
        trusted_forwarders: AddressSet::default(),
        denials: Denials::default(),
        identify_scopes: false,
    }
}

/// A key as a watch hands it over: every string is its own, and so is the range.
fn record(at: usize, digest: Digest, kind: Kind, network: Option<&str>) -> KeyRecord {
    let uid: Arc<str> = format!("6f1e0c1a-0000-4000-8000-{at:012}").into();
    let name = name(&format!("customer-{at:06}"));
    let [third, second] = self::network(at);
    let networks = network.map(str::to_owned).into_iter().chain([format!("10.{second}.{third}.0/24")]);
    let key = Key {
        name: name.clone(),
        uid: Arc::clone(&uid),
        created_at: Timestamp::UNIX_EPOCH,
        api: self::name("transcripts"),
        environment: Environment::Live,
        owner: Some(owner_of(at).into()),
        tier: Some("pro".into()),
        scopes: Some(vec![Scope::parse("transcripts:read").unwrap()]),
        roles: vec![],
        ip_allowlist: AddressSet::parse(networks).unwrap(),
        resources: vec![],
        rate_limits: (kind >= Kind::Limited).then(|| limit("burst", 1)).into_iter().collect(),
        quotas: vec![],
        credits: (kind >= Kind::Metered).then_some(Credits { granted: PLENTY, epoch: 0, refill: None }),
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
        created_at: Timestamp::UNIX_EPOCH,
        id: Some(format!("key_{at:022}")),
        versions: vec![version],
        usage: (kind >= Kind::Metered).then(|| format!("usage-of-{uid}")),
        uid,
        revoked_for_good: false,
        refused_by_controller: None,
    }
}

/// An index that knows everything but the keys.
fn index(size: usize, kind: Kind) -> Index {
    let index = Index::default();
    let quota = Quota { name: "daily".into(), limit: PLENTY, period: Period::Day };
    let pro = Tier {
        name: "pro".into(),
        rate_limits: (kind >= Kind::Limited).then(|| limit("requests", 86_400)).into_iter().collect(),
        quotas: (kind >= Kind::Metered).then_some(quota).into_iter().collect(),
        ..Tier::default()
    };
    index.set_processes(NonZeroU32::MIN);
    index.change_policies(|policies| {
        policies.apis.insert(name("transcripts"), Ok(Arc::new(api())));
        policies.tiers.insert(name("pro"), Ok(Arc::new(pro)));
        if kind >= Kind::Owned {
            (0..size).step_by(KEYS_OF_AN_OWNER).for_each(|at| {
                let claim = owner(&owner_of(at));
                policies.owners.enter(&name(&owner_of(at)), claim);
            });
        }
    });
    index
}

fn owner(id: &str) -> OwnerClaim {
    let uid: Arc<str> = format!("owner-{id}").into();
    let owner = Owner {
        object: name(id),
        uid: Arc::clone(&uid),
        namespaces: vec![],
        tier: None,
        rate_limits: vec![limit("together", 60)],
        quotas: vec![],
        max_active_keys: None,
        usage: None,
    };
    let age = Age { created_at: Timestamp::UNIX_EPOCH, uid };
    OwnerClaim { external_id: id.into(), age, owner: Ok(Arc::new(owner)) }
}
