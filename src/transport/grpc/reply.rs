//! What Envoy is answered, made from a verdict.

use http::{HeaderMap, HeaderName};
use jiff::Timestamp;
use prost::bytes::{Bytes, BytesMut};

use super::wire::{
    CheckResponse, DeniedHttpResponse, Field, HeaderValueOption, HttpStatus, OkHttpResponse, Status, Struct, Value,
};
use crate::core::policy::{Api, Credential};
use crate::core::verdict::{Denial, LimitState};
use crate::transport::{fields, problem};
use crate::verify::engine::Verdict;
use crate::verify::entry::Identity;

/// `google.rpc.Code`: what exactly is wrong stands in the answer for the client.
const PERMISSION_DENIED: i32 = 7;

/// Long enough for what an answer usually says, and short enough for the allocator's own cache.
const USUAL_LENGTH: usize = 512;

/// What an answer says, cut from one piece of memory.
struct Texts(BytesMut);

impl Texts {
    fn new() -> Self {
        Self(BytesMut::with_capacity(USUAL_LENGTH))
    }

    fn copy(&mut self, text: &str) -> Bytes {
        self.0.extend_from_slice(text.as_bytes());
        self.0.split().freeze()
    }
}

/// A request that may pass.
pub(super) fn allowed(verdict: &Verdict, now: Timestamp) -> CheckResponse {
    // A key that is not good is nobody's.
    let identity = verdict.identity.as_ref().filter(|_| verdict.would_deny.is_none());
    let (mut ok, mut texts) = (OkHttpResponse::default(), Texts::new());
    let version = fields::version(identity);
    let would_deny = verdict.would_deny.as_ref().map_or("", Denial::name);
    for (name, value) in
        fields::identity(identity, &version).into_iter().chain([(&fields::AUTH_WOULD_DENY, would_deny)])
    {
        // What there is nothing to say about is removed, so that a client's own never survives.
        if value.is_empty() {
            ok.headers_to_remove.push(Bytes::from_static(name.as_str().as_bytes()));
        } else {
            ok.headers.push(overwriting(name, texts.copy(value)));
        }
    }
    if let Some(api) = &verdict.api {
        remove_credentials(&mut ok, api, &mut texts);
    }
    if let Some(limit) = &verdict.limit {
        ok.response_headers_to_add = limit_fields(limit, now, &mut texts);
    }
    CheckResponse { ok: Some(ok), dynamic_metadata: Some(metadata(verdict, &mut texts)), ..CheckResponse::default() }
}

/// A refusal. Of 503 too: an error would leave it to the proxy's settings whether the request passes.
pub(super) fn denied(
    denial: &Denial,
    verdict: &Verdict,
    names: (&str, &str),
    request_id: String,
    now: Timestamp,
) -> CheckResponse {
    let told = problem::told(verdict.api.as_deref(), denial.code, denial.name());
    let body = problem::body(denial.code, denial.name(), told, &request_id);
    let mut headers = HeaderMap::new();
    fields::put_problem(&mut headers);
    fields::put(&mut headers, fields::AUTH_CODE, denial.name().to_owned());
    fields::put_refusal(&mut headers, told.status, names, request_id, fields::retry_after(denial));
    let headers = headers.iter().map(|(name, value)| {
        let name = Bytes::copy_from_slice(name.as_str().as_bytes());
        HeaderValueOption::overwriting(name, Bytes::copy_from_slice(value.as_bytes()))
    });
    let mut texts = Texts::new();
    let limit = verdict.limit.as_ref().map(|limit| limit_fields(limit, now, &mut texts)).unwrap_or_default();
    let denied = DeniedHttpResponse {
        status: HttpStatus { code: told.status.into() },
        headers: headers.chain(limit).collect(),
        body: body.into(),
    };
    CheckResponse {
        status: Status { code: PERMISSION_DENIED },
        denied: Some(denied),
        dynamic_metadata: Some(metadata(verdict, &mut texts)),
        ..CheckResponse::default()
    }
}

fn limit_fields(limit: &LimitState, now: Timestamp, texts: &mut Texts) -> Vec<HeaderValueOption> {
    fields::limit(limit, now).into_iter().map(|(name, value)| overwriting(name, texts.copy(&value))).collect()
}

fn overwriting(name: &'static HeaderName, value: Bytes) -> HeaderValueOption {
    HeaderValueOption::overwriting(Bytes::from_static(name.as_str().as_bytes()), value)
}

/// Takes out of the request what the API's keys stand in; the backend needs no credential.
fn remove_credentials(ok: &mut OkHttpResponse, api: &Api, texts: &mut Texts) {
    for credential in &api.credentials {
        match credential {
            Credential::Header { name, .. } => ok.headers_to_remove.push(texts.copy(name)),
            Credential::Query { name } => ok.query_parameters_to_remove.push(texts.copy(name)),
        }
    }
}

/// For access logs: what was decided, about whom.
fn metadata(verdict: &Verdict, texts: &mut Texts) -> Struct {
    let Verdict { denial, would_deny, identity, limit: _, api, route } = verdict;
    let key = |read: fn(&Identity) -> &str| identity.as_ref().map_or("", read);
    let api_name = api.as_ref().map(|api| api.name.to_string()).unwrap_or_default();
    let code = denial.as_ref().map_or(fields::ALLOWED, |denial| denial.name());
    let told = [
        ("code", code),
        ("would_deny", would_deny.as_ref().map_or("", |denial| denial.name())),
        ("api", &*api_name),
        ("route", route.as_ref().map_or("", |route| &*route.name)),
        ("key", key(|identity| identity.entry().id())),
        ("owner", key(|identity| identity.entry().owner())),
        ("tier", key(Identity::tier)),
    ];
    let said = told.into_iter().filter(|(_, text)| !text.is_empty());
    let field = |(name, text): (&'static str, &str)| {
        let value = Value { string: Some(texts.copy(text)), ..Value::default() };
        Field { key: Bytes::from_static(name.as_bytes()), value }
    };
    Struct { fields: said.map(field).collect() }
}
