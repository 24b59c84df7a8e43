//! An ApiKeyTier: a plan that keys share.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::condition::ObjectStatus;
use super::duration::Duration;
use super::limits::{Quota, RateLimit};
use super::rotation::Schedule;
use super::{defaults, parse, rules};
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
    #[serde(default, skip_serializing_if = "defaults::is_default")]
    pub rotation: Schedule,
}

impl ApiKeyTier {
    /// What the tier comes to.
    ///
    /// # Errors
    /// A value that the schema should have refused.
    pub fn parse(&self) -> Result<policy::Tier, Rejection> {
        let spec = &self.spec;
        Ok(policy::Tier {
            name: parse::object_name(&self.metadata)?.name,
            rate_limits: parse::rate_limits("spec.rateLimits", &spec.rate_limits)?,
            quotas: parse::quotas("spec.quotas", &spec.quotas)?,
            max_active_keys_per_owner: spec.max_active_keys_per_owner,
            max_lifetime: parse::duration_from("spec.maxLifetime", parse::SHORTEST_LIFE, spec.max_lifetime.as_ref())?,
            schedule: parse::schedule(
                "spec.rotation",
                spec.rotation.interval.as_ref(),
                spec.rotation.grace_period.as_ref(),
            )?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::acceptance::Reason;

    fn parse(spec: &Value) -> Result<policy::Tier, Rejection> {
        let tier: ApiKeyTier = serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1",
            "kind": "ApiKeyTier",
            "metadata": {"name": "pro", "namespace": "speech"},
            "spec": spec,
        }))
        .unwrap();
        tier.parse()
    }

    #[test]
    fn what_the_schema_should_have_refused_is_said_instead_of_used() {
        for spec in [
            json!({"rotation": {"interval": "1s"}}),
            json!({"maxLifetime": "30s"}),
            json!({"rateLimits": [{"name": "rps", "limit": 1, "window": "1y"}]}),
        ] {
            assert_eq!(parse(&spec).unwrap_err().reason, Reason::Invalid, "{spec}");
        }
    }

    #[test]
    fn limits_lifetime_and_schedule_arrive_as_written() {
        let spec = json!({
            "rateLimits": [{"name": "requests", "limit": 10, "window": "1m", "autoApply": true}],
            "rotation": {"interval": "30d"},
            "maxLifetime": "90d",
            "maxActiveKeysPerOwner": 5,
        });
        let limit = policy::RateLimit {
            name: "requests".into(),
            limit: 10,
            window: std::time::Duration::from_mins(1),
            auto_apply: true,
        };
        let schedule =
            policy::Schedule { interval: Some(std::time::Duration::from_hours(30 * 24)), grace_period: None };
        let expected = policy::Tier {
            name: "pro".into(),
            rate_limits: vec![limit],
            max_lifetime: Some(std::time::Duration::from_hours(90 * 24)),
            max_active_keys_per_owner: Some(5),
            schedule,
            ..policy::Tier::default()
        };
        assert_eq!(parse(&spec), Ok(expected));
    }
}
