//! What an API offers, and what a request for it needs.

use kube::KubeSchema;
use kube::core::Rule;
use serde::{Deserialize, Serialize};

use crate::resources::rules;

/// A path with its methods, and what a request for it needs.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = public_needs_nothing())]
pub struct Route {
    /// Name of the route, for logs, usage and proxies that name it themselves.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::token("spec.routes[].name"))]
    pub name: String,
    /// Methods, in capitals. Empty: every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 64)), transform = rules::items(rules::method("spec.routes[].methods")))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub methods: Vec<String>,
    /// Path, such as `/v1/models/{model}/{*rest}`: `{model}` is one segment, `{*rest}` everything that follows,
    /// also nothing.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = path())]
    pub path: String,
    /// Scopes that a key needs, such as `docs.read AND (docs.write OR admin)`. Absent: any key will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub require: Option<String>,
    /// Credits that a request spends; 0 is free.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub cost: u32,
    /// Rate limits that a request charges besides those that are always charged, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rate_limits: Vec<RouteLimit>,
    /// Which resource a request is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<RouteResource>,
    /// Lets everybody pass; a key is ignored.
    #[serde(default)]
    pub public: bool,
}

/// A rate limit that a route charges.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteLimit {
    /// Name of a rate limit of the key or its tier.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What a request charges; 0 looks without charging.
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 1_000_000_000))]
    pub cost: u32,
}

/// Which resource a request is for.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteResource {
    /// Kind of resource, such as model.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::resource_kind("spec.routes[].resource.kind"))]
    pub kind: String,
    /// Where its name or id is; the first place that has one counts.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub from: Vec<ValueSource>,
}

/// One place in a request; exactly one member.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one_member())]
pub struct ValueSource {
    /// A parameter of the route's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub path: Option<String>,
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub header: Option<String>,
    /// A query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub query: Option<String>,
    /// A member of a JSON body, as a JSON pointer (RFC 6901) such as `/runtime_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::pointer("spec.routes[].resource.from[].body"))]
    pub body: Option<String>,
}

const fn one() -> u32 {
    1
}

fn path() -> Rule {
    rules::rule(
        "self.startsWith('/')",
        "'spec.routes[].path \"' + self + '\" does not begin with a slash; write it as /v1/models/{model}'",
    )
}

fn public_needs_nothing() -> Rule {
    rules::rule(
        "!self.public || !(has(self.require) || has(self.rateLimits) || has(self.resource))",
        "'spec.routes[] ' + self.name + ' is public, so nobody checks its require, rateLimits and resource; remove them or public'",
    )
}

fn exactly_one_member() -> Rule {
    Rule::new("[has(self.path), has(self.header), has(self.query), has(self.body)].filter(there, there).size() == 1")
        .message("spec.routes[].resource.from[] must have exactly one of path, header, query and body; write one entry for each place")
}
