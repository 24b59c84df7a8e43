//! The judgement: a chain of checks of which the first that fails decides, and nothing after it is charged.
//!
//! Judging does no I/O, takes no lock but those of the one key's counters and its owner's, and allocates nothing when
//! it lets a request pass (but for paths with more than three parameters, where the router has to go back, and for a
//! key that stands percent-encoded in the query). What it cannot know by itself it asks for, and is asked again.

mod checks;
mod elsewhere;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;

use super::credentials;
use super::entry::{Entry, Identity};
use super::gate::Gate;
use super::index::Index;
use super::limits::Demand;
use super::lookup;
use super::request::{Headers, Original, Request};
use super::spender::Shortage;
use super::store::OnStoreError;
use super::terms::Granted;
use crate::core::check::Check;
use crate::core::path;
use crate::core::pepper::Peppers;
use crate::core::policy::{Api, Mode, ObjectName, Preflight, Unmatched};
use crate::core::route::Route;
use crate::core::usage::LastUse;
use crate::core::verdict::{Code, Denial, LimitState};

/// Judges requests by an index, as long as the gate is open.
#[derive(Debug)]
pub struct Engine {
    index: Arc<Index>,
    gate: Arc<Gate>,
    peppers: ArcSwap<Peppers>,
    /// Rate limits are counted outside of this process.
    limits_elsewhere: bool,
}

/// What a request comes to.
#[derive(Debug)]
pub enum Judgement {
    Final(Verdict),
    /// This process holds too little of a quota or of credits: the request is to be judged again when it has had more
    /// handed out.
    Short(Case, Shortage),
    /// Rate limits are counted elsewhere: the answer from there ends it.
    Elsewhere(Case, Box<Inquiry>),
}

impl Judgement {
    /// The verdict of this process alone, with what it knows and holds at the moment.
    #[must_use]
    pub fn alone(self) -> Verdict {
        match self {
            Self::Final(verdict) => verdict,
            Self::Short(case, _) => case.unavailable(),
            Self::Elsewhere(case, inquiry) => inquiry.finish(case, Err(OnStoreError::Local), Ok(())),
        }
    }
}

/// How far a request with a known key has been judged.
#[derive(Debug)]
pub struct Case {
    verdict: Verdict,
    index: Arc<Index>,
    request: LastUse,
    since_boot: Duration,
}

impl Case {
    /// Nobody could tell in time whether there is enough left of a quota or of credits.
    #[must_use]
    pub fn unavailable(self) -> Verdict {
        let cause = "no quota or credits could be had in time";
        self.settle(Err(Denial::new(Code::Unavailable, cause).by(Check::Quotas)), None)
    }

    fn known_key(&self) -> Option<(&Entry, &Granted)> {
        let entry = self.verdict.identity.as_ref()?.entry();
        Some((entry, entry.granted().ok()?))
    }

    fn demand(&self) -> Option<Demand<'_>> {
        let charges = self.verdict.route.as_ref().map_or(&[][..], |route| &route.charges);
        Some(Demand { now: self.request.at, charges, processes: self.index.processes()? })
    }

    fn settle(mut self, outcome: Result<(), Denial>, limit: Option<LimitState>) -> Verdict {
        if let Some(Identity { entry, version }) = &self.verdict.identity {
            let route = self.verdict.route.as_ref();
            if entry.counters.open().count(outcome.as_ref().copied(), self.request, *version, route) {
                self.index.used().enter(Arc::clone(entry), self.since_boot);
            }
        }
        self.verdict.limit = limit;
        self.verdict.close(outcome)
    }
}

/// What a known key's request comes to, when nothing refuses it.
#[derive(Debug)]
enum Step {
    Pass,
    Short(Shortage),
    Elsewhere(Box<Inquiry>),
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

impl Verdict {
    /// While there is no engine, nothing passes.
    #[must_use]
    pub fn without_engine() -> Self {
        Self { denial: Some(Denial::new(Code::Unavailable, "there is no pepper yet")), ..Self::default() }
    }

    /// In audit mode whatever is wrong with a key or its use is told, and nothing else.
    fn close(mut self, outcome: Result<(), Denial>) -> Self {
        let Err(denial) = outcome else { return self };
        let audits = self.api.as_ref().is_some_and(|api| api.mode == Mode::Audit);
        if audits && (denial.code.is_about_the_key() || self.identity.is_some()) {
            self.would_deny = Some(denial);
        } else {
            self.denial = Some(denial);
        }
        self
    }
}

impl Engine {
    #[must_use]
    pub fn new(index: Arc<Index>, gate: Arc<Gate>, peppers: Peppers) -> Self {
        Self { index, gate, peppers: ArcSwap::from_pointee(peppers), limits_elsewhere: false }
    }

    /// The same with rate limits that are counted outside of this process.
    #[must_use]
    pub fn with_limits_elsewhere(self) -> Self {
        Self { limits_elsewhere: true, ..self }
    }

    /// Recognises strings by these peppers from now on.
    pub fn set_peppers(&self, peppers: Peppers) {
        self.peppers.store(Arc::new(peppers));
    }

    /// The API of that name, if it is accepted.
    #[must_use]
    pub fn api(&self, namespace: &str, api: &str) -> Option<Arc<Api>> {
        self.index.view().api(namespace, api)?.map(Arc::clone)
    }

    /// The API that has that host, given in lower case and without a port.
    #[must_use]
    pub fn api_of_host(&self, host: &str) -> Option<ObjectName> {
        self.index.view().host(host).cloned()
    }

    /// Whether the resource that a request is for may stand in its body, which is not looked at.
    #[must_use]
    pub fn reads_body<H: ?Sized>(&self, request: &Request<'_, H>) -> bool {
        let view = self.index.view();
        let Some(Some(api)) = view.api(request.namespace, request.api) else { return false };
        let Ok(original) = request.original.as_ref() else { return false };
        // Most APIs have no such route, and need not be asked for the one that matches.
        api.routes.reads_bodies()
            && matches!(matched(api, request.route, original), Ok(Matched::Route(route)) if route.reads_body())
    }

    /// Judges a request at `now`; `monotonic` is the reading of the clock that the gate is kept by.
    #[must_use]
    pub fn verify<H>(&self, request: &Request<'_, H>, now: Timestamp, monotonic: Duration) -> Judgement
    where
        H: Headers + ?Sized,
    {
        let mut verdict = Verdict::default();
        let charge = |presented: &Use<'_, H>| presented.check_and_charge();
        let step = self.judge(request, now, monotonic, &mut verdict, charge);
        let case = |verdict: Verdict| {
            let from = verdict.api.as_deref().and_then(|api| request.client(api));
            let request = LastUse { at: now, from };
            Case { verdict, index: Arc::clone(&self.index), request, since_boot: monotonic }
        };
        match step {
            Ok(Step::Pass) => Judgement::Final(verdict),
            Err(denial) => Judgement::Final(verdict.close(Err(denial))),
            Ok(Step::Short(shortage)) => Judgement::Short(case(verdict), shortage),
            Ok(Step::Elsewhere(inquiry)) => Judgement::Elsewhere(case(verdict), inquiry),
        }
    }

    /// Judges a request again as far as nothing is charged: what has become known while an answer was waited for
    /// holds for it as for any other.
    ///
    /// # Errors
    /// It is refused by now.
    pub fn recheck<H>(&self, request: &Request<'_, H>, now: Timestamp, monotonic: Duration) -> Result<(), Denial>
    where
        H: Headers + ?Sized,
    {
        let check = |presented: &Use<'_, H>| presented.check_only();
        self.judge(request, now, monotonic, &mut Verdict::default(), check).map(|_| ())
    }

    /// Steps 0 to 5: up to the point where it is clear whose key it is. The others are up to `conclude`.
    fn judge<H>(
        &self,
        request: &Request<'_, H>,
        now: Timestamp,
        monotonic: Duration,
        verdict: &mut Verdict,
        conclude: impl FnOnce(&Use<'_, H>) -> Came,
    ) -> Result<Step, Denial>
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
            return Err(Denial::new(Code::Unavailable, "the ProtectedApi is not accepted").by(Check::Api));
        };
        verdict.api = Some(Arc::clone(api));
        let original = request.original.map_err(|cause| Denial::new(Code::BadRequest, cause))?;
        let matched = matched(api, request.route, &original)?;
        if let Matched::Route(route) = matched {
            verdict.route = Some(Arc::clone(route));
        }
        if matched.is_public() || is_free_preflight(api, &original, request.headers) {
            return Ok(Step::Pass);
        }
        let peppers = self.peppers.load();
        let find = |presented: &[u8]| lookup::find(&view, &peppers, api, presented);
        let is_imported = |presented: &[u8]| view.has_imported(api) && find(presented).is_some();
        let presented = credentials::find(api, request.headers, original.target, is_imported)
            .map_err(|none| Denial::new(Code::Unauthorized, none.as_str()))?;
        let Some((entry, digest)) = find(presented.bytes()) else {
            return Err(Denial::new(Code::Unauthorized, "no key of this API has this string").by(Check::Key));
        };
        let version = entry.version(&digest).unwrap_or_default();
        let presented = Use {
            entry: &entry,
            digest: &digest,
            version,
            api,
            original: &original,
            client: request.client(api),
            headers: request.headers,
            body: request.body,
            matched: &matched,
            now,
            processes: self.index.processes(),
            limits_elsewhere: self.limits_elsewhere,
        };
        let Came { step, limit, first_use } = conclude(&presented);
        if first_use {
            self.index.used().enter(Arc::clone(&entry), monotonic);
        }
        verdict.limit = limit;
        verdict.identity = Some(Identity { entry, version });
        step
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

use checks::{Came, Use};
pub use elsewhere::Inquiry;

#[cfg(test)]
mod tests;
