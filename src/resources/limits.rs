//! Rate limits and quotas, as keys, tiers and owners spell them.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::rules;

/// At most `limit` requests in any window of the given length.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// Name under which routes charge it and answers report it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::token("rateLimits[].name"))]
    pub name: String,
    /// Requests, or units of cost, that one window admits.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub limit: u32,
    /// Length of the sliding window, 1s to 720h.
    #[x_kube(validation = rules::between("rateLimits[].window", 1_000, 720 * 3_600_000, "is out of range; make it 1s to 720h"))]
    pub window: Duration,
    /// Charge it on every request. Otherwise only on routes that name it.
    #[serde(default)]
    pub auto_apply: bool,
}

/// At most `limit` requests in one calendar period, UTC.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quota {
    /// Name under which answers report it.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::token("quotas[].name"))]
    pub name: String,
    /// Requests that one period admits.
    #[schemars(range(min = 1, max = 1_000_000_000_000_000_i64))]
    pub limit: u64,
    /// The calendar period: Day or Month. It begins at midnight UTC.
    pub period: Period,
}

/// A calendar period in UTC: Day or Month.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Period {
    #[default]
    Day,
    Month,
}
