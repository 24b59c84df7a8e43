//! What keys of other namespaces may claim.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::rules;

/// Lets some namespaces have keys, with no more than this.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Name of the grant, for messages.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Whose keys it is for.
    pub from: GrantFrom,
    /// Scopes that they may claim; `*` matches any run of characters. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // A pattern instead of a rule: for 64 times 1,000 scopes the server finds a rule too expensive.
    #[schemars(length(max = 1000), inner(length(min = 1, max = 128), regex(pattern = rules::SCOPE)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,
    /// Roles that they may claim. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)), transform = rules::items(rules::object_name("spec.grants[].roles")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<String>,
    /// Tiers that they may claim. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), transform = rules::items(rules::object_name("spec.grants[].tiers")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tiers: Vec<String>,
    /// Declared: they may claim owners that are ApiKeyOwners here and list their namespace. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<Owners>,
}

/// Namespaces.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantFrom {
    /// Selects namespaces by their labels; an empty selector selects all of them.
    pub selector: LabelSelector,
}

/// Owners that may be claimed: Declared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Owners {
    Declared,
}
