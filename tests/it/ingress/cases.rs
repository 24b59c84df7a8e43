//! The one table: what a client sends, and what comes of it wherever it is sent.

use std::net::IpAddr;

use super::world::{Api, string};

/// One request of a client, or several like it.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) api: Api,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) from: IpAddr,
    /// How often it is sent; the last answer counts.
    pub(crate) times: u32,
    pub(crate) http2: bool,
    pub(crate) outcome: Outcome,
    /// Through which proxies it comes to something else, because the request does not reach the verifier as it was sent:
    /// dialects in small letters, real proxies as [`crate::support::proxy::Kind`] spells them.
    pub(crate) except: &'static [&'static str],
}

/// What is to come of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Passes {
        /// As whom; `None`: as nobody.
        id: Option<&'static str>,
        /// Why it would be refused outside of audit mode.
        would_deny: Option<&'static str>,
        /// What is left of the limit.
        remaining: Option<u32>,
    },
    Refused {
        status: u16,
        code: &'static str,
        /// A wait cures it.
        retry: bool,
        /// What is left of the limit.
        remaining: Option<u32>,
    },
}

const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn get(name: &'static str, target: &str) -> Case {
    Case {
        name,
        api: Api::Transcripts,
        method: "GET",
        target: target.to_owned(),
        headers: vec![],
        from: NEAR,
        times: 1,
        http2: false,
        outcome: Outcome::Passes { id: None, would_deny: None, remaining: None },
        except: &[],
    }
}

impl Case {
    fn of(self, api: Api) -> Self {
        Self { api, ..self }
    }

    fn method(self, method: &'static str) -> Self {
        Self { method, ..self }
    }

    fn from(self, from: &str) -> Self {
        Self { from: from.parse().expect("an address"), ..self }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// In X-API-Key.
    fn key(self, key: &'static str) -> Self {
        let string = string(self.api, key);
        self.with("x-api-key", string)
    }

    fn bearer(self, key: &'static str) -> Self {
        let string = string(self.api, key);
        self.with("authorization", format!("Bearer {string}"))
    }

    fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    fn over_http2(self) -> Self {
        Self { http2: true, ..self }
    }

    fn except(self, except: &'static [&'static str]) -> Self {
        Self { except, ..self }
    }

    fn passes(self, key: &'static str) -> Self {
        Self { outcome: Outcome::Passes { id: Some(key), would_deny: None, remaining: None }, ..self }
    }

    fn passes_with(self, key: &'static str, left: u32) -> Self {
        Self { outcome: Outcome::Passes { id: Some(key), would_deny: None, remaining: Some(left) }, ..self }
    }

    fn passes_as_nobody(self) -> Self {
        Self { outcome: Outcome::Passes { id: None, would_deny: None, remaining: None }, ..self }
    }

    fn would_be(self, code: &'static str) -> Self {
        Self { outcome: Outcome::Passes { id: None, would_deny: Some(code), remaining: None }, ..self }
    }

    fn refused(self, status: u16, code: &'static str) -> Self {
        Self { outcome: Outcome::Refused { status, code, retry: false, remaining: None }, ..self }
    }

    fn refused_for_a_while(self, status: u16, code: &'static str, remaining: Option<u32>) -> Self {
        Self { outcome: Outcome::Refused { status, code, retry: true, remaining }, ..self }
    }
}

/// What says how a limit stands; all or none of it is there.
pub(crate) const LIMIT_FIELDS: [&str; 5] =
    ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy"];

impl Case {
    /// What the backend is told of a caller with that id, empty where there is nothing to say.
    pub(crate) fn identity(&self, id: Option<&str>) -> [(&'static str, String); 8] {
        let key = id.and_then(|id| id.strip_prefix("key_"));
        let told = |text: &str| if key.is_some() { text.to_owned() } else { String::new() };
        let of = |other: &str| key == Some(other);
        [
            ("x-apikey-id", told(id.unwrap_or_default())),
            ("x-apikey-name", told(&format!("{}-{}", self.api.name(), key.unwrap_or_default()))),
            ("x-apikey-namespace", told("speech")),
            ("x-apikey-owner", told(if of("ci") { "acme-1" } else { "" })),
            ("x-apikey-environment", told(if of("test") { "test" } else { "live" })),
            ("x-apikey-tier", String::new()),
            ("x-apikey-version", told("1")),
            ("x-apikey-scopes", told("items:read")),
        ]
    }
}

/// A signed token that is none of our keys.
const JWT: &str = "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl";

/// Every case. Of one key with limits the requests follow each other in this order.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = allowed();
    all.extend(places());
    all.extend(codes());
    all.extend(paths());
    all.extend(audited());
    all.extend(others());
    all
}

fn allowed() -> Vec<Case> {
    let item = |name| get(name, "/v1/items/1");
    vec![
        item("a key in X-API-Key").key("ci").passes("key_ci"),
        item("a key in Authorization").bearer("ci").passes("key_ci"),
        item("a scheme in small letters")
            .with("authorization", format!("bearer {}", string(Api::Transcripts, "ci")))
            .passes("key_ci"),
        item("HEAD").method("HEAD").key("ci").passes("key_ci"),
        item("a key of the test environment").key("test").passes("key_test"),
        get("a query", "/v1/items/1?page=2&x=a%20b").key("ci").passes("key_ci"),
        get("nothing behind the route's path", "/v1/items").key("ci").passes("key_ci"),
        get("a trailing slash", "/v1/items/").key("ci").passes("key_ci"),
        get("an encoded space", "/v1/items/a%20b").key("ci").passes("key_ci"),
        get("an encoded letter", "/v1/item%73/1").key("ci").passes("key_ci"),
        get("UTF-8 in the path", "/v1/items/%C3%A4").key("ci").passes("key_ci"),
        item("an allowed address").key("near").passes("key_near").except(&["ngf"]),
        // Without TLS nginx speaks HTTP/2 only on a port of its own.
        item("over HTTP/2").key("ci").over_http2().passes("key_ci").except(&["Nginx"]),
        get("a public route without a key", "/healthz").passes_as_nobody(),
        get("a public route with a key", "/healthz").key("ci").passes_as_nobody(),
        get("a public route with a revoked key", "/healthz").key("revoked").passes_as_nobody(),
        item("a preflight")
            .method("OPTIONS")
            .with("origin", "https://app.example")
            .with("access-control-request-method", "GET")
            .passes_as_nobody(),
        item("the first of two").key("limited").passes_with("key_limited", 1),
        item("the last of two").key("limited").passes_with("key_limited", 0),
        get("a resource in the path", "/v1/models/base").key("modest").passes("key_modest"),
        get("a resource in the query", "/v1/infer?model=base").key("modest").passes("key_modest"),
        item("6 KiB of headers").key("ci").with("x-long", "y".repeat(6 * 1024)).passes("key_ci"),
    ]
}

/// Where keys are, and are not.
fn places() -> Vec<Case> {
    let item = |name| get(name, "/v1/items/1");
    let key = string(Api::Transcripts, "ci");
    let other = string(Api::Transcripts, "other");
    let wrong = format!("{}{}", &key[..key.len() - 1], if key.ends_with('0') { '1' } else { '0' });
    let unauthorized = |case: Case| case.refused(401, "UNAUTHORIZED");
    vec![
        get("a key in the query", &format!("/v1/items/1?api_key={key}")).passes("key_ci"),
        get("a key in the query behind others", &format!("/v1/items/1?a=b&api_key={key}&c")).passes("key_ci"),
        item("a JWT beside a key").key("ci").with("authorization", JWT).passes("key_ci"),
        item("one key in two places").key("ci").bearer("ci").passes("key_ci"),
        item("a key beside nonsense").bearer("ci").with("x-api-key", "nonsense").passes("key_ci"),
        unauthorized(item("no key")),
        unauthorized(item("no key, over HTTP/2").over_http2().except(&["Nginx"])),
        unauthorized(item("HEAD without a key").method("HEAD")),
        unauthorized(item("a JWT alone").with("authorization", JWT)),
        unauthorized(item("another scheme").with("authorization", format!("Basic {key}"))),
        unauthorized(item("no scheme").with("authorization", key.clone())),
        unauthorized(item("an empty key").with("x-api-key", "")),
        unauthorized(item("a made-up key").with("x-api-key", "sk_live_0")),
        unauthorized(item("a key with one letter wrong").with("x-api-key", wrong)),
        unauthorized(item("a well-formed key that nobody has").key("nobody")),
        unauthorized(item("a key of another API").with("x-api-key", string(Api::Open, "ci"))),
        unauthorized(item("two keys in two places").key("ci").bearer("other")),
        unauthorized(item("two keys in one place").key("ci").key("other")),
        unauthorized(get("two keys in the query", &format!("/v1/items/1?api_key={key}&api_key={other}"))),
        unauthorized(item("a key in another header").with("x-key", key.clone())),
        unauthorized(item("a key in a cookie").with("cookie", format!("api_key={key}"))),
        unauthorized(item("OPTIONS that is no preflight").method("OPTIONS")),
    ]
}

/// Every code, in the order of the checks.
fn codes() -> Vec<Case> {
    let item = |name| get(name, "/v1/items/1");
    vec![
        item("no such API").of(Api::Missing).key("ci").refused(404, "API_NOT_FOUND"),
        item("a revoked key").key("revoked").refused(401, "REVOKED"),
        item("an unaccepted key").key("unaccepted").refused(403, "NOT_ACCEPTED"),
        item("a disabled key, as the API tells it").key("disabled").refused(410, "DISABLED"),
        item("an expired key").key("expired").refused(403, "EXPIRED"),
        item("another address").key("far").refused(403, "IP_NOT_ALLOWED"),
        item("another address of loopback").key("near").from("127.0.0.2").refused(403, "IP_NOT_ALLOWED"),
        item("an address of the other kind").key("six").refused(403, "IP_NOT_ALLOWED"),
        get("no such path", "/v2/items").key("ci").refused(403, "ROUTE_NOT_FOUND"),
        item("no such method").method("PUT").key("ci").refused(403, "ROUTE_NOT_FOUND"),
        get("a missing scope", "/v1/admin").key("ci").refused(403, "INSUFFICIENT_SCOPE"),
        item("a missing scope for a method").method("DELETE").key("ci").refused(403, "INSUFFICIENT_SCOPE"),
        get("an unknown resource", "/v1/models/none").key("modest").refused(404, "MODEL_NOT_FOUND"),
        get("a hidden resource", "/v1/models/hidden").key("modest").refused(404, "MODEL_NOT_FOUND"),
        get("no resource", "/v1/infer").key("modest").refused(404, "MODEL_NOT_FOUND"),
        get("a forbidden resource", "/v1/models/large").key("modest").refused(403, "MODEL_FORBIDDEN"),
        get("a forbidden resource in the query", "/v1/infer?model=large").key("modest").refused(403, "MODEL_FORBIDDEN"),
        item("one too many").key("exhausted").times(2).refused_for_a_while(429, "RATE_LIMITED", Some(0)),
        item("one too many a day").key("metered").times(2).refused_for_a_while(429, "QUOTA_EXCEEDED", None),
        get("too few credits", "/v1/costly").key("broke").refused(402, "CREDITS_EXHAUSTED"),
    ]
}

/// What servers disagree on. Traefik normalises some of it before it asks and refuses the rest itself; a broken
/// encoding is refused by every proxy.
fn paths() -> Vec<Case> {
    let ambiguous = |name, target: &str| get(name, target).key("ci").refused(400, "BAD_REQUEST");
    vec![
        ambiguous("a parameter in the path", "/v1/items;admin=1"),
        ambiguous("an encoded slash", "/v1/items%2F1").except(&["Traefik"]),
        ambiguous("an encoded dot", "/v1/items/%2e%2e/admin").except(&["Traefik"]),
        ambiguous("a dot segment", "/v1/items/../admin").except(&["Traefik"]),
        ambiguous("two slashes", "/v1//items").except(&["Traefik"]),
        ambiguous("an encoded backslash", "/v1/items%5C..%5Cadmin").except(&["Traefik"]).except(&["Traefik"]),
        ambiguous("encoded twice", "/v1/items/%252e%252e/admin").except(&["Traefik"]),
        ambiguous("a broken encoding", "/v1/items/%zz").except(&["Nginx", "Traefik", "Caddy", "Haproxy", "Envoy"]),
        get("other letters", "/V1/Items/1").key("ci").refused(403, "ROUTE_NOT_FOUND"),
    ]
}

/// Everybody passes, and the backend learns who would not.
fn audited() -> Vec<Case> {
    let item = |name| get(name, "/v1/items/1").of(Api::Audited);
    vec![
        item("audited: a good key").key("ci").passes("key_ci"),
        item("audited: no key").would_be("UNAUTHORIZED"),
        item("audited: a revoked key").key("revoked").would_be("REVOKED"),
        item("audited: a disabled key").key("disabled").would_be("DISABLED"),
        item("audited: another address").key("far").would_be("IP_NOT_ALLOWED"),
        get("audited: a missing scope", "/v1/admin").of(Api::Audited).key("ci").would_be("INSUFFICIENT_SCOPE"),
        get("audited: an ambiguous path", "/v1/items;x").of(Api::Audited).key("ci").refused(400, "BAD_REQUEST"),
    ]
}

/// An API without routes, and handshakes.
fn others() -> Vec<Case> {
    let open = |name, target: &str| get(name, target).of(Api::Open);
    let handshake = |case: Case| {
        case.with("connection", "upgrade")
            .with("upgrade", "websocket")
            .with("sec-websocket-version", "13")
            .with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    vec![
        open("any path", "/whatever/it/is").key("ci").passes("key_ci"),
        open("any method", "/").method("PATCH").key("ci").passes("key_ci"),
        open("no key for an API without routes", "/").refused(401, "UNAUTHORIZED"),
        handshake(get("a WebSocket handshake", "/v1/items/1")).key("ci").passes("key_ci"),
        handshake(get("a WebSocket handshake without a key", "/v1/items/1")).refused(401, "UNAUTHORIZED"),
    ]
}

#[test]
fn there_are_enough_cases_and_each_has_a_name_of_its_own() {
    let mut names: Vec<_> = cases().iter().map(|case| case.name).collect();
    assert!(names.len() >= 60, "{}", names.len());
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), cases().len());
}
