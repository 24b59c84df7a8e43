//! The judgement: a chain of checks of which the first that fails decides, and nothing after it is charged.
//!
//! Judging does no I/O, takes no lock but that of the one key's counters, and allocates nothing when it lets a
//! request pass (but for paths with more than three parameters, where the router has to go back, and for a key that
//! stands percent-encoded in the query).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::credentials;
use super::entry::{Entry, Identity};
use super::gate::Gate;
use super::index::Index;
use super::lookup;
use super::request::{Headers, Original, Request};
use super::resource::Asked;
use crate::core::digest::Digest;
use crate::core::path;
use crate::core::pepper::Peppers;
use crate::core::policy::{Api, Mode, Preflight, Unmatched};
use crate::core::route::Route;
use crate::core::usage::LastUse;
use crate::core::verdict::{Code, Denial, LimitState};

/// Units that a request costs.
const COST: u32 = 1;

/// Judges requests by an index, as long as the gate is open.
#[derive(Debug)]
pub struct Engine {
    index: Arc<Index>,
    gate: Arc<Gate>,
    peppers: ArcSwap<Peppers>,
}

/// What a request is answered.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Why it is refused; `None` lets it pass.
    pub denial: Option<Denial>,
    /// Why it would be refused, if the API were not in audit mode.
    pub would_deny: Option<Denial>,
    /// Whose key it is: with every denial about a known key too, for logs and metrics. Nobody's where no key
    /// is needed.
    pub identity: Option<Identity>,
    /// The limit of the known key that is closest to exhaustion.
    pub limit: Option<LimitState>,
    /// The API, once it is known.
    pub api: Option<Arc<Api>>,
    /// The route that the request matched.
    pub route: Option<Arc<Route>>,
}

impl Engine {
    #[must_use]
    pub fn new(index: Arc<Index>, gate: Arc<Gate>, peppers: Peppers) -> Self {
        Self { index, gate, peppers: ArcSwap::from_pointee(peppers) }
    }

    /// Recognises strings by these peppers from now on.
    pub fn set_peppers(&self, peppers: Peppers) {
        self.peppers.store(Arc::new(peppers));
    }

    /// The code that the API tells under this name: one that all have, or one of a resource.
    #[must_use]
    pub fn code(&self, namespace: &str, api: &str, name: &str) -> Option<Code> {
        let of_api = || self.index.view().api(namespace, api)??.routes.code(name);
        name.parse().ok().or_else(of_api)
    }

    /// Judges a request at `now`; `monotonic` is the reading of the clock that the gate is kept by.
    #[must_use]
    pub fn verify<H>(&self, request: &Request<'_, H>, now: Timestamp, monotonic: Duration) -> Verdict
    where
        H: Headers + ?Sized,
    {
        let mut verdict = Verdict::default();
        let denial = self.judge(request, now, monotonic, &mut verdict).err();
        let audits = verdict.api.as_ref().is_some_and(|api| api.mode == Mode::Audit);
        match denial {
            Some(denial) if audits && denial.code.is_about_the_key() => verdict.would_deny = Some(denial),
            denial => verdict.denial = denial,
        }
        verdict
    }

    /// Steps 0 to 5: up to the point where it is clear whose key it is.
    fn judge<H>(
        &self,
        request: &Request<'_, H>,
        now: Timestamp,
        monotonic: Duration,
        verdict: &mut Verdict,
    ) -> Result<(), Denial>
    where
        H: Headers + ?Sized,
    {
        if !self.gate.is_open(monotonic) {
            return Err(Denial::new(Code::Unavailable, "what is known is not fresh"));
        }
        let view = self.index.view();
        let Some(api) = view.api(request.namespace, request.api) else {
            return Err(Denial::new(Code::ApiNotFound, "there is no such ProtectedApi"));
        };
        let Some(api) = api else {
            return Err(Denial::new(Code::Unavailable, "the ProtectedApi is not accepted"));
        };
        verdict.api = Some(Arc::clone(api));
        let original = request.original.map_err(|cause| Denial::new(Code::BadRequest, cause))?;
        let matched = matched(api, request.route, &original)?;
        if let Matched::Route(route) = matched {
            verdict.route = Some(Arc::clone(route));
        }
        if matched.is_public() || is_free_preflight(api, &original, request.headers) {
            return Ok(());
        }
        let peppers = self.peppers.load();
        let find = |presented: &[u8]| lookup::find(&view, &peppers, api, presented);
        let is_imported = |presented: &[u8]| view.has_imported(api) && find(presented).is_some();
        let presented = credentials::find(api, request.headers, original.target, is_imported)
            .map_err(|none| Denial::new(Code::Unauthorized, none.as_str()))?;
        let Some((entry, digest)) = find(presented.bytes()) else {
            return Err(Denial::new(Code::Unauthorized, "no key of this API has this string"));
        };
        let version = entry.version(&digest).unwrap_or_default();
        let presented = Use {
            entry: &entry,
            digest: &digest,
            version,
            api,
            original: &original,
            headers: request.headers,
            matched: &matched,
            now,
        };
        let (outcome, first_use) = presented.check_and_charge(&mut verdict.limit);
        if first_use {
            self.index.used().enter(Arc::clone(&entry), monotonic);
        }
        verdict.identity = Some(Identity { entry, version });
        outcome
    }
}

/// Where a request goes.
enum Matched<'a> {
    Route(&'a Arc<Route>),
    /// Nowhere in particular, and any key may.
    Anything,
    /// Nowhere, and nobody may.
    Nothing(&'static str),
}

impl Matched<'_> {
    fn route(&self) -> Option<&Arc<Route>> {
        match self {
            Self::Route(route) => Some(route),
            Self::Anything | Self::Nothing(_) => None,
        }
    }

    fn is_public(&self) -> bool {
        matches!(self, Self::Route(route) if route.public)
    }
}

fn matched<'a>(api: &'a Api, named: Option<&str>, original: &Original<'_>) -> Result<Matched<'a>, Denial> {
    if let Some(name) = named {
        let route = api.routes.by_name(name);
        return Ok(route.map_or(Matched::Nothing("the API has no route of this name"), Matched::Route));
    }
    if api.routes.is_empty() {
        return Ok(Matched::Anything);
    }
    let path = path::of_target(original.target).map_err(|cause| Denial::new(Code::BadRequest, cause.as_str()))?;
    let route = api.routes.find(original.method, &path);
    Ok(match (route, api.unmatched) {
        (Some(route), _) => Matched::Route(route),
        (None, Unmatched::RequireKey) => Matched::Anything,
        (None, Unmatched::Deny) => Matched::Nothing("no route has this method and path"),
    })
}

/// Whether this is a CORS preflight request that the API lets pass. Browsers send it without credentials
/// (Fetch standard, "CORS-preflight fetch").
fn is_free_preflight<H: Headers + ?Sized>(api: &Api, original: &Original<'_>, headers: &H) -> bool {
    let has = |name| headers.values(name).next().is_some();
    api.preflight == Preflight::Pass
        && original.method == "OPTIONS"
        && has("origin")
        && has("access-control-request-method")
}

/// A known key in use.
struct Use<'a, H: ?Sized> {
    entry: &'a Entry,
    digest: &'a Digest,
    version: u32,
    api: &'a Api,
    original: &'a Original<'a>,
    headers: &'a H,
    matched: &'a Matched<'a>,
    now: Timestamp,
}

impl<H: Headers + ?Sized> Use<'_, H> {
    /// Checks the key and its use, charges its limits, and counts what came of it; tells how the limits stand in any
    /// case. Answers also whether this is the first use since usage was last written down.
    fn check_and_charge(&self, state: &mut Option<LimitState>) -> (Result<(), Denial>, bool) {
        let checked = self.check();
        let mut counters = self.entry.counters.open();
        let outcome = match (checked, self.entry.granted()) {
            (Ok(()), Ok(granted)) => {
                let charge = counters.charge(&granted.limits, self.now, COST);
                *state = charge.closest;
                charge.outcome.map_err(|retry_after| {
                    let cause = "a rate limit has no room for the request";
                    Denial { retry_after, ..Denial::new(Code::RateLimited, cause) }
                })
            }
            (Err(denial), Ok(granted)) => {
                *state = counters.look(&granted.limits, self.now);
                Err(denial)
            }
            (checked, Err(_)) => checked,
        };
        let first_use = counters.count(|usage| match &outcome {
            Ok(()) => {
                let request = LastUse { at: self.now, from: self.original.client };
                usage.allowed(request, self.version, self.matched.route().map(|route| &route.name));
            }
            // In audit mode as well, where the request passes as nobody's.
            Err(denial) => usage.denied(denial.name()),
        });
        (outcome, first_use)
    }

    /// Steps 6 to 13.
    fn check(&self) -> Result<(), Denial> {
        let deny = |code, cause| Err(Denial::new(code, cause));
        let Self { entry, api, now, .. } = *self;
        if entry.is_revoked() {
            return deny(Code::Revoked, "the key is revoked");
        }
        let granted = entry.granted().map_err(|reason| Denial::new(Code::NotAccepted, reason.as_str()))?;
        if !entry.is_enabled() {
            return deny(Code::Disabled, "the key is disabled");
        }
        if entry.is_expired(self.digest, api, now) {
            return deny(Code::Expired, "the key or this version of it is past its time");
        }
        if !entry.admits(self.original.client) {
            return deny(Code::IpNotAllowed, "the key may not be used from this address");
        }
        let route = match self.matched {
            Matched::Anything => return Ok(()),
            Matched::Nothing(cause) => return deny(Code::RouteNotFound, cause),
            Matched::Route(route) => route,
        };
        if route.require.as_ref().is_some_and(|query| !query.holds(&granted.scopes)) {
            return deny(Code::InsufficientScope, "the key's scopes do not satisfy the route's query");
        }
        Asked { api, route, original: self.original, headers: self.headers }.check(&granted.resources)
    }
}

#[cfg(test)]
mod tests;
