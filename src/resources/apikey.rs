//! An ApiKey: one identity that presents a key to one API.

mod credits;
mod parse;
mod resource;
mod secret;
mod source;
mod status;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::Rule;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use credits::{Credits, Refill, RefillInterval};
pub use resource::ResourceAccess;
pub use secret::{Delivery, SecretTemplate, SecretType};
pub use source::{DigestAlgorithm, Source, SourceDigest};
pub use status::{
    ApiKeyStatus, HistoryEntry, KeyState, Notices, OldVersionNotice, Revocation, VersionDelivery, VersionState,
    VersionStatus,
};

use super::limits::{Quota, RateLimit};
use super::metadata::Metadata;
use super::references::ApiRef;
use super::rotation::KeyRotation;
use super::{defaults, rules};
use crate::core::key;

/// What a key may do, for how long, and where its string goes.
#[derive(Clone, CustomResource, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ApiKey",
    namespaced,
    status = "ApiKeyStatus",
    derive = "PartialEq",
    shortname = "ak",
    category = "keyturn",
    doc = "An ApiKey is minted into a Secret, rotated with overlap, limited, revoked, and checked on every request to the API that it belongs to.",
    selectable = ".spec.apiRef.name",
    selectable = ".spec.owner",
    selectable = ".spec.tier",
    printcolumn(name = "API", type_ = "string", json_path = ".spec.apiRef.name"),
    printcolumn(name = "Owner", type_ = "string", json_path = ".spec.owner"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state"),
    printcolumn(name = "Start", type_ = "string", json_path = ".status.start"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt"),
    printcolumn(name = "Next rotation", type_ = "string", json_path = ".status.nextRotationAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Scopes", type_ = "string", json_path = ".spec.scopes", priority = 1),
    printcolumn(name = "ID", type_ = "string", json_path = ".status.id", priority = 1),
    validation = revocation_is_permanent()
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = source_is_immutable())]
#[x_kube(validation = digest_cannot_rotate())]
pub struct ApiKeySpec {
    /// The ProtectedApi that the key belongs to. Cannot be changed; adding the key's own namespace counts as a
    /// change.
    #[x_kube(validation = api_ref_is_immutable())]
    pub api_ref: ApiRef,
    /// What people call the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub display_name: Option<String>,
    /// What the key is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// live or test: part of the string, so that people and scanners can tell. Cannot be changed.
    #[serde(default)]
    #[x_kube(validation = environment_is_immutable())]
    pub environment: Environment,
    /// Whom the key was issued to: the externalId (default: the name) of an ApiKeyOwner in the API's namespace,
    /// if there is one. 1 to 255 letters, digits, `_`, `.` and `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::owner("spec.owner"))]
    pub owner: Option<String>,
    /// Name of an ApiKeyTier in the API's namespace. Wins over the owner's and the API's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("spec.tier"))]
    pub tier: Option<String>,
    /// What the key may do, such as `transcripts:read`. A `*` matches any run of characters. Absent: the API's
    /// `defaults.scopes`; empty: only what the roles add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 128)), transform = rules::items(rules::scope("spec.scopes")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Option<Vec<String>>,
    /// Names of ApiKeyRoles in the API's namespace, whose scopes the key has too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)), transform = rules::items(rules::object_name("spec.roles")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<String>,
    /// Addresses and CIDR ranges, IPv4 and IPv6, that the key may be used from; host bits are masked. Empty: any
    /// address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 64)), transform = rules::items(rules::address("spec.ipAllowlist")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub ip_allowlist: Vec<String>,
    /// Which resources the key may use, by kind of resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into()]))]
    pub resources: Vec<ResourceAccess>,
    /// How often the key may be used, by name; all of them hold together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rate_limits: Vec<RateLimit>,
    /// How many requests a calendar day or month admits, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub quotas: Vec<Quota>,
    /// A balance that requests spend. Absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credits: Option<Credits>,
    /// false refuses every request until it is true again.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,
    /// true refuses every request from now on. Permanent, unless the API says `revocation: Reversible`.
    #[serde(default)]
    pub revoked: bool,
    /// Why the key was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub revocation_reason: Option<String>,
    /// true hides the key from default lists and changes nothing else.
    #[serde(default)]
    pub archived: bool,
    /// The key is refused from this instant (RFC 3339). Absent: the API's `defaults.expiresAfter` counts from
    /// its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 64))]
    #[x_kube(validation = rules::timestamp("spec.expiresAt"))]
    pub expires_at: Option<Time>,
    /// When the key is rotated.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub rotation: KeyRotation,
    /// Where the string goes.
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub secret: SecretTemplate,
    /// An existing key to take over instead of minting one. At most one member; cannot be changed, added or
    /// removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Free JSON of yours, at most 100 properties.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// Whether a key is for production (live) or for trying out (test).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    #[default]
    Live,
    Test,
}

impl From<Environment> for key::Environment {
    fn from(environment: Environment) -> Self {
        match environment {
            Environment::Live => Self::Live,
            Environment::Test => Self::Test,
        }
    }
}

impl Default for ApiKeySpec {
    /// What the server makes of a spec that says nothing but `apiRef`.
    fn default() -> Self {
        Self {
            api_ref: ApiRef::default(),
            display_name: None,
            description: None,
            environment: Environment::default(),
            owner: None,
            tier: None,
            scopes: None,
            roles: Vec::new(),
            ip_allowlist: Vec::new(),
            resources: Vec::new(),
            rate_limits: Vec::new(),
            quotas: Vec::new(),
            credits: None,
            enabled: true,
            revoked: false,
            revocation_reason: None,
            archived: false,
            expires_at: None,
            rotation: KeyRotation::default(),
            secret: SecretTemplate::default(),
            source: None,
            metadata: Metadata::default(),
        }
    }
}

/// Holds on the main and on the status endpoint, so that whoever may write either cannot bring a key back.
fn revocation_is_permanent() -> Rule {
    Rule::new(
        "!has(oldSelf.status) || !has(oldSelf.status.revocation) || oldSelf.status.revocation.reversible || (self.spec.revoked && has(self.status) && has(self.status.revocation) && !self.status.revocation.reversible)",
    )
    .message("spec.revoked and status.revocation: the key was revoked permanently and can never be used again; leave spec.revoked true and status.revocation as it is, and create another ApiKey")
}

fn api_ref_is_immutable() -> Rule {
    rules::rule(
        "self == oldSelf",
        "'spec.apiRef ' + oldSelf.name + ' cannot be changed, to ' + self.name + ' or by adding, changing or removing its namespace, even the key\\'s own; create another ApiKey'",
    )
}

fn environment_is_immutable() -> Rule {
    rules::rule(
        "self == oldSelf",
        "'spec.environment cannot be changed from ' + oldSelf + ' to ' + self + ', for it is part of the string; create another ApiKey'",
    )
}

fn source_is_immutable() -> Rule {
    Rule::new("has(self.source) == has(oldSelf.source) && (!has(self.source) || self.source == oldSelf.source)")
        .message("spec.source cannot be changed, added or removed; create another ApiKey")
}

fn digest_cannot_rotate() -> Rule {
    rules::rule(
        "!has(self.source) || !has(self.source.digest) || !has(self.rotation) || !has(self.rotation.interval)",
        "'spec.rotation.interval ' + self.rotation.interval + ' cannot be kept by a key with spec.source.digest, whose string Keyturn does not have; remove interval and rotate by rotation.request'",
    )
}
