//! What keys of other namespaces may claim.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::acceptance::Rejection;
use crate::core::grant;
use crate::core::scope::ScopeSet;
use crate::resources::{parse, rules, selector};

/// Lets some namespaces have keys, with no more than this. Grants do not add up: a key has to fit into one of them.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Name of the grant, for messages.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Whose keys it is for.
    pub from: GrantFrom,
    /// What their scopes may be, also those that the API gives by default; `*` matches any run of characters.
    /// Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    // A pattern instead of a rule: for 64 times 1,000 scopes the server finds a rule too expensive.
    #[schemars(length(max = 1000), inner(length(min = 1, max = 128), regex(pattern = rules::SCOPE)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub scopes: Vec<String>,
    /// Roles that they may have, with all that these come to. Empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)), transform = rules::items(rules::object_name("spec.grants[].roles")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub roles: Vec<String>,
    /// Tiers that they may have, also the one that the API gives by default; a key must have one of them. Empty:
    /// none.
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
    #[schemars(transform = selector::known_operators)]
    pub selector: LabelSelector,
}

/// Owners that may be claimed: Declared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Owners {
    Declared,
}

impl Grant {
    /// What the grant comes to.
    pub(super) fn parse(&self) -> Result<grant::Grant, Rejection> {
        let field = |field: &str| format!("spec.grants[{}].{field}", self.name);
        let names = |names: &[String]| names.iter().map(|name| Arc::from(name.as_str())).collect();
        Ok(grant::Grant {
            name: self.name.as_str().into(),
            from: selector::parse(&field("from.selector"), &self.from.selector)?,
            scopes: ScopeSet::new(parse::scopes(&field("scopes"), &self.scopes)?),
            roles: names(&self.roles),
            tiers: names(&self.tiers),
            owners: match self.owners {
                Some(Owners::Declared) => grant::Owners::Declared,
                None => grant::Owners::Nobody,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::scope::Scope;
    use crate::core::selector::Selector;

    fn parsed(grant: Value) -> Result<grant::Grant, Rejection> {
        serde_json::from_value::<Grant>(grant).unwrap().parse()
    }

    #[test]
    fn what_the_schema_should_have_refused_is_said_instead_of_used() {
        for (grant, expected) in [
            (
                json!({"name": "g", "from": {"selector": {}}, "scopes": ["docs.?"]}),
                "Invalid: spec.grants[g].scopes: \"docs.?\" is no scope; use 1 to 128 letters, digits and . _ - : * /",
            ),
            (
                json!({"name": "g", "from": {"selector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}}),
                "Invalid: spec.grants[g].from.selector.matchExpressions[0].operator: \"Is\" is none; write In, NotIn, Exists or DoesNotExist",
            ),
        ] {
            assert_eq!(parsed(grant).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn grants_nothing_that_it_does_not_name() {
        let bare = parsed(json!({"name": "g", "from": {"selector": {}}})).unwrap();
        assert_eq!(bare, grant::Grant { name: "g".into(), ..grant::Grant::default() });
        let full = json!({
            "name": "g", "from": {"selector": {}}, "scopes": ["docs.*"], "roles": ["reader"], "tiers": ["free"],
            "owners": "Declared",
        });
        let expected = grant::Grant {
            name: "g".into(),
            from: Selector::default(),
            scopes: ScopeSet::new([Scope::parse("docs.*").unwrap()]),
            roles: vec!["reader".into()],
            tiers: vec!["free".into()],
            owners: grant::Owners::Declared,
        };
        assert_eq!(parsed(full), Ok(expected));
    }
}
