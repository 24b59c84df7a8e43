mod addresses;
mod budgets;
mod counted;
mod elsewhere;
mod limits;
mod presented;
mod routes;
mod validity;

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use super::*;
use crate::core::acceptance::{Reason, Rejection};
use crate::core::address::AddressSet;
use crate::core::budget::{Credits, Period, Quota};
use crate::core::digest::Pepper;
use crate::core::fixtures;
use crate::core::ledger::{Ledger, Refusal};
use crate::core::owner::{Owner, OwnerClaim, OwnerDirectory};
use crate::core::pointer::Pointer;
use crate::core::policy::{Age, RateLimit};
use crate::core::ratelimit::{Cells, Rule};
use crate::core::resource::{Access, Kind, RouteResource, ValueSource};
use crate::core::rotation::VersionState;
use crate::core::route::{Route, RouteCharge, Routes};
use crate::core::source::Source;
use crate::core::usage::Usage;
use crate::verify::fixtures::{api, at, index, limit, name, pepper, record, route, string, version};
use crate::verify::gate::Watched;
use crate::verify::index::{KeyRecord, KeyVersion};
use crate::verify::request::ClientAddress;
use crate::verify::spender::Spender;
use crate::verify::store::{StoreAnswer, StoreCharge, StoreRequest};
use crate::verify::used::UsedKey;

/// Everything that a case may vary about a request; by default it is let in.
struct Ask {
    api: &'static str,
    route: Option<&'static str>,
    broken: Option<&'static str>,
    method: &'static str,
    target: String,
    client: Option<&'static str>,
    body: Result<&'static [u8], &'static str>,
    headers: Vec<(&'static str, String)>,
    now: i64,
    monotonic: u64,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            api: "transcripts",
            route: None,
            broken: None,
            method: "GET",
            target: "/v1/transcripts/1".to_owned(),
            client: Some("192.0.2.1"),
            body: Ok(b""),
            headers: vec![bearer(1)],
            now: 100,
            monotonic: 10,
        }
    }
}

fn bearer(seed: u8) -> (&'static str, String) {
    ("authorization", format!("Bearer {}", string(seed).expose()))
}

fn engine(index: Arc<Index>) -> Engine {
    let gate = Gate::new(Duration::from_secs(30));
    gate.permit(Duration::from_hours(1));
    Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, Duration::from_secs(10)));
    Engine::new(index, Arc::new(gate), pepper().into())
}

fn engine_with(record: KeyRecord) -> Engine {
    engine(index(api(|_| {}), vec![record]))
}

/// A request to speech/transcripts for a transcript, from there.
fn request<'a>(client: ClientAddress, headers: &'a [(&'a str, &'a str)]) -> Request<'a, [(&'a str, &'a str)]> {
    let original = Original { method: "GET", target: b"/v1/transcripts/1?page=2", client };
    Request { namespace: "speech", api: "transcripts", route: None, original: Ok(original), body: Ok(b""), headers }
}

fn ask(engine: &Engine, ask: &Ask) -> Verdict {
    let client = ask.client.map(|client| client.parse::<IpAddr>().unwrap());
    ask_from(engine, ask, client.into())
}

fn ask_from(engine: &Engine, ask: &Ask, client: ClientAddress) -> Verdict {
    let headers: Vec<_> = ask.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let original = Original { method: ask.method, target: ask.target.as_bytes(), client };
    let request = Request {
        namespace: "speech",
        api: ask.api,
        route: ask.route,
        original: ask.broken.map_or(Ok(original), Err),
        body: ask.body,
        headers: &headers[..],
    };
    engine.verify(&request, at(ask.now), Duration::from_secs(ask.monotonic)).alone()
}

fn code(engine: &Engine, request: &Ask) -> Option<Code> {
    ask(engine, request).denial.map(|denial| denial.code)
}

/// Puts one thing right.
type Fix = fn(&mut bool, &mut Ask, &mut KeyRecord);

/// Everything is wrong with the last request and key; each case puts one more thing right.
#[test]
fn the_first_failure_decides() {
    let mut gate_closed = true;
    let mut request = Ask {
        api: "unknown",
        broken: Some("a header is missing"),
        method: "GET",
        target: "/v1//transcripts".to_owned(),
        headers: vec![],
        client: Some("198.51.100.1"),
        ..Ask::default()
    };
    let mut key = record(|key| {
        key.tier = Some("gone".into());
        key.enabled = false;
        key.expires_at = Some(at(100));
        key.ip_allowlist = AddressSet::parse(["192.0.2.0/24"]).unwrap();
        key.rate_limits = vec![limit("none", 0, 60)];
    });
    key.revoked_for_good = true;
    let steps: [(Code, Fix); 14] = [
        (Code::Unavailable, |closed, _, _| *closed = false),
        (Code::ApiNotFound, |_, ask, _| ask.api = "broken"),
        (Code::Unavailable, |_, ask, _| ask.api = "transcripts"),
        (Code::BadRequest, |_, ask, _| ask.broken = None),
        (Code::BadRequest, |_, ask, _| ask.target = "/v1/nothing".to_owned()),
        (Code::Unauthorized, |_, ask, _| ask.headers = vec![bearer(2)]),
        (Code::Unauthorized, |_, ask, _| ask.headers = vec![bearer(1)]),
        (Code::Revoked, |_, _, record| record.revoked_for_good = false),
        (Code::NotAccepted, |_, _, record| record.key.as_mut().unwrap().tier = Some("pro".into())),
        (Code::Disabled, |_, _, record| record.key.as_mut().unwrap().enabled = true),
        (Code::Expired, |_, _, record| record.key.as_mut().unwrap().expires_at = Some(at(101))),
        (Code::IpNotAllowed, |_, ask, _| ask.client = Some("192.0.2.9")),
        (Code::RouteNotFound, |_, ask, _| {
            ask.method = "POST";
            ask.target = "/v1/transcripts/".to_owned();
        }),
        (Code::InsufficientScope, |_, ask, _| {
            ask.method = "GET";
            ask.target = "/v1/transcripts/1".to_owned();
        }),
    ];
    let broken = Rejection::new(Reason::InvalidRoutes, "no");
    for (expected, fix) in steps {
        let index = index(api(|_| {}), vec![key.clone()]);
        index.change_policies(|policies| {
            policies.apis.insert(name("broken"), Err(broken.clone()));
        });
        let mut engine = engine(index);
        if gate_closed {
            engine.gate = Arc::new(Gate::new(Duration::from_secs(30)));
        }
        assert_eq!(code(&engine, &request), Some(expected));
        fix(&mut gate_closed, &mut request, &mut key);
    }
    let engine = engine_with(key.clone());
    let verdict = ask(&engine, &request);
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::RateLimited));
    key.key.as_mut().unwrap().rate_limits = vec![];
    let verdict = ask(&engine_with(key), &request);
    assert_eq!(verdict.denial, None);
}

#[test]
fn a_request_that_passes_tells_who_it_is() {
    let mut key = record(|key| {
        key.tier = Some("pro".into());
        key.scopes = None;
    });
    key.versions = vec![version(7, 1, VersionState::Current)];
    let api = api(|api| {
        api.default_scopes =
            ["transcripts:read", "a"].map(|scope| crate::core::scope::Scope::parse(scope).unwrap()).into();
        api.identify_scopes = true;
    });
    let verdict = ask(&engine(index(api, vec![key])), &Ask::default());
    assert_eq!(verdict.denial, None);
    let identity = verdict.identity.unwrap();
    let entry = identity.entry();
    assert_eq!(
        [entry.id(), entry.name(), entry.namespace(), entry.owner(), entry.environment().as_str(), entry.uid()],
        ["key_1", "ci", "speech", "acme-1", "live", "u1"]
    );
    assert_eq!((identity.tier(), identity.version(), identity.scopes()), ("pro", 7, "a transcripts:read"));
    assert_eq!(verdict.route.map(|route| route.name.to_string()), Some("read".to_owned()));
    assert_eq!(verdict.api.map(|api| api.name.to_string()), Some("speech/transcripts".to_owned()));
    let limit = verdict.limit.unwrap();
    assert_eq!((&*limit.name, limit.limit, limit.remaining, limit.window), ("requests", 3, 2, 60));
}

#[test]
fn characters_that_end_a_header_line_are_replaced() {
    let key = record(|key| key.owner = Some("a\r\nX: é".into()));
    let verdict = ask(&engine_with(key), &Ask::default());
    assert_eq!(verdict.identity.unwrap().entry().owner(), "a??X:??");
}

#[test]
fn letting_a_request_pass_allocates_nothing() {
    let string = string(1);
    let authorization = format!("Bearer {}", string.expose());
    let headers = [("host", "a"), ("authorization", &*authorization), ("x-forwarded-for", "192.0.2.1")];
    for client in [ClientAddress::Known([192, 0, 2, 1].into()), ClientAddress::Forwarded] {
        let engine = engine_with(record(|key| {
            key.tier = Some("pro".into());
            key.ip_allowlist = AddressSet::parse(["192.0.2.0/24"]).unwrap();
            key.rate_limits = vec![limit("a", 1_000, 60)];
        }));
        let request = request(client, &headers);
        let verify = |now| engine.verify(&request, at(now), Duration::from_secs(10)).alone();
        // Threads set up their part of the maps when they first read.
        assert_eq!(verify(0).denial, None);
        let counted = allocation_counter::measure(|| {
            for now in 0..100 {
                assert_eq!(verify(now * 1_000).denial, None);
            }
        });
        assert_eq!(counted.count_total, 0, "{client:?}");
    }
}

/// An index with the owner acme-1, who shares these limits and quotas among its keys.
fn index_with_owner(records: Vec<KeyRecord>, owner: Owner) -> Arc<Index> {
    let index = index(api(|_| {}), records);
    index.change_owners_if(|owners| {
        enter_owner(owners, Ok(Arc::new(owner)));
        true
    });
    index
}

fn enter_owner(owners: &mut OwnerDirectory, owner: Result<Arc<Owner>, Rejection>) {
    let age = Age { created_at: at(0), uid: fixtures::owner().uid };
    owners.enter(&name("acme"), OwnerClaim { external_id: "acme-1".into(), age, owner });
}

const USAGE: &str = "usage-of-u1";

fn judge(engine: &Engine, now: i64) -> Judgement {
    let (_, value) = bearer(1);
    let headers = [("authorization", &*value)];
    engine.verify(&request(ClientAddress::Unknown, &headers), at(now), Duration::from_secs(10))
}

/// The key whose usage waits to be written down.
fn only_used(index: &Index) -> UsedKey {
    let mut used = index.used().take();
    assert_eq!(used.len(), 1);
    used.remove(0)
}
