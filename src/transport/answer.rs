//! Translates one call of the auth port into a request for the engine, and its verdict into an answer. It judges
//! nothing itself; whatever it cannot translate is a refusal.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use tracing::info;

use super::dialect::Dialect;
use super::judge::Outside;
use super::target::Target;
use super::{fields, problem};
use crate::core::verdict::{Code, Denial};
use crate::entropy;
use crate::metrics::ApiLabel;
use crate::verify::engine::{Engine, Verdict};
use crate::verify::entry::Identity;
use crate::verify::request::{Headers, Request};

/// What metrics call a request that may pass.
const ALLOWED: &str = "ALLOWED";

/// Seconds after which to ask again about what could not be judged.
const UNAVAILABLE_RETRY: u32 = 5;

/// The longest id of a request that is taken over from a proxy.
const MAX_REQUEST_ID: usize = 128;

/// The instant of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant {
    pub(super) now: Timestamp,
    /// By the clock that freshness is judged by.
    pub(super) since_boot: Duration,
}

/// What one call came to.
pub(super) struct Answer {
    pub(super) response: Response<String>,
    /// `None` when nothing was judged.
    pub(super) judged: Option<Judged>,
}

/// What to count of a verdict.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Judged {
    /// If there is one of that name.
    pub(super) api: ApiLabel,
    pub(super) code: &'static str,
    /// What the code would be outside of audit mode, if another.
    pub(super) would_deny: Option<&'static str>,
}

/// Who judges.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    /// `None`: nothing can be judged yet.
    pub(super) engine: Option<&'a Engine>,
    pub(super) outside: &'a Outside,
}

/// Answers a call by its head. `clock` is asked again when something was waited for.
pub(super) async fn answer(by: Judge<'_>, parts: &Parts, began: Instant, clock: impl Fn() -> Instant + Sync) -> Answer {
    match Target::parse(parts.uri.path()) {
        Some(Target::Judge { dialect, namespace, api, route }) => match Dialect::find(dialect) {
            Some(dialect) => {
                judge(by, dialect, &Call { namespace, api, route, headers: &parts.headers }, began, clock).await
            }
            None => nothing_there(StatusCode::NOT_FOUND),
        },
        Some(Target::Problem { namespace, api, code: name }) => {
            let code = || match by.engine {
                Some(engine) => engine.code(namespace, api, name),
                None => name.parse().ok(),
            };
            match (&parts.method, code()) {
                (&Method::GET | &Method::HEAD, Some(code)) => explain(namespace, api, code, name, &parts.headers),
                (&Method::GET | &Method::HEAD, None) => nothing_there(StatusCode::NOT_FOUND),
                _ => nothing_there(StatusCode::METHOD_NOT_ALLOWED),
            }
        }
        None => nothing_there(StatusCode::NOT_FOUND),
    }
}

/// A question about one request.
struct Call<'a> {
    namespace: &'a str,
    api: &'a str,
    route: Option<&'a str>,
    headers: &'a HeaderMap,
}

impl Headers for HeaderMap {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

async fn judge(
    by: Judge<'_>,
    dialect: &Dialect,
    call: &Call<'_>,
    began: Instant,
    clock: impl Fn() -> Instant + Sync,
) -> Answer {
    let Some(engine) = by.engine else {
        let denial = Denial::new(Code::Unavailable, "there is no pepper yet");
        let response = refused(dialect, call, &denial);
        let judged = Judged { api: ApiLabel::default(), code: denial.code.as_str(), would_deny: None };
        return Answer { response, judged: Some(judged) };
    };
    let request = Request {
        namespace: call.namespace,
        api: call.api,
        route: call.route,
        original: dialect.read(call.headers),
        body: Err("the proxy does not send bodies"),
        headers: call.headers,
    };
    let verdict = by.outside.judge(engine, &request, began, &clock).await;
    let Verdict { denial, would_deny, identity, limit, api, route } = verdict;
    if let Some(told) = denial.as_ref().or(would_deny.as_ref()) {
        tell(told, denial.is_some(), call, route.as_ref().map(|route| &*route.name), identity.as_ref());
    }
    let mut response = match (&denial, &would_deny) {
        (Some(denial), _) => refused(dialect, call, denial),
        // A key that is not good is nobody's.
        (None, Some(would_deny)) => allowed(None, would_deny.name()),
        (None, None) => allowed(identity.as_ref(), ""),
    };
    if let Some(limit) = limit {
        fields::put_limit(response.headers_mut(), &limit, began.now);
    }
    let label = api.map(|api| (Arc::clone(&api.name.namespace), Arc::clone(&api.name.name)));
    let code = denial.map_or(ALLOWED, |denial| denial.code.as_str());
    let would_deny = would_deny.map(|would_deny| would_deny.code.as_str());
    Answer { response, judged: Some(Judged { api: ApiLabel(label), code, would_deny }) }
}

/// Exactly 200 and no body: nginx reuses a connection only then.
fn allowed(identity: Option<&Identity>, would_deny: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    let version = identity.map(|identity| identity.version().to_string());
    let text = |read: fn(&Identity) -> &str| identity.map_or("", read);
    // Every one is there, empty where there is nothing to say, so that a client's own never survives.
    for (name, value) in [
        (fields::APIKEY_ID, text(|identity| identity.entry().id())),
        (fields::APIKEY_NAME, text(|identity| identity.entry().name())),
        (fields::APIKEY_NAMESPACE, text(|identity| identity.entry().namespace())),
        (fields::APIKEY_OWNER, text(|identity| identity.entry().owner())),
        (fields::APIKEY_ENVIRONMENT, text(|identity| identity.entry().environment().as_str())),
        (fields::APIKEY_TIER, text(Identity::tier)),
        (fields::APIKEY_VERSION, version.as_deref().unwrap_or("")),
        (fields::APIKEY_SCOPES, text(Identity::scopes)),
    ] {
        // The engine promises visible ASCII; what is not would be left empty.
        let value = HeaderValue::from_str(value).unwrap_or(const { HeaderValue::from_static("") });
        response.headers_mut().insert(name, value);
    }
    let would_deny = HeaderValue::from_str(would_deny).unwrap_or(const { HeaderValue::from_static("") });
    response.headers_mut().insert(fields::AUTH_WOULD_DENY, would_deny);
    response
}

/// A refusal in the statuses that the proxy can carry; the truth is in `X-Auth-Code` and `X-Auth-Status`.
fn refused(dialect: &Dialect, call: &Call<'_>, denial: &Denial) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = dialect.carries.status(denial.code);
    let headers = response.headers_mut();
    fields::put(headers, fields::AUTH_CODE, denial.name().to_owned());
    headers.insert(fields::AUTH_STATUS, denial.code.status().into());
    fields::put(headers, fields::REQUEST_ID, request_id(call.headers));
    if denial.code.status() == 401 {
        fields::put_challenge(headers, call.namespace, call.api);
    }
    let retry = if denial.code == Code::Unavailable { Some(UNAVAILABLE_RETRY) } else { denial.retry_after };
    if let Some(seconds) = retry {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The problem document of a code that the API calls so, with the status that tells the truth, for a proxy that could not carry them.
fn explain(namespace: &str, api: &str, code: Code, name: &str, headers: &HeaderMap) -> Answer {
    let request_id = request_id(headers);
    let mut response = Response::new(problem::body(code, name, &request_id));
    // Every code has a status of RFC 9110; were there one that is none, it would still be a refusal.
    *response.status_mut() = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::FORBIDDEN);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
    // A 404 may be cached otherwise (RFC 9111, section 4.2.2), and outlive its cause.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields::put(headers, fields::REQUEST_ID, request_id);
    if code.status() == 401 {
        fields::put_challenge(headers, namespace, api);
    }
    Answer { response, judged: None }
}

fn nothing_there(status: StatusCode) -> Answer {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    Answer { response, judged: None }
}

/// The caller learns little; the log learns everything but the key.
fn tell(denial: &Denial, enforced: bool, call: &Call<'_>, route: Option<&str>, identity: Option<&Identity>) {
    info!(
        code = denial.name(),
        cause = denial.cause,
        api = %format_args!("{}/{}", call.namespace, call.api),
        route,
        key = identity.map(|identity| identity.entry().id()),
        request = call.headers.get(fields::REQUEST_ID).and_then(|id| id.to_str().ok()),
        "{}",
        if enforced { "refused" } else { "let pass in audit mode" }
    );
}

/// The proxy's name for the request, or a new one. Every dialect's snippet sets it, whatever the client sent.
fn request_id(headers: &HeaderMap) -> String {
    let is_plain = |id: &&str| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let known = headers.get(fields::REQUEST_ID).and_then(|id| id.to_str().ok()).filter(is_plain);
    // Only for people who compare logs; without entropy there is nothing to compare.
    known.map_or_else(|| entropy::nonce(16).unwrap_or_default(), str::to_owned)
}

#[cfg(test)]
mod tests;
