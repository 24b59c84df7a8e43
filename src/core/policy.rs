//! What the custom resources say, parsed: values in which nothing is left to be checked but how they fit
//! together ([`super::acceptance`]). Built by `resources`, read by the controller and the verifier alike.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::acceptance::Rejection;
use super::address::AddressSet;
use super::budget::{Credits, Quota};
use super::denials::Denials;
use super::grant::Grant;
use super::hosts::HostDirectory;
use super::key::{Environment, KeyFormat};
use super::owner::OwnerDirectory;
use super::resource::Access;
use super::route::Routes;
use super::scope::Scope;
use super::selector::Labels;
use super::source::Source;
use super::verdict::Code;

/// Namespace and name of an object.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectName {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl ObjectName {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Of two objects the older one is first; the uid decides between equally old ones.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Age {
    pub created_at: Timestamp,
    pub uid: Arc<str>,
}

/// An ApiKey's spec.
#[derive(Clone, Debug)]
pub struct Key {
    pub name: ObjectName,
    pub uid: Arc<str>,
    pub created_at: Timestamp,
    pub api: ObjectName,
    pub environment: Environment,
    pub owner: Option<Arc<str>>,
    /// Wins over the API's default.
    pub tier: Option<Arc<str>>,
    /// `None`: the API's default scopes.
    pub scopes: Option<Vec<Scope>>,
    pub roles: Vec<Arc<str>>,
    pub ip_allowlist: AddressSet,
    /// Which resources it may use; a kind that is not there is not restricted.
    pub resources: Vec<Access>,
    pub rate_limits: Vec<RateLimit>,
    pub quotas: Vec<Quota>,
    /// `None`: requests spend nothing.
    pub credits: Option<Credits>,
    pub enabled: bool,
    pub revoked: bool,
    pub expires_at: Option<Timestamp>,
    pub rotation: Schedule,
    pub rotation_request: Option<RotationRequest>,
    /// Name of the Secret that the string goes into.
    pub secret_name: Arc<str>,
    pub delivery: Delivery,
    /// An existing key to take over instead of minting one.
    pub source: Option<Source>,
}

/// How the strings of a key reach whoever uses them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Delivery {
    /// In a Secret that stays.
    #[default]
    Retain,
    /// In a Secret that goes when the string is acknowledged. `ttl`: how long that may take.
    Once { ttl: Duration },
    /// In the status, readable by the holder of a private key only, and gone when acknowledged or after `ttl`.
    Sealed { ttl: Duration },
}

impl Delivery {
    #[must_use]
    pub const fn is_sealed(self) -> bool {
        matches!(self, Self::Sealed { .. })
    }

    /// How long a string waits to be acknowledged; `None`: it stays anyway.
    #[must_use]
    pub const fn ttl(self) -> Option<Duration> {
        match self {
            Self::Retain => None,
            Self::Once { ttl } | Self::Sealed { ttl } => Some(ttl),
        }
    }
}

impl Key {
    #[must_use]
    pub fn age(&self) -> Age {
        Age { created_at: self.created_at, uid: Arc::clone(&self.uid) }
    }
}

/// When a key is rotated and for how long the previous version lives on. `None`: not said here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Schedule {
    pub interval: Option<Duration>,
    pub grace_period: Option<Duration>,
}

impl Schedule {
    /// Fills what is not said here from `inherited`.
    #[must_use]
    pub fn or(self, inherited: Self) -> Self {
        Self {
            interval: self.interval.or(inherited.interval),
            grace_period: self.grace_period.or(inherited.grace_period),
        }
    }
}

/// A rotation on demand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RotationRequest {
    /// A new id rotates once.
    pub id: Arc<str>,
    /// Holds for that rotation only.
    pub grace_period: Option<Duration>,
}

/// A named limit of requests in a sliding window.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct RateLimit {
    pub name: Arc<str>,
    /// Requests, or units of cost, that one window admits; at least 1.
    pub limit: u32,
    /// 1 s to 720 h.
    pub window: Duration,
    /// Charged on every request; otherwise only where a route names it.
    pub auto_apply: bool,
}

/// A ProtectedApi's spec.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Api {
    pub name: ObjectName,
    pub mode: Mode,
    pub key_format: KeyFormat,
    /// Where a key may be presented, in this order.
    pub credentials: Vec<Credential>,
    /// What keys of other namespaces may have.
    pub grants: Vec<Grant>,
    pub default_tier: Option<Arc<str>>,
    pub default_schedule: Schedule,
    /// Life of a key that names no expiry itself, from its creation.
    pub expires_after: Option<Duration>,
    pub default_scopes: Vec<Scope>,
    /// Whether a key that is revoked from now on can be brought back.
    pub reversible_revocation: bool,
    pub routes: Routes,
    pub unmatched: Unmatched,
    pub preflight: Preflight,
    /// Proxies whose entries in `X-Forwarded-For` are believed.
    pub trusted_forwarders: AddressSet,
    /// How refusals are told, where not as all APIs tell them.
    pub denials: Denials,
    /// Whether `X-Apikey-Scopes` is filled.
    pub identify_scopes: bool,
}

impl Api {
    /// The code that callers are told under this name: one that all APIs have, or one of a resource.
    #[must_use]
    pub fn code(&self, name: &str) -> Option<Code> {
        name.parse().ok().or_else(|| self.routes.code(name))
    }
}

/// One place in a request where a key may be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Credential {
    /// A header (lower-case name); with a scheme, the value is `<scheme> <key>` (RFC 9110, section 11.4).
    Header { name: Arc<str>, scheme: Option<Arc<str>> },
    /// A query parameter of the original request.
    Query { name: Arc<str> },
}

/// What becomes of a refusal that is about a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// It is answered.
    Enforce,
    /// It is told and counted, and the request passes: for bringing an API that is in use behind keys.
    Audit,
}

/// What becomes of a request that no route matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unmatched {
    Deny,
    RequireKey,
}

/// What becomes of a CORS preflight request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Preflight {
    Pass,
    RequireKey,
}

/// An ApiKeyTier's spec.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tier {
    pub name: Arc<str>,
    pub rate_limits: Vec<RateLimit>,
    pub quotas: Vec<Quota>,
    /// Keys of one owner that may be active at the same time; `None`: any number.
    pub max_active_keys_per_owner: Option<u32>,
    /// Longest life of a key, from its creation.
    pub max_lifetime: Option<Duration>,
    pub schedule: Schedule,
}

/// An ApiKeyRole's spec.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Role {
    pub scopes: Vec<Scope>,
}

/// Everything besides the key itself that acceptance looks at. An object that exists but says something that
/// cannot be honoured is there as its [`Rejection`], so that it is told apart from one that is missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Policies {
    pub apis: HashMap<ObjectName, Result<Arc<Api>, Rejection>>,
    pub tiers: HashMap<ObjectName, Result<Arc<Tier>, Rejection>>,
    pub roles: HashMap<ObjectName, Result<Arc<Role>, Rejection>>,
    pub owners: OwnerDirectory,
    pub hosts: HostDirectory,
    /// The labels of every namespace; none where only one namespace is looked after, whose keys need no grant.
    pub namespaces: HashMap<Arc<str>, Labels>,
}
