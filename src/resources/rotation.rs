//! When keys are rotated, as keys, tiers and APIs spell it.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::duration::Duration;
use super::rules;

/// A schedule that keys inherit.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::grace_within_interval())]
pub struct Schedule {
    /// Time from one rotation to the next, at least 1m. Absent: no schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least("rotation.interval", "1m"))]
    pub interval: Option<Duration>,
    /// How long the previous version lives on after a rotation; shorter than `interval`. Absent: the lesser of
    /// 24h and half the interval. 0s: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
}

/// A key's own schedule, and rotation on demand.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::grace_within_interval())]
#[x_kube(validation = rules::request_grace_within_interval())]
pub struct KeyRotation {
    /// Time from one rotation to the next, at least 1m. Absent: the tier's or the API's, else no schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::at_least("rotation.interval", "1m"))]
    pub interval: Option<Duration>,
    /// How long the previous version lives on after a rotation; shorter than `interval`. Absent: the tier's or
    /// the API's, else the lesser of 24h and half the interval. 0s: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
    /// Rotates once, now, whenever its id is a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RotationRequest>,
}

/// A rotation on demand.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationRequest {
    /// Any text; one that differs from `status.rotationRequest` rotates the key once. The id that is present
    /// when the key is first minted counts as done.
    #[schemars(length(min = 1, max = 253))]
    pub id: String,
    /// How long the previous version lives on after this rotation only. 0s when the key has leaked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_period: Option<Duration>,
}
