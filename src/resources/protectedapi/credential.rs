//! Where a request carries its key.

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

use crate::resources::rules;

/// One place: a header, with or without a scheme before the key, or a query parameter.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_place())]
#[x_kube(validation = scheme_with_header_only())]
pub struct Credential {
    /// Name of the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::token("spec.credentials[].header"))]
    pub header: Option<String>,
    /// Word before the key in the header, such as Bearer. With `header` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::token("spec.credentials[].scheme"))]
    pub scheme: Option<String>,
    /// Name of the query parameter. Addresses end up in logs: prefer a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::token("spec.credentials[].query"))]
    pub query: Option<String>,
}

fn exactly_one_place() -> Rule {
    Rule::new("has(self.header) != has(self.query)")
        .message("spec.credentials[] must have a header or a query, and not both; write one entry for each place")
}

fn scheme_with_header_only() -> Rule {
    rules::rule(
        "!has(self.scheme) || has(self.header)",
        "'spec.credentials[].scheme ' + self.scheme + ' has no header to stand in; add header or remove scheme'",
    )
}
