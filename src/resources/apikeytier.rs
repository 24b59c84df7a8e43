//! An ApiKeyTier: a plan that keys share.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::condition::ObjectStatus;
use super::duration::Duration;
use super::limits::{Quota, RateLimit};
use super::rotation::Schedule;
use super::{parse, rules};
use crate::core::acceptance::Rejection;
use crate::core::policy;

/// What the keys of a plan have.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ApiKeyTier",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    category = "keyturn",
    doc = "An ApiKeyTier is a plan: limits and a rotation schedule that keys of APIs in its namespace share.",
    printcolumn(name = "Display name", type_ = "string", json_path = ".spec.displayName"),
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
pub struct ApiKeyTierSpec {
    /// What people call the tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub display_name: Option<String>,
    /// How often each key may be used, by name. A key of the API's own namespace can replace one by a limit of
    /// the same name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rate_limits: Vec<RateLimit>,
    /// How many requests of each key a calendar day or month admits, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub quotas: Vec<Quota>,
    /// How many keys one owner may have that are neither revoked nor expired. Absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_active_keys_per_owner: Option<u32>,
    /// Longest life of a key, counted from its creation. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least("spec.maxLifetime", "1m"))]
    pub max_lifetime: Option<Duration>,
    /// When keys are rotated that say nothing themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Schedule>,
}

impl ApiKeyTier {
    /// What the tier comes to.
    ///
    /// # Errors
    /// A field that this version does not act on, or a value that the schema should have refused.
    pub fn parse(&self) -> Result<policy::Tier, Rejection> {
        let spec = &self.spec;
        parse::refuse_unsupported(&[
            ("spec.quotas", !spec.quotas.is_empty()),
            ("spec.maxActiveKeysPerOwner", spec.max_active_keys_per_owner.is_some()),
            ("spec.maxLifetime", spec.max_lifetime.is_some()),
        ])?;
        Ok(policy::Tier {
            name: parse::object_name(&self.metadata)?.name,
            rate_limits: parse::rate_limits("spec.rateLimits", &spec.rate_limits)?,
            schedule: spec.rotation.as_ref().map_or_else(
                || Ok(policy::Schedule::default()),
                |rotation| parse::schedule("spec.rotation", rotation.interval.as_ref(), rotation.grace_period.as_ref()),
            )?,
        })
    }
}
