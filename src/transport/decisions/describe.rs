//! What is kept of a refusal, made from what was asked and what it came to.

use std::borrow::Cow;

use jiff::Timestamp;

use crate::core::decision::{Client, Concerns, Decision, Described, Field, KnownKey, Limit, Shown};
use crate::core::policy::{Api, Credential};
use crate::core::resource::ValueSource;
use crate::core::verdict::{Code, Denial};
use crate::transport::problem;
use crate::verify::engine::Verdict;
use crate::verify::entry::Identity;
use crate::verify::request::{ClientAddress, Headers, Original, Request};

/// Entries of a list that are kept.
const MOST_ENTRIES: usize = 16;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// What a proxy has asked.
pub(in crate::transport) struct Asked<'a, H: ?Sized> {
    /// How it asks.
    pub(in crate::transport) dialect: &'static str,
    pub(in crate::transport) request: &'a Request<'a, H>,
    /// The headers that its description of the request is read from.
    pub(in crate::transport) reads: Vec<(&'a str, Reading)>,
    /// Who tells the client's address, where no header does.
    pub(in crate::transport) client: &'static str,
}

/// What is read from a header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::transport) enum Reading {
    Method,
    Target,
    Client,
}

/// What is kept of a verdict that refuses, or would if the API were not in audit mode; `None`: it does neither.
pub(in crate::transport) fn decision<H>(asked: &Asked<'_, H>, verdict: &Verdict, now: Timestamp) -> Option<Decision>
where
    H: Headers + ?Sized,
{
    let denial = verdict.denial.as_ref().or(verdict.would_deny.as_ref())?;
    let Request { namespace, api, .. } = *asked.request;
    let known = verdict.api.as_deref();
    let named = || Shown::name(format!("{namespace}/{api}").as_bytes());
    let route = verdict.route.as_ref().map(|route| Shown::configured(&route.name));
    Some(Decision {
        at: now,
        enforced: verdict.denial.is_some(),
        check: denial.check,
        code: denial.name().to_owned(),
        status: problem::told(known, denial.code, denial.name()).status,
        cause: Cow::Borrowed(denial.cause),
        retry_after: denial.retry_after,
        api: known.map_or_else(named, |api| Shown::configured(&api.name.to_string())),
        route: route.or_else(|| asked.request.route.map(|name| Shown::name(name.as_bytes()))),
        key: verdict.identity.as_ref().map(known_key),
        request: described(asked, verdict),
        concerns: concerns(denial, verdict),
    })
}

fn known_key(identity: &Identity) -> KnownKey {
    let entry = identity.entry();
    KnownKey {
        id: entry.id().to_owned(),
        namespace: entry.namespace().to_owned(),
        name: entry.name().to_owned(),
        version: identity.version(),
        owner: entry.owner().to_owned(),
        tier: identity.tier().to_owned(),
    }
}

fn concerns(denial: &Denial, verdict: &Verdict) -> Concerns {
    let mut concerns = Concerns { quota: denial.quota.as_deref().map(str::to_owned), ..Concerns::default() };
    let identity = verdict.identity.as_ref();
    match denial.code {
        Code::IpNotAllowed => {
            let entries = identity.into_iter().flat_map(|identity| identity.entry().ip_allowlist());
            concerns.ip_allowlist = entries.take(MOST_ENTRIES).collect();
        }
        Code::InsufficientScope => {
            let required = verdict.route.as_ref().and_then(|route| route.require.as_ref());
            concerns.required = required.map(ToString::to_string);
            let held = identity.into_iter().flat_map(Identity::held_scopes);
            concerns.scopes = held.take(MOST_ENTRIES).map(str::to_owned).collect();
        }
        Code::RateLimited => {
            concerns.limit = verdict.limit.as_ref().map(|limit| Limit {
                name: limit.name.to_string(),
                limit: limit.limit,
                remaining: limit.remaining,
                window: limit.window,
            });
        }
        _ => {}
    }
    concerns
}

fn described<H: Headers + ?Sized>(asked: &Asked<'_, H>, verdict: &Verdict) -> Described {
    let original = asked.request.original.ok();
    let template = verdict.route.as_ref().map(|route| &*route.path);
    let target = |original: Original<'_>| Shown::target(original.target, template);
    Described {
        dialect: Cow::Borrowed(asked.dialect),
        method: original.map(|original| Shown::brief(original.method.as_bytes())),
        target: original.map(target),
        client: client(asked, verdict.api.as_deref()),
        fields: fields(asked, verdict),
    }
}

/// The address by which the request was judged, and whose word it is.
fn client<H: Headers + ?Sized>(asked: &Asked<'_, H>, api: Option<&Api>) -> Client {
    let address = api.and_then(|api| asked.request.client(api));
    let of_header = asked.reads.iter().find(|(_, reading)| *reading == Reading::Client);
    let told_by = match asked.request.original.map(|original| original.client) {
        Ok(ClientAddress::Through(peer)) if Some(peer) != address && api.is_some() => X_FORWARDED_FOR.to_owned(),
        _ => of_header.map_or(asked.client, |(name, _)| name).to_owned(),
    };
    Client { address, told_by: Cow::Owned(told_by) }
}

/// The headers that were looked at. Where an API looks for keys, only that something was there is told, whatever else the
/// header is for.
fn fields<H: Headers + ?Sized>(asked: &Asked<'_, H>, verdict: &Verdict) -> Vec<Field> {
    let headers = asked.request.headers;
    let credentials = verdict.api.iter().flat_map(|api| &api.credentials);
    let is_credential = |name: &str| {
        let mut all = credentials.clone();
        all.any(|credential| matches!(credential, Credential::Header { name: known, .. } if **known == *name))
    };
    let field = |name: &str, value: Option<Shown>| Field {
        name: Shown::configured(name),
        lines: headers.values(name).count(),
        credential: false,
        value,
    };
    let read = asked.reads.iter().filter(|(name, _)| !is_credential(name)).map(|(name, reading)| {
        let value = match reading {
            Reading::Method => only(headers, name).map(Shown::brief),
            Reading::Target => only(headers, name).map(|value| Shown::target(value, None)),
            Reading::Client => headers.values(name).next().map(|_| Shown::addresses(headers.values(name))),
        };
        field(name, value)
    });
    let looked_at = credentials.clone().map(|credential| match credential {
        Credential::Header { name, .. } => Field { credential: true, ..field(name, None) },
        Credential::Query { name } => Field {
            name: Shown::configured(&format!("?{name}")),
            lines: asked.request.original.map_or(0, |original| parameters(original.target, name)),
            credential: true,
            value: None,
        },
    });
    let resource = verdict.route.iter().filter_map(|route| route.resource.as_ref()).flat_map(|resource| &resource.from);
    let names = resource.filter_map(|source| match source {
        ValueSource::Header(name) if !is_credential(name) => Some(field(name, only(headers, name).map(Shown::brief))),
        _ => None,
    });
    read.chain(looked_at).chain(names).take(MOST_ENTRIES).collect()
}

/// The value of a header that is there once.
fn only<'a, H: Headers + ?Sized>(headers: &'a H, name: &'a str) -> Option<&'a [u8]> {
    let mut values = headers.values(name);
    values.next().filter(|_| values.next().is_none())
}

/// How often a parameter of that name, as it is written, is in the query.
fn parameters(target: &[u8], name: &str) -> usize {
    let query = target.splitn(2, |byte| *byte == b'?').nth(1).unwrap_or_default();
    let named = |part: &&[u8]| part.split(|byte| *byte == b'=').next() == Some(name.as_bytes());
    query.split(|byte| *byte == b'&').filter(named).count()
}
