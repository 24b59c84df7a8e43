//! An ApiKeyOwner: whom keys are issued to, and what all of that owner's keys share.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::limits::{Quota, RateLimit};
use super::metadata::Metadata;
use super::notices::BudgetNotice;
use super::references::UsageRef;
use super::{parse, rules};
use crate::core::acceptance::Rejection;
use crate::core::owner::{Owner, OwnerClaim};

/// What an owner's keys have together.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ApiKeyOwner",
    namespaced,
    status = "OwnerStatus",
    derive = "PartialEq",
    category = "keyturn",
    doc = "An ApiKeyOwner is whom keys of APIs in its namespace were issued to, with limits that these keys share.",
    printcolumn(name = "External ID", type_ = "string", json_path = ".spec.externalId"),
    printcolumn(name = "Tier", type_ = "string", json_path = ".spec.tier"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyOwnerSpec {
    /// What keys write as `owner`. Defaults to the object's name. 1 to 255 letters, digits, `_`, `.` and `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::owner("spec.externalId"))]
    pub external_id: Option<String>,
    /// What people call the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub display_name: Option<String>,
    /// Other namespaces whose keys may claim this owner.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), transform = rules::items(rules::object_name("spec.namespaces")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: Vec<String>,
    /// Name of the ApiKeyTier, in this namespace, of keys that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("spec.tier"))]
    pub tier: Option<String>,
    /// How often the owner's keys may be used together, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rate_limits: Vec<RateLimit>,
    /// How many requests with the owner's keys a calendar day or month admits, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub quotas: Vec<Quota>,
    /// How many keys the owner may have that are neither revoked nor expired. Absent: the tier's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub max_active_keys: Option<u32>,
    /// Free JSON of yours, at most 100 properties.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// What Keyturn says about an owner.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The ApiKeyUsage that counts what the owner's keys use together; there is one as soon as there are quotas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageRef>,
    /// What events have told of already, so that they tell it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<OwnerNotices>,
    /// Accepted: whether the object counts, and if not, why. Ready: whether it is known what was spent of its quotas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What events have told of.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerNotices {
    /// The quotas of which was told that little or nothing is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(
        vec!["kind".into(), "name".into(), "period".into(), "epoch".into()]
    ))]
    pub budgets: Vec<BudgetNotice>,
}

impl ApiKeyOwner {
    /// What the owner comes to, and whom it speaks for. Fields that this version does not act on make it a claim
    /// that can't be honoured.
    #[must_use]
    pub fn claim(&self) -> OwnerClaim {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let external_id = self.spec.external_id.as_deref().unwrap_or(name);
        OwnerClaim {
            external_id: external_id.into(),
            age: parse::age(&self.metadata),
            owner: self.parse().map(Arc::new),
        }
    }

    /// The claim of an object that can't be read: it has a name, which may be an external id, and that is all.
    #[must_use]
    pub fn unreadable(metadata: &ObjectMeta, rejection: Rejection) -> OwnerClaim {
        let name = metadata.name.as_deref().unwrap_or_default();
        OwnerClaim { external_id: name.into(), age: parse::age(metadata), owner: Err(rejection) }
    }

    fn parse(&self) -> Result<Owner, Rejection> {
        let spec = &self.spec;
        Ok(Owner {
            object: parse::object_name(&self.metadata)?,
            uid: self.metadata.uid.as_deref().unwrap_or_default().into(),
            namespaces: spec.namespaces.iter().map(|namespace| namespace.as_str().into()).collect(),
            tier: spec.tier.as_deref().map(Into::into),
            rate_limits: parse::rate_limits("spec.rateLimits", &spec.rate_limits)?,
            quotas: parse::quotas("spec.quotas", &spec.quotas)?,
            max_active_keys: spec.max_active_keys,
            usage: self.status.as_ref().and_then(|status| status.usage.as_ref()).map(|usage| usage.uid.as_str().into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::core::fixtures;
    use crate::core::policy::Age;

    fn claim(spec: Value) -> OwnerClaim {
        claim_with_status(spec, Value::Null)
    }

    fn claim_with_status(spec: Value, status: Value) -> OwnerClaim {
        let owner: ApiKeyOwner = serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1",
            "kind": "ApiKeyOwner",
            "metadata": {
                "name": "acme", "namespace": "speech", "uid": "u1", "creationTimestamp": "1970-01-01T00:00:00Z",
            },
            "spec": spec,
            "status": status,
        }))
        .unwrap();
        owner.claim()
    }

    #[test]
    fn knows_where_it_is_counted_what_its_keys_spend() {
        let status = json!({"usage": {"name": "owner-u1", "uid": "u7"}});
        let owner = Ok(Arc::new(Owner { usage: Some("u7".into()), ..fixtures::owner() }));
        assert_eq!(claim_with_status(json!({}), status).owner, owner);
    }

    #[test]
    fn what_it_says_arrives_and_it_speaks_for_its_name_unless_it_has_an_external_id() {
        let age = Age { created_at: Timestamp::UNIX_EPOCH, uid: "u1".into() };
        let base = fixtures::owner;
        for (spec, external_id, owner) in [
            (json!({}), "acme", base()),
            (
                json!({"externalId": "cus_1", "namespaces": ["team-a"]}),
                "cus_1",
                Owner { namespaces: vec!["team-a".into()], ..base() },
            ),
            (
                json!({"tier": "pro", "maxActiveKeys": 3}),
                "acme",
                Owner { tier: Some("pro".into()), max_active_keys: Some(3), ..base() },
            ),
        ] {
            let owner = Ok(Arc::new(owner));
            assert_eq!(claim(spec), OwnerClaim { external_id: external_id.into(), age: age.clone(), owner });
        }
    }
}
