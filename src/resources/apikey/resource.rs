//! Which resources, such as models, a key may use.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::resources::rules;

/// Names, ids and globs (`*` and `?`) of one kind of resource. What is denied wins.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAccess {
    /// Kind of resource, as the API's routes name it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::resource_kind("spec.resources[].kind"))]
    pub kind: String,
    /// What the key may use. Empty: all that is not denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow: Vec<String>,
    /// What the key may not use, allowed or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 128)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub deny: Vec<String>,
}
