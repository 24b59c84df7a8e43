//! Translates one call of the auth port into a request for the engine, and its verdict into an answer. It judges
//! nothing itself; whatever it cannot translate is a refusal.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Bytes;
use jiff::Timestamp;
use tracing::info;

use super::decisions::{Asked, Decisions, decision};
use super::dialect::{Call, Carries, Dialect};
use super::followed::Followed;
use super::judge::Outside;
use super::target::{Policy, Target};
use super::{body, fields, problem};
use crate::clock;
use crate::core::denials::Told;
use crate::core::policy::Api;
use crate::core::verdict::{Code, Denial};
use crate::entropy;
use crate::metrics::ApiLabel;
use crate::verify::engine::{Engine, Verdict};
use crate::verify::entry::Identity;
use crate::verify::request::{Headers, Request};

/// The longest id of a request that is taken over from a proxy.
const MAX_REQUEST_ID: usize = 128;

/// The instant of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instant {
    pub(super) now: Timestamp,
    /// By the clock that freshness is judged by.
    pub(super) since_boot: Duration,
}

impl Instant {
    /// This one.
    pub(super) fn now() -> Self {
        Self { now: clock::now(), since_boot: clock::since_boot() }
    }
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

impl From<&Verdict> for Judged {
    fn from(verdict: &Verdict) -> Self {
        let label = verdict.api.as_ref().map(|api| (Arc::clone(&api.name.namespace), Arc::clone(&api.name.name)));
        let code = |denial: &Denial| denial.code.as_str();
        Self {
            api: ApiLabel(label),
            code: verdict.denial.as_ref().map_or(fields::ALLOWED, code),
            would_deny: verdict.would_deny.as_ref().map(code),
        }
    }
}

/// Who judges.
#[derive(Clone, Copy)]
pub(super) struct Judge<'a> {
    /// `None`: nothing can be judged yet.
    pub(super) engine: Option<&'a Engine>,
    pub(super) outside: &'a Outside,
    /// Remembers what is refused.
    pub(super) decisions: &'a Decisions,
    /// Who is to hear of it.
    pub(super) followed: Option<&'a Followed<'a>>,
}

/// Answers a call by its head, and by its body where a resource may stand in that. `clock` is asked again when something
/// was waited for.
pub(super) async fn answer(
    by: Judge<'_>,
    parts: &Parts,
    body: impl Future<Output = Result<Bytes, &'static str>>,
    began: Instant,
    clock: impl Fn() -> Instant + Sync,
) -> Answer {
    match parts.uri.path_and_query().and_then(|target| Target::parse(target.as_str())) {
        Some(Target::Judge(policy)) => match Dialect::find(policy.dialect) {
            Some(dialect) => {
                let call = Call { method: &parts.method, rest: policy.rest, headers: &parts.headers };
                judge(by, dialect, &policy, call, body, began, clock).await
            }
            None => nothing_there(StatusCode::NOT_FOUND),
        },
        Some(Target::Problem { namespace, api: api_name, code: name }) => {
            let api = by.engine.and_then(|engine| engine.api(namespace, api_name));
            let code = api.as_ref().map_or_else(|| name.parse().ok(), |api| api.code(name));
            match (&parts.method, code) {
                (&Method::GET | &Method::HEAD, Some(code)) => {
                    let problem = Problem { code, name, told: problem::told(api.as_deref(), code, name) };
                    explain(namespace, api_name, &problem, &parts.headers)
                }
                (&Method::GET | &Method::HEAD, None) => nothing_there(StatusCode::NOT_FOUND),
                _ => nothing_there(StatusCode::METHOD_NOT_ALLOWED),
            }
        }
        None => nothing_there(StatusCode::NOT_FOUND),
    }
}

impl Headers for HeaderMap {
    fn values<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

async fn judge(
    by: Judge<'_>,
    dialect: &Dialect,
    policy: &Policy<'_>,
    call: Call<'_>,
    body: impl Future<Output = Result<Bytes, &'static str>>,
    began: Instant,
    clock: impl Fn() -> Instant + Sync,
) -> Answer {
    let mut request = Request {
        namespace: policy.namespace,
        api: policy.api,
        route: policy.route,
        original: dialect.read(call),
        body: Err("nobody has asked for the body"),
        headers: call.headers,
    };
    let read;
    let verdict = match by.engine {
        Some(engine) => {
            if engine.reads_body(&request) {
                read = if body::is_cut_off(call.headers) { Err(body::CUT_OFF) } else { body.await };
                request.body = read.as_deref().map_err(|cause| *cause);
            }
            by.outside.judge(engine, &request, began, &clock).await
        }
        None => Verdict::without_engine(),
    };
    if let Some(followed) = by.followed {
        followed.came_to(&verdict, began, clock());
    }
    let judged = Some(Judged::from(&verdict));
    // Nobody asks for the id of a request that passes.
    let refusal = verdict.denial.as_ref().or(verdict.would_deny.as_ref()).map(|told| {
        let request_id = request_id(call.headers);
        let asked = Asked { dialect: dialect.name, request: &request, reads: dialect.reads(), client: "nobody" };
        tell(told, &verdict, (policy.namespace, policy.api), &request_id);
        decision(&asked, &verdict, began.now).into_iter().for_each(|it| by.decisions.keep(&request_id, it));
        request_id
    });
    let Verdict { denial, would_deny, identity, limit, api, route: _ } = verdict;
    let mut response = match (&denial, &would_deny) {
        (Some(denial), _) => refused(dialect, policy, refusal.unwrap_or_default(), api.as_deref(), denial),
        // A key that is not good is nobody's.
        (None, Some(would_deny)) => allowed(None, would_deny.name()),
        (None, None) => allowed(identity.as_ref(), ""),
    };
    if denial.is_none() && dialect.removes_headers {
        fields::put_headers_to_remove(response.headers_mut(), api.as_deref());
    }
    if let Some(limit) = limit {
        fields::put_limit(response.headers_mut(), &limit, began.now);
    }
    Answer { response, judged }
}

/// Exactly 200 and no body: nginx reuses a connection only then.
fn allowed(identity: Option<&Identity>, would_deny: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    let version = fields::version(identity);
    // Every one is there, empty where there is nothing to say, so that a client's own never survives.
    for (name, value) in fields::identity(identity, &version) {
        // The engine promises visible ASCII; what is not would be left empty.
        let value = HeaderValue::from_str(value).unwrap_or(const { HeaderValue::from_static("") });
        response.headers_mut().insert(name, value);
    }
    let would_deny = HeaderValue::from_str(would_deny).unwrap_or(const { HeaderValue::from_static("") });
    response.headers_mut().insert(&fields::AUTH_WOULD_DENY, would_deny);
    response
}

/// A refusal in what the proxy can carry of it; the truth is in `X-Auth-Code` and `X-Auth-Status`.
fn refused(
    dialect: &Dialect,
    policy: &Policy<'_>,
    request_id: String,
    api: Option<&Api>,
    denial: &Denial,
) -> Response<String> {
    let told = problem::told(api, denial.code, denial.name());
    let body = dialect.carries.has_body().then(|| problem::body(denial.code, denial.name(), told, &request_id));
    let has_body = body.is_some();
    let mut response = Response::new(body.unwrap_or_default());
    *response.status_mut() = dialect.carries.status(told.status);
    let headers = response.headers_mut();
    if has_body {
        fields::put_problem(headers);
    }
    fields::put(headers, fields::AUTH_CODE, denial.name().to_owned());
    headers.insert(fields::AUTH_STATUS, told.status.into());
    let names = (policy.namespace, policy.api);
    fields::put_refusal(headers, told.status, names, request_id, fields::retry_after(denial));
    response
}

/// A code as an API tells it.
struct Problem<'a> {
    code: Code,
    name: &'a str,
    told: Told<'a>,
}

/// The document of a problem, with the status that tells the truth, for a proxy that could not carry them.
fn explain(namespace: &str, api: &str, problem: &Problem<'_>, headers: &HeaderMap) -> Answer {
    let &Problem { code, name, told } = problem;
    let request_id = request_id(headers);
    let mut response = Response::new(problem::body(code, name, told, &request_id));
    *response.status_mut() = Carries::Everything.status(told.status);
    let headers = response.headers_mut();
    fields::put_problem(headers);
    fields::put_refusal(headers, told.status, (namespace, api), request_id, None);
    Answer { response, judged: None }
}

fn nothing_there(status: StatusCode) -> Answer {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    Answer { response, judged: None }
}

/// The caller learns little; the log learns everything but the key.
pub(super) fn tell(denial: &Denial, verdict: &Verdict, (namespace, api): (&str, &str), request_id: &str) {
    info!(
        code = denial.name(),
        cause = denial.cause,
        api = %format_args!("{namespace}/{api}"),
        route = verdict.route.as_ref().map(|route| &*route.name),
        key = verdict.identity.as_ref().map(|identity| identity.entry().id()),
        request = request_id,
        "{}",
        if verdict.denial.is_some() { "refused" } else { "let pass in audit mode" }
    );
}

/// The proxy's name for the request, or a new one. Every dialect's snippet sets it, whatever the client sent.
pub(super) fn request_id(headers: &(impl Headers + ?Sized)) -> String {
    let is_plain = |id: &&str| (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    let name = fields::REQUEST_ID;
    let first = headers.values(name.as_str()).next();
    let known = first.and_then(|id| std::str::from_utf8(id).ok()).filter(is_plain);
    // Only for people who compare logs; without entropy there is nothing to compare.
    known.map_or_else(|| entropy::nonce(16).unwrap_or_default(), str::to_owned)
}

#[cfg(test)]
pub(super) mod tests;
