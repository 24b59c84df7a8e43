//! An ApiKeyUsage: what was reserved and used. Written by Keyturn alone.

mod ledger;
mod merge;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::account::StoredAccount;

pub use ledger::LedgerError;

/// Nothing can be asked for.
#[derive(Clone, CustomResource, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[kube(
    group = "keyturn.dev",
    version = "v1alpha1",
    kind = "ApiKeyUsage",
    plural = "apikeyusages",
    namespaced,
    no_spec,
    status = "ApiKeyUsageStatus",
    derive = "PartialEq",
    category = "keyturn",
    doc = "An ApiKeyUsage counts for one ApiKey or ApiKeyOwner. Keyturn writes it; deleting it refills nothing.",
    printcolumn(name = "Today", type_ = "integer", json_path = ".status.usage.requests.today"),
    printcolumn(name = "This month", type_ = "integer", json_path = ".status.usage.requests.thisMonth"),
    printcolumn(name = "Total", type_ = "integer", json_path = ".status.usage.requests.total"),
    printcolumn(name = "Last used", type_ = "date", json_path = ".status.usage.lastUsedAt"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyUsageSpec {}

/// What was reserved and used.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyUsageStatus {
    /// What was handed out of quotas and credits: their durable truth.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(
        vec!["kind".into(), "name".into(), "period".into(), "epoch".into()]
    ))]
    pub ledger: Vec<LedgerEntry>,
    /// What was used, merged from all verifiers at a bounded rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

/// What was handed out of one quota in one period, or of the credits in one epoch.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// What was handed out.
    #[serde(flatten)]
    pub account: StoredAccount,
    /// Sum that was handed out to verifiers.
    #[schemars(range(min = 0, max = 9_000_000_000_000_000_i64))]
    pub reserved: u64,
    /// Sum that was added by refills.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_000_000_000_000_000_i64))]
    pub refilled: Option<u64>,
    /// Until when refills are counted here: one that is due later is added by whoever reserves next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refilled_at: Option<Time>,
}

/// What was used.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// When the last request was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
    /// Client address of that request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub last_used_from: Option<String>,
    /// Allowed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Requests>,
    /// Refused requests, by code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub denied: BTreeMap<String, u64>,
    /// Bytes, where the proxy reports them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// The routes with most requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["route".into()]))]
    pub top_endpoints: Vec<EndpointUsage>,
    /// Use of each version: whether the previous one can go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["number".into()]))]
    pub versions: Vec<VersionUsage>,
}

/// Counts of requests; days and months in UTC.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// On the day of the last request.
    #[serde(default)]
    pub today: u64,
    /// In the month of the last request.
    #[serde(default)]
    pub this_month: u64,
    /// Ever.
    #[serde(default)]
    pub total: u64,
}

/// Bytes; days and months in UTC.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bandwidth {
    /// The day of the last request that was reported: that of `today`.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub day: String,
    /// On that day.
    #[serde(default)]
    pub today: Bytes,
    /// In the month of that day.
    #[serde(default)]
    pub this_month: Bytes,
    /// Ever.
    #[serde(default)]
    pub total: Bytes,
}

/// Bytes in both directions.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Bytes {
    /// From the client.
    #[serde(default)]
    pub in_bytes: u64,
    /// To the client.
    #[serde(default)]
    pub out_bytes: u64,
}

/// Requests of one route.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointUsage {
    /// Name of the route.
    #[schemars(length(min = 1, max = 253))]
    pub route: String,
    /// Allowed requests.
    #[serde(default)]
    pub requests: u64,
}

/// Use of one version.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionUsage {
    /// Number of the version.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub number: u32,
    /// When the last request with it was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Time>,
}
