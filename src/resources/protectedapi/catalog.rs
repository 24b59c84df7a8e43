//! The resources that an API knows, and answers of its own.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::resources::{defaults, rules};

/// The resources of one kind.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCatalog {
    /// Kind of resource, as routes name it.
    #[schemars(length(min = 1, max = 253))]
    pub kind: String,
    /// Whether a request to a route with this kind must name a resource.
    #[serde(default)]
    pub required: bool,
    /// Code of a refusal, such as MODEL_FORBIDDEN. Absent: made from the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = code("spec.resourceCatalogs[].denyCode"))]
    pub deny_code: Option<String>,
    /// A request's value must be the id, name or group of one of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["id".into()]))]
    pub entries: Vec<CatalogEntry>,
}

/// One resource.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogEntry {
    /// What identifies it.
    #[schemars(length(min = 1, max = 253))]
    pub id: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub group: Option<String>,
    /// false hides it from everybody.
    #[serde(default = "defaults::yes")]
    pub enabled: bool,
}

/// Status and text of your own for one code.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Denial {
    /// The code, such as REVOKED.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = code("spec.denials[].code"))]
    pub code: String,
    /// HTTP status, 400 to 599. Absent: the code's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<u16>,
    /// Sentence for the caller. Absent: the code's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub detail: Option<String>,
}

fn code(field: &str) -> kube::core::Rule {
    rules::rule(
        "self.matches('^[A-Z][A-Z0-9_]*$')",
        format!("'{field} \"' + self + '\" is no code; write it in capitals, such as MODEL_FORBIDDEN'"),
    )
}
