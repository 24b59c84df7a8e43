//! How one object names another.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Names the ProtectedApi that a key belongs to.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiRef {
    /// Name of the ProtectedApi.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("spec.apiRef.name"))]
    pub name: String,
    /// Namespace of the ProtectedApi. Defaults to the key's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("spec.apiRef.namespace"))]
    pub namespace: Option<String>,
}

/// Names one data key of a Secret in the same namespace.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Data key that holds the string.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Names the ApiKeyUsage that belongs to an object.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageRef {
    /// Name of the ApiKeyUsage.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Uid of the ApiKeyUsage: one that was deleted and made again is not trusted.
    #[schemars(length(min = 1, max = 253))]
    pub uid: String,
}
