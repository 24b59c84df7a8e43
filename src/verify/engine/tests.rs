use std::net::IpAddr;

use super::*;
use crate::core::acceptance::{Reason, Rejection};
use crate::core::address::AddressSet;
use crate::core::digest::Pepper;
use crate::core::resource::{Access, Kind, RouteResource, ValueSource};
use crate::core::rotation::VersionState;
use crate::core::route::Routes;
use crate::core::source::Source;
use crate::core::usage::Usage;
use crate::verify::fixtures::{api, at, index, limit, name, pepper, record, route, string, version};
use crate::verify::gate::Watched;
use crate::verify::index::{KeyRecord, KeyVersion};
use crate::verify::used::UsedKey;

/// Everything that a case may vary about a request; by default it is let in.
struct Ask {
    api: &'static str,
    route: Option<&'static str>,
    broken: Option<&'static str>,
    method: &'static str,
    target: String,
    client: Option<&'static str>,
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

fn ask(engine: &Engine, ask: &Ask) -> Verdict {
    let headers: Vec<_> = ask.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let original = Original {
        method: ask.method,
        target: ask.target.as_bytes(),
        client: ask.client.map(|client| client.parse::<IpAddr>().unwrap()),
    };
    let request = Request {
        namespace: "speech",
        api: ask.api,
        route: ask.route,
        original: ask.broken.map_or(Ok(original), Err),
        headers: &headers[..],
    };
    engine.verify(&request, at(ask.now), Duration::from_secs(ask.monotonic))
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
    assert_eq!(engine.code("speech", "transcripts", "MODEL_FORBIDDEN"), Some(Code::ResourceForbidden));
    assert_eq!(engine.code("speech", "transcripts", "REVOKED"), Some(Code::Revoked));
    for (api, name) in [("transcripts", "RUNTIME_FORBIDDEN"), ("unknown", "MODEL_FORBIDDEN")] {
        assert_eq!(engine.code("speech", api, name), None);
    }
}

#[test]
fn letting_a_request_pass_allocates_nothing() {
    let engine = engine_with(record(|key| {
        key.tier = Some("pro".into());
        key.ip_allowlist = AddressSet::parse(["192.0.2.0/24"]).unwrap();
        key.rate_limits = vec![limit("a", 1_000, 60)];
    }));
    let string = string(1);
    let authorization = format!("Bearer {}", string.expose());
    let headers = [("host", "a"), ("authorization", &*authorization)];
    let request = Request {
        namespace: "speech",
        api: "transcripts",
        route: None,
        original: Ok(Original { method: "GET", target: b"/v1/transcripts/1?page=2", client: "192.0.2.1".parse().ok() }),
        headers: &headers[..],
    };
    let verify = |now| engine.verify(&request, at(now), Duration::from_secs(10));
    // Threads set up their part of the maps when they first read.
    assert_eq!(verify(0).denial, None);
    let counted = allocation_counter::measure(|| {
        for now in 0..100 {
            assert_eq!(verify(now * 1_000).denial, None);
        }
    });
    assert_eq!(counted.count_total, 0);
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
