//! The resources that an API knows.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::core::acceptance::Rejection;
use crate::core::resource::{Catalog, Entry};
use crate::core::verdict::Code;
use crate::resources::{defaults, parse, rules};

/// The resources of one kind.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCatalog {
    /// Kind of resource, as routes name it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::resource_kind("spec.resourceCatalogs[].kind"))]
    pub kind: String,
    /// Whether a request to a route with this kind must name a resource. false lets one that names none pass,
    /// whatever its key may use: right where the backend then uses something that everybody may.
    #[serde(default)]
    pub required: bool,
    /// Code of a refusal, such as MODEL_FORBIDDEN. Absent: made from the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = code("spec.resourceCatalogs[].denyCode"))]
    #[x_kube(validation = not_ours("spec.resourceCatalogs[].denyCode"))]
    pub deny_code: Option<String>,
    /// A request's value must be the id, else the name, else the group of one of these. A key's patterns may be of
    /// any of the three. What several bear, such as a model that two runtimes serve, is judged by itself.
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

impl ResourceCatalog {
    pub(super) fn parse(&self) -> Result<Catalog, Rejection> {
        if let Some(code) = self.deny_code.as_deref()
            && (!is_code(code) || code.parse::<Code>().is_ok())
        {
            let field = format!("spec.resourceCatalogs[{}].denyCode", self.kind);
            let cause = format_args!("{code:?} is no code of your own; write one in capitals, such as MODEL_FORBIDDEN");
            return Err(parse::invalid(&field, cause));
        }
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let entries = self.entries.iter().map(|entry| Entry {
            id: entry.id.as_str().into(),
            name: text(&entry.name),
            group: text(&entry.group),
            enabled: entry.enabled,
        });
        Ok(Catalog::new(self.required, text(&self.deny_code), entries.collect()))
    }
}

fn is_code(text: &str) -> bool {
    let capital = |byte: u8| byte.is_ascii_uppercase();
    text.bytes().next().is_some_and(capital) && text.bytes().all(|b| capital(b) || b.is_ascii_digit() || b == b'_')
}

/// A code that already means something else would be answered with the wrong status.
fn not_ours(field: &str) -> kube::core::Rule {
    let ours = Code::ALL.map(|code| format!("'{}'", code.as_str())).join(", ");
    rules::rule(
        format!("!(self in [{ours}])"),
        format!(
            "'{field} \"' + self + '\" is a code with a meaning of its own; choose another, such as MODEL_FORBIDDEN'"
        ),
    )
}

pub(super) fn code(field: &str) -> kube::core::Rule {
    rules::rule(
        "self.matches('^[A-Z][A-Z0-9_]*$')",
        format!("'{field} \"' + self + '\" is no code; write it in capitals, such as MODEL_FORBIDDEN'"),
    )
}
