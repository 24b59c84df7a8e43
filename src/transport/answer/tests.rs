//! Whole answers of a real engine, by a table of calls.

mod decisions;
mod dialects;

use std::cell::Cell;
use std::convert::Infallible;
use std::future::ready;
use std::num::NonZeroU32;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request as HttpRequest, header};

use super::*;
use crate::core::address::AddressSet;
use crate::core::digest::Pepper;
use crate::core::fixtures;
use crate::core::key::{Environment, KeyFormat, PlainKey};
use crate::core::pointer::Pointer;
use crate::core::policy::{Api, Credential, Key, Mode, ObjectName, RateLimit, Unmatched};
use crate::core::query::Query;
use crate::core::ratelimit::Cells;
use crate::core::resource::{Kind, RouteResource, ValueSource};
use crate::core::rotation::VersionState;
use crate::core::route::{Route, Routes};
use crate::core::scope::Scope;
use crate::transport::judge::Store;
use crate::verify::gate::{Gate, Watched};
use crate::verify::index::{Index, KeyRecord, KeyVersion};
use crate::verify::store::{LimitStore, OnStoreError, StoreAnswer, StoreError, StoreRequest};

/// 2023-11-14T22:13:20Z, 20 s into a minute.
const NOW: i64 = 1_700_000_000;

pub(in crate::transport) const AT: Instant =
    Instant { now: Timestamp::constant(NOW, 0), since_boot: Duration::from_secs(100) };

fn pepper() -> Pepper {
    Pepper::new("p1", &[7; 32]).unwrap()
}

fn format() -> KeyFormat {
    KeyFormat { prefix: "sk".into(), length: 32 }
}

/// The only key: speech/ci, for reading, twice a minute, from 192.0.2.0/24.
pub(in crate::transport) fn string() -> PlainKey {
    let fill = |bytes: &mut [u8]| -> Result<(), Infallible> {
        bytes.fill(1);
        Ok(())
    };
    format().mint(Environment::Live, fill).unwrap()
}

pub(in crate::transport) fn api() -> Api {
    let route = |name: &str, method: &str, scope: &str| Route {
        methods: vec![method.into()],
        require: Some(Query::parse(scope).unwrap()),
        ..fixtures::route(name, "/v1/{*rest}")
    };
    let health = Route { public: true, ..fixtures::route("health", "/healthz") };
    Api {
        credentials: vec![Credential::Header { name: "x-api-key".into(), scheme: None }],
        routes: Routes::build(vec![route("read", "GET", "read"), route("write", "POST", "write"), health]).unwrap(),
        unmatched: Unmatched::Deny,
        identify_scopes: true,
        ..fixtures::api()
    }
}

fn record() -> KeyRecord {
    let key = Key {
        owner: Some("acme-1".into()),
        scopes: Some(vec![Scope::parse("read").unwrap()]),
        ip_allowlist: AddressSet::parse(["192.0.2.0/24"]).unwrap(),
        rate_limits: vec![RateLimit {
            name: "requests".into(),
            limit: 2,
            window: Duration::from_mins(1),
            auto_apply: true,
        }],
        ..fixtures::key()
    };
    let current =
        KeyVersion { number: 3, digest: pepper().digest(&string()), state: VersionState::Current, not_after: None };
    KeyRecord {
        uid: Arc::clone(&key.uid),
        created_at: key.created_at,
        name: key.name.clone(),
        key: Ok(key),
        id: Some("key_1".to_owned()),
        versions: vec![current],
        usage: None,
        revoked_for_good: false,
        refused_by_controller: None,
    }
}

fn engine() -> Engine {
    engine_of(api())
}

pub(in crate::transport) fn engine_of(api: Api) -> Engine {
    engine_over(index_of(api))
}

pub(in crate::transport) fn index_of(api: Api) -> Arc<Index> {
    let index = Index::default();
    index.set_processes(NonZeroU32::MIN);
    index.change_policies(|policies| {
        policies.apis.insert(ObjectName::new("speech", "transcripts"), Ok(Arc::new(api)));
    });
    index.reset(vec![record()]);
    Arc::new(index)
}

pub(in crate::transport) fn engine_over(index: Arc<Index>) -> Engine {
    let gate = Gate::new(Duration::from_secs(30));
    gate.permit(AT.since_boot + Duration::from_secs(30));
    for kind in Watched::ALL {
        gate.listed(kind, AT.since_boot);
    }
    Engine::new(index, Arc::new(gate), pepper().into())
}

/// A call as nginx makes it.
#[derive(Clone)]
struct Asked {
    path: String,
    headers: Vec<(&'static str, String)>,
}

fn nginx(path: &str) -> Asked {
    let headers = [
        ("x-original-method", "GET"),
        ("x-original-uri", "/v1/a"),
        ("x-real-ip", "192.0.2.1"),
        ("x-request-id", "r-1"),
    ];
    Asked { path: path.to_owned(), headers: headers.map(|(name, value)| (name, value.to_owned())).into() }
}

const AUTH: &str = "/auth/nginx/speech/transcripts";

impl Asked {
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.and(name, value)
    }

    fn and(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn with_key(self) -> Self {
        self.with("x-api-key", string().expose())
    }

    fn request(self) -> Parts {
        let mut request = HttpRequest::get(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn of(self, engine: Option<&Engine>) -> (String, Option<Judged>) {
        let Answer { response, judged } = answer_at(AT, engine, &self.request());
        (text(response), judged)
    }
}

/// Answers without waiting for anything.
fn answer_at(at: Instant, engine: Option<&Engine>, parts: &Parts) -> Answer {
    answer_remembering(&Decisions::default(), at, engine, parts)
}

fn answer_remembering(decisions: &Decisions, at: Instant, engine: Option<&Engine>, parts: &Parts) -> Answer {
    let outside = Outside::default();
    let judge = Judge { engine, outside: &outside, decisions, followed: None };
    answer(judge, parts, ready(Err("no body")), at, || at).now_or_never().unwrap()
}

/// Status, header lines and body, as they would be read.
fn text(response: Response<String>) -> String {
    let (parts, body) = response.into_parts();
    let lines = parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    let all: Vec<_> = std::iter::once(parts.status.as_u16().to_string()).chain(lines).chain([body]).collect();
    all.join("\n").trim_end_matches('\n').to_owned()
}

fn judged_as(code: &'static str, would_deny: Option<&'static str>) -> Judged {
    Judged { api: ApiLabel(Some(("speech".into(), "transcripts".into()))), code, would_deny }
}

/// What every refusal about the request `r-1` begins with.
fn refusal(status: u16, code: Code) -> String {
    format!("{status}\nx-auth-code: {code}\nx-auth-status: {}\nx-request-id: r-1", code.status())
}

#[test]
fn refusals_are_told_in_the_statuses_that_nginx_knows() {
    let unlimited = |code| refusal(403, code);
    let challenged =
        format!("{}\nwww-authenticate: Bearer realm=\"speech/transcripts\"", refusal(401, Code::Unauthorized));
    for (case, asked, expected) in [
        ("no key", nginx(AUTH), challenged.clone()),
        ("a made-up key", nginx(AUTH).with("x-api-key", "sk_live_0"), challenged),
        ("another API", nginx("/auth/nginx/speech/other").with_key(), unlimited(Code::ApiNotFound)),
        ("another namespace", nginx("/auth/nginx/other/transcripts").with_key(), unlimited(Code::ApiNotFound)),
        ("two URIs", nginx(AUTH).with_key().and("x-original-uri", "/v1/b"), unlimited(Code::BadRequest)),
        ("two methods", nginx(AUTH).with_key().and("x-original-method", "GET"), unlimited(Code::BadRequest)),
        ("two addresses", nginx(AUTH).with_key().and("x-real-ip", "192.0.2.1"), unlimited(Code::BadRequest)),
        ("an ambiguous path", nginx(AUTH).with_key().with("x-original-uri", "/v1/../v2"), unlimited(Code::BadRequest)),
    ] {
        let (text, _) = asked.of(Some(&engine()));
        assert_eq!(text, expected, "{case}");
    }
}

#[test]
fn refusals_about_a_known_key_say_how_its_limit_stands_and_charge_nothing() {
    let engine = engine();
    for (case, asked, code) in [
        ("a foreign address", nginx(AUTH).with("x-real-ip", "198.51.100.1"), Code::IpNotAllowed),
        ("no address", nginx(AUTH).with("x-real-ip", "unix:"), Code::IpNotAllowed),
        ("no such route", nginx(AUTH).with("x-original-uri", "/v2"), Code::RouteNotFound),
        ("no such route by name", nginx("/auth-as/nginx/speech/transcripts/delete"), Code::RouteNotFound),
        ("a missing scope", nginx(AUTH).with("x-original-method", "POST"), Code::InsufficientScope),
        ("a missing scope by name", nginx("/auth-as/nginx/speech/transcripts/write/v1"), Code::InsufficientScope),
    ] {
        let (text, judged) = asked.with_key().of(Some(&engine));
        assert!(text.starts_with(&refusal(403, code)), "{case}: {text}");
        assert!(text.contains("\nx-ratelimit-remaining: 2\n"), "{case}: {text}");
        assert_eq!(judged, Some(judged_as(code.as_str(), None)), "{case}");
    }
}

#[test]
fn whoever_may_pass_is_named_and_told_what_is_left() {
    let engine = engine();
    let (text, judged) = nginx(AUTH).with_key().and("x-apikey-id", "forged").of(Some(&engine));
    let expected = "200\n\
        x-apikey-id: key_1\nx-apikey-name: ci\nx-apikey-namespace: speech\nx-apikey-owner: acme-1\n\
        x-apikey-environment: live\nx-apikey-tier: \nx-apikey-version: 3\nx-apikey-scopes: read\n\
        x-auth-would-deny: \n\
        x-ratelimit-limit: 2\nx-ratelimit-remaining: 1\nx-ratelimit-reset: 1700000100\n\
        ratelimit: \"requests\";r=1;t=100\nratelimit-policy: \"requests\";q=2;w=60";
    assert_eq!(text, expected);
    assert_eq!(judged, Some(judged_as("ALLOWED", None)));
}

#[test]
fn an_exhausted_limit_says_when_to_come_back() {
    let engine = engine();
    let [_, _, last] = [(); 3].map(|()| nginx(AUTH).with_key().of(Some(&engine)).0);
    assert!(last.starts_with(&format!("{}\nretry-after: ", refusal(403, Code::RateLimited))), "{last}");
    assert!(last.contains("\nx-ratelimit-remaining: 0\n"), "{last}");
}

#[test]
fn in_audit_mode_a_refusal_is_told_and_passes_as_nobody() {
    let engine = engine_of(Api { mode: Mode::Audit, ..api() });
    let nobody = "200\nx-apikey-id: \nx-apikey-name: \nx-apikey-namespace: \nx-apikey-owner: \n\
        x-apikey-environment: \nx-apikey-tier: \nx-apikey-version: \nx-apikey-scopes: \nx-auth-would-deny: ";
    for (case, asked, code) in [
        ("no key", nginx(AUTH).and("x-auth-would-deny", "forged"), Code::Unauthorized),
        ("a foreign address", nginx(AUTH).with_key().with("x-real-ip", "198.51.100.1"), Code::IpNotAllowed),
        ("no such route", nginx(AUTH).with_key().with("x-original-uri", "/v2"), Code::RouteNotFound),
        ("a missing scope", nginx(AUTH).with_key().with("x-original-method", "POST"), Code::InsufficientScope),
    ] {
        let (text, judged) = asked.of(Some(&engine));
        assert!(text.starts_with(&format!("{nobody}{code}")), "{case}: {text}");
        assert_eq!(judged, Some(judged_as("ALLOWED", Some(code.as_str()))), "{case}");
    }
    for (case, asked, code) in [
        ("two URIs", nginx(AUTH).with_key().and("x-original-uri", "/v1/b"), Code::BadRequest),
        ("another API", nginx("/auth/nginx/speech/other").with_key(), Code::ApiNotFound),
    ] {
        assert!(asked.of(Some(&engine)).0.starts_with(&refusal(403, code)), "{case}");
    }
    let (text, judged) = nginx(AUTH).with_key().of(Some(&engine));
    assert!(text.starts_with("200\nx-apikey-id: key_1\n") && text.contains("\nx-auth-would-deny: \n"), "{text}");
    assert!(text.contains("\nx-ratelimit-remaining: 1\n"), "what is let in is charged: {text}");
    assert_eq!(judged, Some(judged_as("ALLOWED", None)));
}

#[test]
fn a_public_route_has_no_identity_and_needs_none() {
    let (text, _) = nginx(AUTH).with("x-original-uri", "/healthz").with_key().of(Some(&engine()));
    let expected = "200\nx-apikey-id: \nx-apikey-name: \nx-apikey-namespace: \nx-apikey-owner: \n\
        x-apikey-environment: \nx-apikey-tier: \nx-apikey-version: \nx-apikey-scopes: \nx-auth-would-deny:";
    assert_eq!(text.trim_end(), expected);
}

#[test]
fn a_body_is_read_where_the_routes_resource_stands_in_one_and_only_there() {
    let mut api = api();
    let from = [ValueSource::Body(Pointer::parse("/model").unwrap())];
    let resource = RouteResource { kind: Arc::new(Kind::new("model", None)), from: from.into() };
    let infer = Route { resource: Some(resource), ..fixtures::route("infer", "/v1/infer") };
    let plain = fixtures::route("plain", "/v1/plain");
    api.routes = Routes::build(vec![infer, plain]).unwrap();
    let engine = engine_of(api);
    let outside = Outside::default();
    let decisions = Decisions::default();
    let judge = Judge { engine: Some(&engine), outside: &outside, decisions: &decisions, followed: None };
    for (uri, partial, body, expected) in [
        ("/v1/infer", "false", Err("no body"), (Some("MODEL_NOT_FOUND"), true)),
        ("/v1/infer", "false", Ok("model=gpt"), (Some("MODEL_NOT_FOUND"), true)),
        ("/v1/infer", "true", Ok("{}"), (Some("MODEL_NOT_FOUND"), false)),
        ("/v1/infer", "false", Ok(r#"{"model":"gpt"}"#), (None, true)),
        ("/v1/plain", "false", Ok("{}"), (None, false)),
    ] {
        let request = nginx(AUTH).with_key().with("x-original-uri", uri).with("x-envoy-auth-partial-body", partial);
        let was_read = Cell::new(false);
        let read = async {
            was_read.set(true);
            body.map(|body: &str| Bytes::from_static(body.as_bytes()))
        };
        let Answer { response, .. } = answer(judge, &request.request(), read, AT, || AT).now_or_never().unwrap();
        let code = response.headers().get("x-auth-code").map(|code| code.to_str().unwrap());
        assert_eq!((code, was_read.get()), expected, "{uri} {body:?}");
    }
}

#[test]
fn nothing_is_judged_before_there_is_an_engine() {
    let (text, judged) = nginx(AUTH).with_key().of(None);
    assert_eq!(text, format!("{}\nretry-after: 5", refusal(503, Code::Unavailable)));
    assert_eq!(judged, Some(Judged { api: ApiLabel::default(), code: "UNAVAILABLE", would_deny: None }));
}

#[test]
fn a_silent_watch_closes_the_engine() {
    let engine = engine();
    let late = Instant { since_boot: AT.since_boot + Duration::from_secs(31), ..AT };
    let (parts, ()) = HttpRequest::get(AUTH).body(()).unwrap().into_parts();
    assert_eq!(answer_at(late, Some(&engine), &parts).response.status(), 503);
}

/// A store of limits that has room for everything, and while it answers something else happens.
struct Meanwhile<F>(F);

impl<F: Fn() + Send + Sync> LimitStore for Meanwhile<F> {
    fn charge(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        (self.0)();
        let cells = request.charges.iter().map(|_| Cells::default()).collect();
        Box::pin(ready(Ok(StoreAnswer { admitted: true, at: AT.now, cells })))
    }
}

#[test]
fn what_becomes_known_while_a_store_answers_counts() {
    let silent = Instant { since_boot: AT.since_boot + Duration::from_secs(31), ..AT };
    for (revokes, answered, expected) in [
        (false, AT, "ALLOWED"),
        (true, AT, Code::Revoked.as_str()),
        // The permit has lapsed by then.
        (false, silent, Code::Unavailable.as_str()),
    ] {
        let index = index_of(api());
        let engine = engine_over(Arc::clone(&index)).with_limits_elsewhere();
        let limits = Arc::new(Meanwhile(move || {
            if revokes {
                index.apply(KeyRecord { revoked_for_good: true, ..record() });
            }
        }));
        let store = Store { limits, on_error: OnStoreError::Deny, metrics: Arc::default() };
        let outside = Outside { store: Some(store), ..Outside::default() };
        let request = nginx(AUTH).with_key().request();
        let judge =
            Judge { engine: Some(&engine), outside: &outside, decisions: &Decisions::default(), followed: None };
        let Answer { judged, .. } =
            answer(judge, &request, ready(Err("no body")), AT, || answered).now_or_never().unwrap();
        assert_eq!(judged, Some(judged_as(expected, None)));
    }
}

#[test]
fn problems_are_explained_with_their_true_status_and_judge_nothing() {
    for code in Code::ALL {
        let path = format!("/problem/speech/transcripts/{code}");
        let request = HttpRequest::get(path).header("x-request-id", "r-1").body(()).unwrap();
        let Answer { response, judged } = answer_at(AT, None, &request.into_parts().0);
        assert_eq!(response.status().as_u16(), code.status(), "{code}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json", "{code}");
        assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), code.status() == 401, "{code}");
        assert_eq!(
            *response.body(),
            problem::body(code, code.as_str(), problem::told(None, code, ""), "r-1"),
            "{code}"
        );
        assert_eq!(judged, None, "{code}");
    }
}

#[test]
fn nothing_else_is_served() {
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/auth/unknown/speech/transcripts", 404),
        ("GET", "/problem/speech/transcripts/NO_SUCH_CODE", 404),
        ("POST", "/problem/speech/transcripts/EXPIRED", 405),
    ] {
        let (parts, ()) = HttpRequest::builder().method(method).uri(path).body(()).unwrap().into_parts();
        let Answer { response, judged } = answer_at(AT, Some(&engine()), &parts);
        assert_eq!(
            (response.status().as_u16(), response.body().as_str(), judged),
            (status, "", None),
            "{method} {path}"
        );
    }
}

#[test]
fn a_request_without_a_plain_id_is_given_one() {
    for id in ["", "with space", &"x".repeat(129)] {
        let mut headers = HeaderMap::new();
        headers.insert(fields::REQUEST_ID, HeaderValue::from_str(id).unwrap());
        assert_eq!(request_id(&headers).len(), 32, "{id}");
    }
}
