//! An ApiKeyOwner: whom keys are issued to, and what all of that owner's keys share.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::condition::ObjectStatus;
use super::limits::{Quota, RateLimit};
use super::metadata::Metadata;
use super::rules;
use crate::core::acceptance::{Reason, Rejection};

/// What an owner's keys have together.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ApiKeyOwner",
    namespaced,
    status = "ObjectStatus",
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

impl ApiKeyOwner {
    /// Owners are not honoured by this version, and never silently ignored.
    #[must_use]
    pub fn rejection(&self) -> Rejection {
        Rejection::new(
            Reason::NotYetSupported,
            "ApiKeyOwner cannot be honoured by this version of Keyturn yet; delete it",
        )
    }
}
