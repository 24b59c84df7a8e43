//! A ProtectedApi: what keys are for, what they look like, and what a request needs.

mod catalog;
mod credential;
mod denial;
mod grant;
mod parse;
mod route;

use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use catalog::{CatalogEntry, ResourceCatalog};
pub use credential::Credential;
pub use denial::Denial;
pub use grant::{Grant, GrantFrom, Owners};
pub use route::{Route, RouteLimit, RouteResource, ValueSource};

use super::condition::ObjectStatus;
use super::duration::Duration;
use super::rotation::Schedule;
use super::{defaults, rules};

/// How requests to one API are judged.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ProtectedApi",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    category = "keyturn",
    doc = "A ProtectedApi is what keys are for: what they look like, where requests carry them, and which scope which route needs.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Prefix", type_ = "string", json_path = ".spec.keyFormat.prefix"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Accepted\")].reason",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = denial::codes_are_told())]
pub struct ProtectedApiSpec {
    /// Enforce refuses what is not allowed. Audit judges and counts, tells the outcome in X-Auth-Would-Deny, and
    /// lets pass what has a key: for roll-out on live traffic.
    #[serde(default)]
    pub mode: Mode,
    /// Host names by which a verifier that routes by host finds this API. The older claim wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), transform = rules::items(rules::host("spec.hosts")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub hosts: Vec<String>,
    /// What the keys of this API look like: `<prefix>_<environment>_<random><checksum>`.
    #[serde(default)]
    pub key_format: KeyFormat,
    /// Where a request may carry its key, in this order.
    #[serde(default = "default_credentials")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub credentials: Vec<Credential>,
    /// Which namespaces besides this one may have keys, and what those may claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub grants: Vec<Grant>,
    /// Name of the ApiKeyTier, in this namespace, of keys that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("spec.defaultTier"))]
    pub default_tier: Option<String>,
    /// What keys have that say nothing themselves.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub defaults: Defaults,
    /// Permanent: a revoked key stays revoked, whatever anybody writes. Reversible: `revoked: false` brings it
    /// back with the same string.
    #[serde(default)]
    pub revocation: RevocationMode,
    /// Addresses and ranges of proxies whose X-Forwarded-For entries are believed, from the right. None by
    /// default.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 64)), transform = rules::items(rules::address("spec.trustedForwarders")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub trusted_forwarders: Vec<String>,
    /// What the API offers. The most specific path decides, then the method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub routes: Vec<Route>,
    /// What becomes of a request that no route matches: Deny or RequireKey. Absent: Deny where there are routes,
    /// otherwise RequireKey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmatched: Option<Unmatched>,
    /// What becomes of OPTIONS with Origin and Access-Control-Request-Method: Pass or RequireKey.
    #[serde(default)]
    pub preflight: Preflight,
    /// The resources that there are, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into()]))]
    pub resource_catalogs: Vec<ResourceCatalog>,
    /// Statuses and texts of your own for refusals, by code.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["code".into()]))]
    pub denials: Vec<Denial>,
    /// Optional identity headers to fill: Scopes (X-Apikey-Scopes).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub identity: Vec<Identity>,
}

impl Default for ProtectedApiSpec {
    /// What the server makes of an empty spec.
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            hosts: Vec::new(),
            key_format: KeyFormat::default(),
            credentials: default_credentials(),
            grants: Vec::new(),
            default_tier: None,
            defaults: Defaults::default(),
            revocation: RevocationMode::default(),
            trusted_forwarders: Vec::new(),
            routes: Vec::new(),
            unmatched: None,
            preflight: Preflight::default(),
            resource_catalogs: Vec::new(),
            denials: Vec::new(),
            identity: Vec::new(),
        }
    }
}

/// What becomes of a refusal: Enforce or Audit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Mode {
    #[default]
    Enforce,
    Audit,
}

/// What keys look like.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyFormat {
    /// First part of every key, 1 to 32 letters, digits and `_`. Cannot be changed.
    #[serde(default = "default_prefix")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = prefix_characters(), validation = prefix_is_immutable())]
    pub prefix: String,
    /// Random characters of newly minted keys, 32 (190 bits) to 64.
    #[serde(default = "default_length")]
    #[schemars(range(min = 32, max = 64))]
    pub length: u8,
}

impl Default for KeyFormat {
    fn default() -> Self {
        Self { prefix: default_prefix(), length: default_length() }
    }
}

/// What keys have that say nothing themselves.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Defaults {
    /// When keys are rotated.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub rotation: Schedule,
    /// Life of a key, counted from its creation. Absent: keys do not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least("spec.defaults.expiresAfter", "1m"))]
    pub expires_after: Option<Duration>,
    /// What keys may do that have no `scopes`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 128)), transform = rules::items(rules::scope("spec.defaults.scopes")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,
}

/// Whether a revocation can be taken back: Permanent or Reversible.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum RevocationMode {
    #[default]
    Permanent,
    Reversible,
}

/// What becomes of a request that no route matches.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Unmatched {
    #[default]
    Deny,
    RequireKey,
}

/// What becomes of a CORS preflight request.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Preflight {
    #[default]
    Pass,
    RequireKey,
}

/// An identity header that is filled on request.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Identity {
    Scopes,
}

fn default_prefix() -> String {
    "sk".to_owned()
}

const fn default_length() -> u8 {
    32
}

fn default_credentials() -> Vec<Credential> {
    let header = |name: &str, scheme: Option<&str>| Credential {
        header: Some(name.to_owned()),
        scheme: scheme.map(str::to_owned),
        query: None,
    };
    vec![header("Authorization", Some("Bearer")), header("X-API-Key", None)]
}

fn prefix_characters() -> Rule {
    rules::rule(
        "self.matches('^[a-zA-Z0-9_]+$')",
        "'spec.keyFormat.prefix \"' + self + '\" is no prefix; use 1 to 32 letters, digits and _'",
    )
}

fn prefix_is_immutable() -> Rule {
    rules::rule(
        "self == oldSelf",
        "'spec.keyFormat.prefix cannot be changed from ' + oldSelf + ' to ' + self + ', for existing keys begin with it; create another ProtectedApi'",
    )
}
