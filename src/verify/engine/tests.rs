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
fn a_key_is_found_where_the_api_looks_and_only_there() {
    let engine = engine_with(record(|_| {}));
    let good = string(1).expose().to_owned();
    let other = string(2).expose().to_owned();
    let encoded = format!("%73{}", &good[1..]);
    let jwt = || "Bearer eyJhbGciOi.eyJzdWIi.c2ln".to_owned();
    let target = |query: &str| format!("/v1/transcripts/1?{query}");
    for (headers, query, expected) in [
        (vec![], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", good.clone())], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", format!("Basic {good}"))], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", format!("Bearer{good}"))], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", format!("Bearer {good} x"))], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", "Bearer ".to_owned())], String::new(), Some(Code::Unauthorized)),
        (vec![("x-other", good.clone())], String::new(), Some(Code::Unauthorized)),
        (
            vec![("authorization", format!("Bearer {good}")), ("x-api-key", other.clone())],
            String::new(),
            Some(Code::Unauthorized),
        ),
        (vec![("x-api-key", good.clone()), ("x-api-key", other.clone())], String::new(), Some(Code::Unauthorized)),
        (vec![("x-api-key", good.clone())], format!("api_key={other}"), Some(Code::Unauthorized)),
        (
            vec![("x-api-key", good.clone()), ("x-api-key", other.clone()), ("x-api-key", good.clone())],
            String::new(),
            Some(Code::Unauthorized),
        ),
        (vec![], format!("api_keys={good}"), Some(Code::Unauthorized)),
        (vec![], format!("api_key={good}%"), Some(Code::Unauthorized)),
        (vec![], format!("api_key={}", "%41".repeat(200)), Some(Code::Unauthorized)),
        (vec![("authorization", format!("bearer   {good}"))], String::new(), None),
        (vec![("x-api-key", format!(" {good}\t"))], String::new(), None),
        (vec![("authorization", jwt()), ("x-api-key", good.clone())], String::new(), None),
        (
            vec![("authorization", format!("Bearer {good}")), ("x-api-key", good.clone())],
            format!("api_key={encoded}"),
            None,
        ),
        (vec![], format!("a=b&api%5Fkey={encoded}&c"), None),
    ] {
        let request = Ask { headers, target: target(&query), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{:?} {query}", request.headers);
    }
}

/// The key u2, imported as that string, whatever it looks like.
fn imported(string: &str, pepper: &Pepper) -> KeyRecord {
    let mut record = record(|key| {
        key.uid = "u2".into();
        key.source = Some(Source::Secret { name: "old".into(), key: "token".into() });
    });
    record.versions[0].digest = pepper.digest_of(string.as_bytes());
    record
}

#[test]
fn an_imported_string_is_a_key_whatever_it_looks_like_and_only_where_it_is_known() {
    const LEGACY: &str = "legacy-token%2f/0123456789";
    let plain = || engine_with(record(|_| {}));
    let importing = || engine(index(api(|_| {}), vec![record(|_| {}), imported(LEGACY, &pepper())]));
    let legacy = ("x-api-key", LEGACY.to_owned());
    let jwt = |length: usize| ("authorization", format!("Bearer {}", "e".repeat(length)));
    for (engine, headers, query, expected) in [
        (plain(), vec![legacy.clone()], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![("x-api-key", LEGACY[1..].to_owned())], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![("x-api-key", "x".repeat(5_000))], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![legacy.clone(), bearer(1)], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![legacy.clone(), bearer(9)], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![legacy.clone()], String::new(), None),
        (importing(), vec![legacy.clone(), jwt(60)], String::new(), None),
        (importing(), vec![jwt(5_000), legacy.clone()], String::new(), None),
        (importing(), vec![bearer(1)], String::new(), None),
        (importing(), vec![], format!("api_key={}", LEGACY.replace('%', "%25")), None),
    ] {
        let request = Ask { headers, target: format!("/v1/transcripts/1?{query}"), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{:?} {query}", request.headers);
    }
}

#[test]
fn a_string_is_known_under_every_pepper_and_of_two_keys_the_older_counts() {
    let older = Pepper::new("p2", &[8; 32]).unwrap();
    let both = || Peppers::new(older.clone(), [pepper()]);
    // u1 was created first, or else has the smaller uid.
    let same = imported(string(1).expose(), &older);
    let engine = engine(index(api(|_| {}), vec![record(|_| {}), same]));
    let holder = || ask(&engine, &Ask::default()).identity.map(|identity| identity.entry().uid().to_owned());
    for (peppers, expected) in [
        (both(), Some("u1")),
        (Peppers::from(older.clone()), Some("u2")),
        (Peppers::from(pepper()), Some("u1")),
        (Peppers::from(Pepper::new("p3", &[9; 32]).unwrap()), None),
    ] {
        engine.set_peppers(peppers);
        assert_eq!(holder().as_deref(), expected);
    }
}

#[test]
fn a_key_that_goes_over_to_another_pepper_is_known_all_the_while() {
    let next = Pepper::new("p2", &[8; 32]).unwrap();
    let index = index(api(|_| {}), vec![record(|_| {})]);
    let engine = engine(Arc::clone(&index));
    engine.set_peppers(Peppers::new(next.clone(), [pepper()]));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..2_000 {
                let mut record = record(|_| {});
                let pepper = if round % 2 == 0 { next.clone() } else { pepper() };
                record.versions[0].digest = pepper.digest(&string(1));
                index.apply(record);
            }
        });
        while !writer.is_finished() {
            assert_eq!(code(&engine, &Ask::default()), None);
        }
    });
}

#[test]
fn public_routes_and_preflights_pass_without_a_key_and_name_nobody() {
    let preflight = || vec![("origin", "https://a".to_owned()), ("access-control-request-method", "POST".to_owned())];
    let engine = engine_with(record(|_| {}));
    for (method, target, headers, expected) in [
        ("GET", "/healthz", vec![], None),
        ("GET", "/healthz/", vec![bearer(1)], None),
        ("GET", "/healthz/../v1", vec![], Some(Code::BadRequest)),
        ("OPTIONS", "/v1/transcripts", preflight(), None),
        ("OPTIONS", "/elsewhere", preflight(), None),
        ("OPTIONS", "/v1/transcripts", preflight()[..1].to_vec(), Some(Code::Unauthorized)),
        ("OPTIONS", "/v1/transcripts", preflight()[1..].to_vec(), Some(Code::Unauthorized)),
        ("options", "/v1/transcripts", preflight(), Some(Code::Unauthorized)),
        ("POST", "/v1/transcripts", preflight(), Some(Code::Unauthorized)),
    ] {
        let verdict = ask(&engine, &Ask { method, target: target.to_owned(), headers, ..Ask::default() });
        assert_eq!(verdict.denial.map(|denial| denial.code), expected, "{method} {target}");
        assert!(verdict.identity.is_none(), "{method} {target}");
    }
    let strict = self::engine(index(api(|api| api.preflight = Preflight::RequireKey), vec![]));
    let request = Ask { method: "OPTIONS", headers: preflight(), ..Ask::default() };
    assert_eq!(code(&strict, &request), Some(Code::Unauthorized));
}

#[test]
fn a_named_route_is_judged_whatever_the_path_is() {
    let engine = engine_with(record(|_| {}));
    for (route, target, expected) in [
        ("read", "/whatever//..;", None),
        ("write", "/v1/transcripts/1", Some(Code::InsufficientScope)),
        ("health", "/", None),
        ("unknown", "/v1/transcripts/1", Some(Code::RouteNotFound)),
    ] {
        let request = Ask { route: Some(route), target: target.to_owned(), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{route}");
    }
    let lenient = self::engine(index(api(|api| api.unmatched = Unmatched::RequireKey), vec![record(|_| {})]));
    let request = Ask { route: Some("unknown"), ..Ask::default() };
    assert_eq!(code(&lenient, &request), Some(Code::RouteNotFound));
}

#[test]
fn unmatched_requests_need_a_key_where_the_api_lets_them_pass() {
    let lenient = api(|api| api.unmatched = Unmatched::RequireKey);
    let without_routes = api(|api| api.routes = Routes::default());
    for (api, target, expected) in [
        (Arc::clone(&lenient), "/elsewhere", None),
        (lenient, "/elsewhere//", Some(Code::BadRequest)),
        (without_routes, "/any//thing;..%2f", None),
    ] {
        let engine = engine(index(api, vec![record(|_| {})]));
        let request = Ask { target: target.to_owned(), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{target}");
        let nobody = Ask { headers: vec![], ..request };
        assert_eq!(code(&engine, &nobody), Some(expected.unwrap_or(Code::Unauthorized)));
    }
}

#[test]
fn each_version_is_accepted_for_its_time() {
    let mut key = record(|_| {});
    key.versions = vec![
        version(5, 5, VersionState::Staged),
        version(4, 4, VersionState::Current),
        KeyVersion { not_after: Some(at(100)), ..version(3, 3, VersionState::Grace) },
        version(2, 2, VersionState::Grace),
        version(1, 1, VersionState::Retired),
    ];
    let engine = engine_with(key);
    for (seed, now, expected) in [
        (5, 0, None),
        (4, 1_000_000, None),
        (3, 99, None),
        (3, 100, Some(Code::Expired)),
        (2, 0, Some(Code::Expired)),
        (1, 0, Some(Code::Expired)),
        (6, 0, Some(Code::Unauthorized)),
    ] {
        let request = Ask { headers: vec![bearer(seed)], now, ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{seed} at {now}");
    }
}

#[test]
fn expiry_is_the_keys_own_or_counted_from_its_creation() {
    let api = api(|api| api.expires_after = Some(Duration::from_secs(50)));
    for (own, now, expected) in [
        (None, 49, None),
        (None, 50, Some(Code::Expired)),
        (Some(at(60)), 59, None),
        (Some(at(60)), 60, Some(Code::Expired)),
    ] {
        let engine = engine(index(Arc::clone(&api), vec![record(|key| key.expires_at = own)]));
        assert_eq!(code(&engine, &Ask { now, ..Ask::default() }), expected, "{own:?} at {now}");
    }
}

#[test]
fn an_allowlist_needs_a_known_address() {
    let engine =
        engine_with(record(|key| key.ip_allowlist = AddressSet::parse(["10.0.0.0/8", "2001:db8::/32"]).unwrap()));
    for (client, expected) in [
        (None, Some(Code::IpNotAllowed)),
        (Some("192.0.2.1"), Some(Code::IpNotAllowed)),
        (Some("10.1.2.3"), None),
        (Some("::ffff:10.1.2.3"), None),
        (Some("2001:db8::1"), None),
    ] {
        assert_eq!(code(&engine, &Ask { client, ..Ask::default() }), expected, "{client:?}");
    }
}

#[test]
fn an_allowlist_is_judged_by_the_address_before_the_trusted_forwarders() {
    for (forwarders, chain, expected) in [
        (&[][..], &["192.0.2.1, 10.0.0.1"][..], Some(Code::IpNotAllowed)),
        (&[], &["10.0.0.1, 192.0.2.1"], None),
        (&["10.0.0.0/8"], &["192.0.2.1, 10.0.0.1"], None),
        (&["10.0.0.0/8"], &["192.0.2.1", "10.0.0.1"], None),
        (&["10.0.0.0/8"], &["192.0.2.1, 198.51.100.1, 10.0.0.1"], Some(Code::IpNotAllowed)),
        (&["10.0.0.0/8"], &["192.0.2.1, nonsense, 10.0.0.1"], Some(Code::IpNotAllowed)),
        (&["10.0.0.0/8"], &[], Some(Code::IpNotAllowed)),
    ] {
        let api = api(|api| api.trusted_forwarders = AddressSet::parse(forwarders).unwrap());
        let allowed = AddressSet::parse(["192.0.2.0/24"]).unwrap();
        let engine = engine(index(api, vec![record(|key| key.ip_allowlist = allowed)]));
        let mut headers = vec![bearer(1)];
        headers.extend(chain.iter().map(|line| ("x-forwarded-for", (*line).to_owned())));
        let found = ask_from(&engine, &Ask { headers, ..Ask::default() }, ClientAddress::Forwarded);
        assert_eq!(found.denial.map(|denial| denial.code), expected, "{forwarders:?} {chain:?}");
    }
}

#[test]
fn a_caller_is_the_client_unless_it_is_a_trusted_forwarder() {
    for (peer, chain, expected) in [
        ("198.51.100.1", Some("192.0.2.1"), Some(Code::IpNotAllowed)),
        ("192.0.2.1", Some("198.51.100.1"), None),
        ("10.0.0.1", Some("192.0.2.1"), None),
        ("10.0.0.1", Some("192.0.2.1, 10.0.0.1"), None),
        ("10.0.0.1", Some("192.0.2.1, 198.51.100.1"), Some(Code::IpNotAllowed)),
        ("10.0.0.1", Some("nonsense"), Some(Code::IpNotAllowed)),
        ("10.0.0.1", None, Some(Code::IpNotAllowed)),
    ] {
        let api = api(|api| api.trusted_forwarders = AddressSet::parse(["10.0.0.0/8"]).unwrap());
        let allowed = AddressSet::parse(["192.0.2.0/24"]).unwrap();
        let engine = engine(index(api, vec![record(|key| key.ip_allowlist = allowed)]));
        let mut headers = vec![bearer(1)];
        headers.extend(chain.map(|line| ("x-forwarded-for", line.to_owned())));
        let client = ClientAddress::Through(peer.parse().unwrap());
        let found = ask_from(&engine, &Ask { headers, ..Ask::default() }, client);
        assert_eq!(found.denial.map(|denial| denial.code), expected, "{peer} {chain:?}");
    }
}

#[test]
fn a_key_of_another_api_is_unknown_here() {
    let index = index(api(|_| {}), vec![record(|_| {})]);
    let other = api(|api| api.name = name("other"));
    index.change_policies(|policies| {
        policies.apis.insert(name("other"), Ok(other));
    });
    let engine = engine(index);
    let verdict = ask(&engine, &Ask { api: "other", ..Ask::default() });
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::Unauthorized));
    assert!(verdict.identity.is_none());
}

#[test]
fn what_cannot_be_honoured_is_not_accepted() {
    let mut malformed = record(|_| {});
    malformed.key = Err(Rejection::new(Reason::Invalid, "spec.tier: nonsense"));
    let mut refused = record(|_| {});
    refused.refused_by_controller = Some(Rejection::new(Reason::SecretNameTaken, "taken"));
    for (key, reason) in [(malformed, "Invalid"), (refused, "SecretNameTaken")] {
        let denial = ask(&engine_with(key), &Ask::default()).denial;
        assert_eq!(denial, Some(Denial::new(Code::NotAccepted, reason)));
    }
}

#[test]
fn the_limit_refuses_and_says_when_it_will_not() {
    let engine = engine_with(record(|key| key.tier = Some("pro".into())));
    for remaining in [2, 1, 0] {
        let verdict = ask(&engine, &Ask::default());
        assert_eq!((verdict.denial, verdict.limit.map(|limit| limit.remaining)), (None, Some(remaining)));
    }
    // Cells begin at 60, 120, ...: the three of this one weigh two at 140.
    for now in [100, 139] {
        let verdict = ask(&engine, &Ask { now, ..Ask::default() });
        let denial = verdict.denial.unwrap();
        assert_eq!((denial.code, denial.retry_after), (Code::RateLimited, u32::try_from(140 - now).ok()));
        assert_eq!(verdict.limit.map(|limit| limit.remaining), Some(0));
    }
    assert_eq!(code(&engine, &Ask { now: 140, ..Ask::default() }), None);
}

#[test]
fn a_denial_about_a_known_key_tells_its_limit_and_charges_nothing() {
    let engine = engine_with(record(|key| key.tier = Some("pro".into())));
    let refused = Ask { method: "POST", target: "/v1/transcripts".to_owned(), ..Ask::default() };
    for _ in 0..5 {
        let verdict = ask(&engine, &refused);
        assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::InsufficientScope));
        assert_eq!(verdict.limit.map(|limit| limit.remaining), Some(3));
    }
    let unknown = ask(&engine, &Ask { headers: vec![bearer(9)], ..Ask::default() });
    assert_eq!(unknown.limit, None);
}

#[test]
fn a_silent_watch_closes_the_gate_and_news_open_it() {
    let engine = engine_with(record(|_| {}));
    assert_eq!(code(&engine, &Ask { monotonic: 40, ..Ask::default() }), None);
    assert_eq!(code(&engine, &Ask { monotonic: 41, ..Ask::default() }), Some(Code::Unavailable));
    Watched::ALL.into_iter().for_each(|kind| engine.gate.heard(kind, Duration::from_secs(41)));
    assert_eq!(code(&engine, &Ask { monotonic: 41, ..Ask::default() }), None);
}

#[test]
fn a_permit_is_looked_at_for_every_request() {
    let engine = engine_with(record(|_| {}));
    engine.gate.permit(Duration::from_secs(20));
    assert_eq!(code(&engine, &Ask { monotonic: 19, ..Ask::default() }), None);
    assert_eq!(code(&engine, &Ask { monotonic: 20, ..Ask::default() }), Some(Code::Unavailable));
}

/// The route `use` for GET /v1/models/{model}, which reads the model there, in a header or in the query.
fn engine_of_models(resources: Vec<Access>) -> Engine {
    let from = [ValueSource::Path(0), ValueSource::Header("x-model".into()), ValueSource::Query("model".into())];
    let resource = RouteResource { kind: Arc::new(Kind::new("model", None)), from: from.into() };
    let route = |name, path| Route { resource: Some(resource.clone()), ..route(name, &["GET"], path, None) };
    let routes = Routes::build(vec![route("use", "/v1/models/{*model}"), route("any", "/v1/any")]).unwrap();
    let api = api(|api| api.routes = routes.clone());
    engine(index(api, vec![record(|key| key.resources = resources)]))
}

#[test]
fn what_a_request_is_for_is_read_where_the_route_says() {
    let allow = |allow: &str| Access { kind: "model".into(), allow: [allow.into()].into(), deny: [].into() };
    let engine = engine_of_models(vec![allow("gpt 4")]);
    let header = |value: &str| vec![bearer(1), ("x-model", value.to_owned())];
    for (target, route, headers, expected) in [
        ("/v1/models/llama", None, vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/v1/models/llama?model=gpt+4", None, header("gpt 4"), Some(Code::ResourceForbidden)),
        ("/v1/any?model=gpt+4", None, header("llama"), Some(Code::ResourceForbidden)),
        ("/v1/any?model=llama", None, vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/v1/any?model=gpt+4&model=llama", None, vec![bearer(1)], Some(Code::ResourceNotFound)),
        ("/v1/any?model=%ff", None, vec![bearer(1)], Some(Code::ResourceNotFound)),
        // As that route, whatever the path: what the path does not tell is read from the other places.
        ("/elsewhere?model=llama", Some("use"), vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/a//b?model=gpt+4", Some("use"), vec![bearer(1)], Some(Code::ResourceNotFound)),
        ("/v1/models/llama?model=gpt+4", Some("use"), vec![bearer(1)], Some(Code::ResourceForbidden)),
        ("/elsewhere?model=gpt+4", Some("use"), vec![bearer(1)], None),
        ("/v1/models/gpt%204", None, vec![bearer(1)], None),
        ("/v1/models/?model=gpt%204", None, vec![bearer(1)], None),
        ("/v1/any?model=gpt+4&model=gpt%204", None, vec![bearer(1)], None),
        ("/v1/any?model=llama", None, header(" gpt 4 "), None),
        ("/v1/any?mode=llama", None, header(""), None),
    ] {
        let request = Ask { target: target.to_owned(), route, headers: headers.clone(), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{target} {route:?} {headers:?}");
    }
    let api = engine.api("speech", "transcripts").unwrap();
    let codes = ["MODEL_FORBIDDEN", "REVOKED", "RUNTIME_FORBIDDEN"].map(|name| api.code(name));
    assert_eq!(codes, [Some(Code::ResourceForbidden), Some(Code::Revoked), None]);
    assert!(engine.api("speech", "unknown").is_none());
}

#[test]
fn a_resource_in_a_body_is_read_after_the_places_before_it() {
    let places = ["/runtime_id", "/model"].map(|pointer| ValueSource::Body(Pointer::parse(pointer).unwrap()));
    let from: Vec<_> = [ValueSource::Query("model".into())].into_iter().chain(places).collect();
    let resource = RouteResource { kind: Arc::new(Kind::new("model", None)), from: from.into() };
    let routes = vec![Route { resource: Some(resource), ..route("any", &["GET"], "/v1/any", None) }];
    let api = api(|api| api.routes = Routes::build(routes).unwrap());
    let access = Access { kind: "model".into(), allow: ["gpt".into()].into(), deny: [].into() };
    let engine = engine(index(api, vec![record(|key| key.resources = vec![access])]));
    let (forbidden, unclear) = (Some(Code::ResourceForbidden), Some(Code::ResourceNotFound));
    for (target, body, expected) in [
        ("/v1/any", Err("the proxy does not send bodies"), unclear),
        ("/v1/any", Ok(&b"model=gpt"[..]), unclear),
        ("/v1/any", Ok(br#"{"model":"gpt","model":"llama"}"#), unclear),
        ("/v1/any", Ok(br#"{"model":"gpt","MODEL":"llama"}"#), unclear),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":{}}"#), unclear),
        ("/v1/any", Ok(br#"{"model":"llama"}"#), forbidden),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":2}"#), forbidden),
        ("/v1/any?model=llama", Ok(br#"{"model":"gpt"}"#), forbidden),
        ("/v1/any?model=gpt", Err("the proxy does not send bodies"), None),
        ("/v1/any?model=gpt", Ok(br#"{"model":"llama"}"#), None),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":null}"#), None),
        ("/v1/any", Ok(br#"{"model":"gpt","runtime_id":""}"#), None),
        // Whether a request has to name a resource is the catalog's to say.
        ("/v1/any", Ok(br#"{"input":"x"}"#), None),
        ("/v1/any", Ok(b""), None),
    ] {
        let request = Ask { target: target.to_owned(), body, headers: vec![bearer(1)], ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{target} {body:?}");
    }
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

/// The key whose usage waits to be written down.
fn only_used(index: &Index) -> UsedKey {
    let mut used = index.used().take();
    assert_eq!(used.len(), 1);
    used.remove(0)
}

#[test]
fn what_is_judged_of_a_known_key_is_counted() {
    let engine = engine_with(record(|key| key.rate_limits = vec![limit("two", 2, 60)]));
    let write = || Ask { method: "POST", target: "/v1/transcripts".to_owned(), ..Ask::default() };
    let of_nobody = [
        Ask { headers: vec![bearer(9)], ..Ask::default() },
        Ask { target: "/healthz".to_owned(), ..Ask::default() },
        Ask { broken: Some("a header is missing"), ..Ask::default() },
    ];
    let of_the_key = [Ask::default(), write(), Ask { now: 101, ..Ask::default() }, Ask::default(), write()];
    of_nobody.iter().chain(&of_the_key).for_each(|request| drop(ask(&engine, request)));

    let key = only_used(&engine.index);
    assert_eq!((key.namespace(), key.uid(), key.since), ("speech", "u1", Duration::from_secs(10)));
    let usage = key.take();
    let mut expected = Usage::default();
    let from = Some([192, 0, 2, 1].into());
    for now in [100, 101] {
        expected.allowed(LastUse { at: at(now), from }, 1, Some(&"read".into()));
    }
    for code in [Code::InsufficientScope, Code::InsufficientScope, Code::RateLimited] {
        expected.denied(code.as_str());
    }
    assert_eq!(usage, expected);
}

#[test]
fn a_key_waits_once_to_be_written_down_however_often_it_is_used() {
    let index = index(api(|_| {}), vec![record(|_| {})]);
    let engine = engine(Arc::clone(&index));
    let use_it = || assert_eq!(code(&engine, &Ask::default()), None);
    use_it();
    let key = only_used(&index);
    // An edit of the key changes nothing about it.
    index.apply(record(|key| key.owner = Some("another".into())));
    use_it();
    assert_eq!((key.take().requests.total, index.used().take().len()), (2, 0));
    use_it();
    assert!(key.settle(), "it was used while it was written");
    assert_eq!((key.take().requests.total, key.settle()), (1, false));
    use_it();
    let key = only_used(&index);
    let taken = key.take();
    key.put_back(&taken);
    use_it();
    assert_eq!((key.take().requests.total, index.used().take().len()), (2, 0));
}

#[test]
fn in_audit_mode_what_would_be_refused_is_counted_as_refused() {
    let engine = engine(index(api(|api| api.mode = Mode::Audit), vec![record(|key| key.enabled = false)]));
    assert_eq!(code(&engine, &Ask::default()), None);
    let key = only_used(&engine.index);
    let usage = key.take();
    assert_eq!((usage.requests.total, usage.denied.get("DISABLED")), (0, Some(&1)));
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

fn key_of_acme(uid: &str, seed: u8) -> KeyRecord {
    let versions = vec![version(1, seed, VersionState::Current)];
    KeyRecord { versions, ..record(|key| (key.uid, key.name) = (uid.into(), name(uid))) }
}

fn with_string(seed: u8) -> Ask {
    Ask { headers: vec![bearer(seed)], ..Ask::default() }
}

#[test]
fn keys_of_one_owner_share_its_limits_from_the_moment_it_is_declared() {
    let keys = || vec![key_of_acme("a", 1), key_of_acme("b", 2)];
    let shared = Owner { rate_limits: vec![limit("shared", 2, 60)], ..fixtures::owner() };
    let index = index_with_owner(keys(), shared.clone());
    let engine = engine(Arc::clone(&index));
    let remaining = |seed| ask(&engine, &with_string(seed)).limit.map(|limit| limit.remaining);
    assert_eq!((remaining(1), remaining(2)), (Some(1), Some(0)));
    assert_eq!(code(&engine, &with_string(1)), Some(Code::RateLimited));
    // What was charged outlives edits of the owner and of its keys.
    let raised = Owner { rate_limits: vec![limit("shared", 3, 60)], ..shared };
    index.change_owners_if(|owners| {
        enter_owner(owners, Ok(Arc::new(raised)));
        true
    });
    index.reset(keys());
    assert_eq!((remaining(2), code(&engine, &with_string(1))), (Some(0), Some(Code::RateLimited)));
    index.change_owners_if(|owners| {
        owners.clear();
        true
    });
    assert_eq!((remaining(1), remaining(2)), (None, None));
}

#[test]
fn a_route_says_what_its_requests_cost() {
    let routes = vec![
        Route {
            cost: 5,
            charges: vec![RouteCharge { limit: "heavy".into(), cost: 3 }],
            ..route("infer", &["POST"], "/v1/infer", None)
        },
        Route { cost: 0, ..route("list", &["GET"], "/v1/list", None) },
    ];
    let engine = engine(index(
        api(|api| api.routes = Routes::build(routes).unwrap()),
        vec![record(|key| {
            key.rate_limits = vec![RateLimit { auto_apply: false, ..limit("heavy", 7, 60) }, limit("all", 100, 60)];
        })],
    ));
    let infer = || Ask { method: "POST", target: "/v1/infer".to_owned(), ..Ask::default() };
    let list = || Ask { target: "/v1/list".to_owned(), ..Ask::default() };
    let told = |ask: &Verdict| ask.limit.as_ref().map(|limit| (limit.name.to_string(), limit.remaining));
    assert_eq!(told(&ask(&engine, &infer())), Some(("heavy".to_owned(), 4)));
    assert_eq!(told(&ask(&engine, &list())), Some(("all".to_owned(), 98)));
    assert_eq!(told(&ask(&engine, &infer())), Some(("heavy".to_owned(), 1)));
    assert_eq!(code(&engine, &infer()), Some(Code::RateLimited));
    assert_eq!(code(&engine, &list()), None);
}

#[test]
fn limits_are_not_shared_before_it_is_known_among_how_many() {
    let index = Arc::new(Index::default());
    index.change_policies(|policies| drop(policies.apis.insert(name("transcripts"), Ok(api(|_| {})))));
    index.reset(vec![key_of_acme("free", 1), record(|key| key.rate_limits = vec![limit("a", 9, 60)])]);
    index.apply(KeyRecord {
        versions: vec![version(1, 2, VersionState::Current)],
        ..record(|key| key.rate_limits = vec![limit("a", 10, 60)])
    });
    let engine = engine(Arc::clone(&index));
    assert_eq!(code(&engine, &with_string(1)), None);
    assert_eq!(code(&engine, &with_string(2)), Some(Code::Unavailable));
    index.set_processes(NonZeroU32::new(4).unwrap());
    assert_eq!([(); 4].map(|()| code(&engine, &with_string(2))), [None, None, None, Some(Code::RateLimited)]);
}

const USAGE: &str = "usage-of-u1";

fn metered(granted: u64) -> KeyRecord {
    record(|key| {
        key.quotas = vec![Quota { name: "daily".into(), limit: 2, period: Period::Day }];
        key.credits = Some(Credits { granted, epoch: 0, refill: None });
    })
}

/// Hands out what the request was short of, as long as there is any.
fn supply(ledger: &mut Ledger, shortage: &Shortage, now: i64) {
    for spender in &shortage.spenders {
        for want in spender.wants(shortage.credits, at(now)) {
            let reserved = ledger.reserve(&want.budget, want.need, 1, at(now));
            assert_eq!(spender.deposit(USAGE, &want, reserved, at(now)), None);
        }
    }
}

fn judge(engine: &Engine, now: i64) -> Judgement {
    let (_, value) = bearer(1);
    let headers = [("authorization", &*value)];
    engine.verify(&request(ClientAddress::Unknown, &headers), at(now), Duration::from_secs(10))
}

const DAY: i64 = 86_400;

#[test]
fn what_is_short_is_asked_for_and_the_request_judged_again() {
    let engine = engine_with(metered(3));
    let mut ledger = Ledger { uid: USAGE.into(), began: at(0), quotas: vec![], credits: None };
    let mut answer = |now| {
        let mut attempts = 0;
        loop {
            match judge(&engine, now) {
                Judgement::Short(_, shortage) if attempts < 4 => supply(&mut ledger, &shortage, now),
                judgement => return judgement.alone().denial.map(|denial| (denial.code, denial.retry_after)),
            }
            attempts += 1;
        }
    };
    assert_eq!([answer(100), answer(100)], [None, None]);
    assert_eq!(answer(100), Some((Code::QuotaExceeded, u32::try_from(DAY - 100).ok())));
    assert_eq!(answer(DAY), None);
    assert_eq!(answer(DAY), Some((Code::CreditsExhausted, None)));
    let usage = only_used(&engine.index).take();
    assert_eq!(usage.requests.total, 3);
    assert_eq!(usage.denied, [("CREDITS_EXHAUSTED".to_owned(), 1), ("QUOTA_EXCEEDED".to_owned(), 1)].into());
}

#[test]
fn what_does_not_come_in_time_is_unavailable_and_costs_nothing() {
    let engine = engine_with(metered(3));
    assert_eq!(judge(&engine, 100).alone().denial.map(|denial| denial.code), Some(Code::Unavailable));
    let usage = only_used(&engine.index).take();
    assert_eq!((usage.requests.total, usage.denied.get("UNAVAILABLE")), (0, Some(&1)));
}

/// What a store would answer that has charged these limits as often as the engine has asked.
#[derive(Default)]
struct Store(HashMap<String, Cells>);

impl Store {
    fn charge(&mut self, request: &StoreRequest, now: i64) -> StoreAnswer {
        let cells_of = |charge: &StoreCharge| self.0.get(&charge.key).copied().unwrap_or_default();
        let charged: Vec<_> =
            request.charges.iter().map(|charge| cells_of(charge).charge(charge.rule, at(now), charge.cost)).collect();
        let admitted = charged.iter().all(Result::is_ok);
        if admitted && request.commit {
            let all = request.charges.iter().zip(charged);
            self.0.extend(all.map(|(charge, cells)| (charge.key.clone(), cells.unwrap())));
        }
        let cells = request.charges.iter().map(|charge| self.0.get(&charge.key).copied().unwrap_or_default());
        StoreAnswer { admitted, at: at(now), cells: cells.collect() }
    }
}

fn answer_of(judgement: Judgement, answer: impl FnOnce(&StoreRequest) -> Result<StoreAnswer, OnStoreError>) -> Verdict {
    match judgement {
        Judgement::Elsewhere(case, inquiry) => {
            let answer = answer(&inquiry.request());
            inquiry.finish(case, answer, Ok(()))
        }
        other => panic!("{other:?}"),
    }
}

/// An engine whose limits are counted elsewhere, with two units of a quota at hand.
fn engine_with_store() -> Engine {
    let limits = vec![limit("a", 3, 60)];
    let quota = Quota { name: "daily".into(), limit: 2, period: Period::Day };
    let engine =
        engine_with(record(|key| (key.rate_limits, key.quotas) = (limits, vec![quota]))).with_limits_elsewhere();
    let mut ledger = Ledger { uid: USAGE.into(), began: at(0), quotas: vec![], credits: None };
    let Judgement::Short(_, shortage) = judge(&engine, 100) else { panic!("nothing is handed out yet") };
    let spender = &shortage.spenders[0];
    let want = spender.wants(0, at(100)).remove(0);
    let reserved = ledger.reserve(&want.budget, 2, 1, at(100));
    assert_eq!(spender.deposit(USAGE, &want, reserved, at(100)), None);
    engine
}

#[test]
fn limits_that_are_counted_elsewhere_refuse_before_quotas_and_charge_nothing_then() {
    let engine = engine_with_store();
    let mut store = Store::default();
    let mut ask = |now| {
        let judgement = judge(&engine, now);
        let Judgement::Short(_, shortage) = judgement else {
            let verdict = answer_of(judgement, |request| Ok(store.charge(request, now)));
            return (verdict.denial.map(|denial| denial.code), verdict.limit.map(|limit| limit.remaining));
        };
        let spender = &shortage.spenders[0];
        let want = spender.wants(0, at(now)).remove(0);
        assert_eq!(spender.deposit(USAGE, &want, Err(Refusal::Exhausted { until: None }), at(now)), None);
        let verdict = answer_of(judge(&engine, now), |request| Ok(store.charge(request, now)));
        (verdict.denial.map(|denial| denial.code), verdict.limit.map(|limit| limit.remaining))
    };
    assert_eq!(ask(100), (None, Some(2)));
    assert_eq!(ask(100), (None, Some(1)));
    assert_eq!(ask(100), (Some(Code::QuotaExceeded), Some(1)), "looked at, not charged");
    let mut other = Store::default();
    other.0.insert(
        "key:u1:a".to_owned(),
        Cells::default().charge(Rule::new(3, Duration::from_mins(1)), at(100), 3).unwrap(),
    );
    let verdict = answer_of(judge(&engine, 100), |request| Ok(other.charge(request, 100)));
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::RateLimited), "limits come before quotas");
}

#[test]
fn without_the_stores_answer_this_process_counts_or_refuses() {
    let engine = engine_with_store();
    let locally = |_: &StoreRequest| Err(OnStoreError::Local);
    let denied = |_: &StoreRequest| Err(OnStoreError::Deny);
    let verdict = answer_of(judge(&engine, 100), denied);
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::Unavailable));
    for remaining in [2, 1] {
        // The refusal has cost nothing.
        let verdict = answer_of(judge(&engine, 100), locally);
        assert_eq!((verdict.denial, verdict.limit.map(|limit| limit.remaining)), (None, Some(remaining)));
    }
}

#[test]
fn what_nobody_waits_for_any_more_costs_nothing() {
    let engine = engine_with_store();
    for _ in 0..5 {
        drop(judge(&engine, 100));
    }
    let verdict = answer_of(judge(&engine, 100), |request| Ok(Store::default().charge(request, 100)));
    assert_eq!(verdict.denial, None);
}

#[test]
fn only_those_who_have_quotas_or_credits_are_asked_for_more() {
    let quota = || vec![Quota { name: "daily".into(), limit: 2, period: Period::Day }];
    for (of_key, of_owner, expected) in
        [(quota(), vec![], &["u1"][..]), (vec![], quota(), &["owner"]), (quota(), quota(), &["u1"])]
    {
        let owner = Owner {
            uid: "owner".into(),
            rate_limits: vec![limit("shared", 9, 60)],
            quotas: of_owner,
            usage: Some("usage-of-owner".into()),
            ..fixtures::owner()
        };
        let engine = engine(index_with_owner(vec![record(|key| key.quotas = of_key)], owner));
        let Judgement::Short(_, shortage) = judge(&engine, 100) else { panic!("nothing is handed out yet") };
        let short = shortage.spenders.iter().filter(|spender| !spender.wants(1, at(100)).is_empty());
        assert_eq!(short.map(Spender::uid).collect::<Vec<_>>(), expected);
    }
}
