//! Refusals told in an API's own way.

use std::sync::Arc;

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

use super::catalog;
use crate::core::acceptance::Rejection;
use crate::core::denials::{Denials, Wording};
use crate::core::verdict::Code;
use crate::resources::{parse, rules};

/// Status and text of your own for one code.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = says_something())]
pub struct Denial {
    /// The code, as callers are told it: REVOKED, or one of a resource, such as MODEL_FORBIDDEN.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = catalog::code("spec.denials[].code"))]
    #[x_kube(validation = has_an_api())]
    pub code: String,
    /// HTTP status, 400 to 599. Absent: the code's own. nginx needs `error_page` to tell it, Envoy tells no 5xx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 400, max = 599))]
    #[x_kube(validation = is_no_proxys_own())]
    pub status: Option<u16>,
    /// Sentence for the caller. Absent: the code's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub detail: Option<String>,
}

/// The status by which a proxy asks for a password of its own.
const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;

/// What an API says of its refusals. `is_told`: whether it answers with a code of that name at all.
pub(super) fn parse(denials: &[Denial], is_told: impl Fn(&str) -> bool) -> Result<Denials, Rejection> {
    let wording = |denial: &Denial| {
        let field = |name| format!("spec.denials[{}].{name}", denial.code);
        if denial.code == Code::ApiNotFound.as_str() || !is_told(&denial.code) {
            let cause = "this API answers with no such code; write one that it does, such as REVOKED";
            return Err(parse::invalid(&field("code"), cause));
        }
        if let Some(status) = denial.status
            && (!(400..=599).contains(&status) || status == PROXY_AUTHENTICATION_REQUIRED)
        {
            let cause = format_args!("{status} refuses nothing; make it 400 to 599, and not 407");
            return Err(parse::invalid(&field("status"), cause));
        }
        let code: Arc<str> = denial.code.as_str().into();
        Ok((code, Wording { status: denial.status, detail: denial.detail.as_deref().map(Into::into) }))
    };
    denials.iter().map(wording).collect()
}

fn says_something() -> Rule {
    rules::rule(
        "has(self.status) || has(self.detail)",
        "'spec.denials[] of ' + self.code + ' changes nothing; add status or detail, or remove it'",
    )
}

fn has_an_api() -> Rule {
    rules::rule(
        format!("self != '{}'", Code::ApiNotFound),
        "'spec.denials[].code ' + self + ' is answered where no API is known, so none can tell it otherwise; remove the entry'",
    )
}

fn is_no_proxys_own() -> Rule {
    Rule::new(format!("self != {PROXY_AUTHENTICATION_REQUIRED}"))
        .message("spec.denials[].status 407 has clients log in to their proxy; choose another, such as 401 or 403")
}

/// Of the whole spec: a code that nothing answers with is a slip of the pen. Which one, the server cannot afford to say.
pub(super) fn codes_are_told() -> Rule {
    let ours = Code::ALL.map(|code| format!("'{code}'")).join(", ");
    let of_resource = "d.code.endsWith('_NOT_FOUND') || d.code.endsWith('_FORBIDDEN')";
    let of_catalog =
        "(has(self.resourceCatalogs) && self.resourceCatalogs.exists(c, has(c.denyCode) && c.denyCode == d.code))";
    Rule::new(format!("!has(self.denials) || self.denials.all(d, d.code in [{ours}] || {of_resource} || {of_catalog})"))
        .message(
            "spec.denials[].code has one that this API does not answer with; write one of docs/ingress.md, such as REVOKED, or one of its resources",
        )
}
