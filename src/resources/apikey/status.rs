//! What Keyturn says about a key. Written by the controller; instants are whole seconds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::metadata::Metadata;
use crate::resources::notices::BudgetNotice;
use crate::resources::references::{SecretKeyRef, UsageRef};

/// What became of an ApiKey.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiKeyStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Public name of the key, minted once and at random; the same in the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub id: Option<String>,
    /// Pending, Active, Rotating, Disabled, Expired, Revoked or Rejected, for people and columns; programs read
    /// the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<KeyState>,
    /// Prefix and first four characters of the current string.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub start: Option<String>,
    /// What was minted, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["number".into()]))]
    pub versions: Vec<VersionStatus>,
    /// Id of the last rotation request that was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub rotation_request: Option<String>,
    /// When the key was last rotated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotated_at: Option<Time>,
    /// When the schedule will rotate the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_at: Option<Time>,
    /// When the key expires, with everything that it inherits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Where the string is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// The ApiKeyUsage that counts for this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageRef>,
    /// What events have told of already, so that they tell it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<Notices>,
    /// That and when the key was revoked. Once it says that it is not reversible, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// Accepted, Ready, SecretSynced, Enforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The last changes, newest first; all of them are in the audit log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub history: Vec<HistoryEntry>,
    /// The spec that the history tells of last, so that the next entry can say what has changed since; large
    /// members as their hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited_spec: Option<Metadata>,
}

/// What events have told of.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notices {
    /// The expiry that ExpiresSoon was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The versions that OldVersionInUse was about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["number".into()]))]
    pub old_versions: Vec<OldVersionNotice>,
    /// The quotas and credits of which was told that little or nothing is left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(
        vec!["kind".into(), "name".into(), "period".into(), "epoch".into()]
    ))]
    pub budgets: Vec<BudgetNotice>,
}

/// An old version of which was told that it is still in use.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OldVersionNotice {
    /// Number of the version.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub number: u32,
    /// The last use that was told.
    pub last_used_at: Time,
}

/// A key in one word.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum KeyState {
    #[default]
    Pending,
    Active,
    Rotating,
    Disabled,
    Expired,
    Revoked,
    Rejected,
}

/// One minted string of a key.
#[derive(Clone, Debug, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// 1 for the first string, one more for each that follows.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub number: u32,
    /// HMAC-SHA-256(pepper, SHA-256(string)) in hexadecimal.
    #[schemars(length(max = 253))]
    pub digest: String,
    /// Name of the pepper that the digest was made with.
    #[schemars(length(max = 253))]
    pub pepper: String,
    /// Prefix and first four characters of the string.
    #[schemars(length(max = 253))]
    pub start: String,
    /// When the string was minted.
    pub minted_at: Time,
    /// Staged: accepted, not handed out yet. Current: handed out. Grace: accepted until `notAfter`. Retired:
    /// refused.
    pub state: VersionState,
    /// When its successor became Current; the grace period counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_at: Option<Time>,
    /// Id of the rotation request that this version answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub request: Option<String>,
    /// The version is refused from this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// With delivery Once and Sealed: Pending until the string was acknowledged or its time ran out, then Done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<VersionDelivery>,
    /// With delivery Once and Sealed: when the string is removed although nobody has acknowledged it. Absent: it
    /// stays until somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_by: Option<Time>,
    /// With delivery Sealed: the string, readable by the holder of the private key only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub sealed: Option<String>,
}

/// Where a version stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VersionState {
    #[default]
    Staged,
    Current,
    Grace,
    Retired,
}

/// Whether a version's string has reached its reader.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum VersionDelivery {
    #[default]
    Pending,
    Done,
}

/// A revocation.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// When it took effect here.
    pub at: Time,
    /// Whether `spec.revoked: false` brings the key back; the API's setting of that moment.
    pub reversible: bool,
}

/// A change to a key.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When.
    pub at: Time,
    /// Who.
    #[schemars(length(max = 253))]
    pub actor: String,
    /// Policy: the API server has authenticated the actor. FieldManager: the client calls itself so. Keyturn: it was
    /// Keyturn itself. Unknown: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub actor_source: Option<String>,
    /// From which address, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub from: Option<String>,
    /// What was done.
    #[schemars(length(max = 253))]
    pub action: String,
    /// What exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub detail: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let written = json!({
            "observedGeneration": 3,
            "id": "key_4fJ2",
            "state": "Rotating",
            "start": "sk_live_a1b2",
            "versions": [
                {
                    "number": 2, "digest": "ab", "pepper": "p1", "start": "sk_live_a1b2",
                    "mintedAt": "2026-11-22T10:00:00Z", "state": "Current", "request": "leak",
                },
                {
                    "number": 1, "digest": "cd", "pepper": "p1", "start": "sk_live_c3d4",
                    "mintedAt": "2026-10-22T10:00:00Z", "state": "Grace", "delivery": "Pending",
                    "deliverBy": "2026-10-22T11:00:00Z",
                    "supersededAt": "2026-11-22T10:00:01Z", "notAfter": "2026-11-23T10:00:01Z", "sealed": "x",
                },
            ],
            "rotationRequest": "leak",
            "lastRotatedAt": "2026-11-22T10:00:01Z",
            "nextRotationAt": "2027-02-20T10:00:01Z",
            "expiresAt": "2027-11-22T00:00:00Z",
            "secretRef": {"name": "ci-runner", "key": "api-key"},
            "usage": {"name": "key-u1", "uid": "u2"},
            "notices": {
                "expiresAt": "2027-11-22T00:00:00Z",
                "oldVersions": [{"number": 1, "lastUsedAt": "2026-11-23T09:00:00Z"}],
                "budgets": [{
                    "kind": "Credits", "name": "", "period": "", "epoch": 1, "limit": 100, "reserved": 95,
                }],
            },
            "revocation": {"at": "2026-11-22T11:00:00Z", "reversible": false},
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "Minted", "message": "", "observedGeneration": 3,
                "lastTransitionTime": "2026-11-22T10:00:01Z",
            }],
            "history": [{
                "at": "2026-11-22T11:00:00Z", "actor": "alice", "actorSource": "Policy", "action": "Revoked",
            }],
            "auditedSpec": {"enabled": true, "tier": null},
        });
        let read: ApiKeyStatus = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
        assert_eq!(serde_json::to_value(ApiKeyStatus::default()).unwrap(), json!({}));
    }
}
