//! An ApiKeyRole: a named set of scopes.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::condition::ObjectStatus;
use super::{parse, rules};
use crate::core::acceptance::Rejection;
use crate::core::policy;

/// Scopes under one name.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ApiKeyRole",
    namespaced,
    status = "ObjectStatus",
    derive = "PartialEq",
    category = "keyturn",
    doc = "An ApiKeyRole is a named set of scopes that keys of APIs in its namespace can have.",
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(name = "Accepted", type_ = "string", json_path = ".status.conditions[?(@.type==\"Accepted\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Scopes", type_ = "string", json_path = ".spec.scopes", priority = 1)
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyRoleSpec {
    /// What the role is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// What keys with the role may do; `*` matches any run of characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 128)), transform = rules::items(rules::scope("spec.scopes")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,
}

impl ApiKeyRole {
    /// What the role comes to.
    ///
    /// # Errors
    /// A value that the schema should have refused.
    pub fn parse(&self) -> Result<policy::Role, Rejection> {
        Ok(policy::Role { scopes: parse::scopes("spec.scopes", &self.spec.scopes)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::scope::Scope;

    fn role(scopes: &[&str]) -> ApiKeyRole {
        let scopes = scopes.iter().map(ToString::to_string).collect();
        ApiKeyRole::new("reader", ApiKeyRoleSpec { description: None, scopes })
    }

    #[test]
    fn refuses_what_is_no_scope_and_keeps_what_is() {
        let refused = role(&["docs.read", "a b"]).parse().unwrap_err();
        assert!(refused.message.starts_with("spec.scopes: \"a b\" is no scope"), "{refused}");
        let parsed = role(&["docs.read", "docs.*"]).parse().unwrap();
        let scopes: Vec<&str> = parsed.scopes.iter().map(Scope::as_str).collect();
        assert_eq!(scopes, ["docs.read", "docs.*"]);
    }
}
