//! From an ApiKey as the API server holds it to what the index needs of it. Whatever cannot be read is left out
//! or refused: nothing is ever accepted because it was unclear.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource as _;

use crate::core::acceptance::{Reason, Rejection};
use crate::core::digest::Digest;
use crate::core::policy::ObjectName;
use crate::core::rotation::VersionState;
use crate::resources::ApiKey;
use crate::resources::apikey::{self, VersionStatus};
use crate::resources::condition::ACCEPTED;
use crate::verify::index::{KeyRecord, KeyVersion};

/// The only refusals that a verifier cannot find out by itself and takes the controller's word for.
const REFUSED_BY_CONTROLLER: [Reason; 2] = [Reason::SecretNameTaken, Reason::KeyLimitReached];

/// The record of one ApiKey.
pub(super) fn key_record(name: ObjectName, key: &ApiKey) -> KeyRecord {
    let status = key.status.as_ref();
    let metadata = key.meta();
    // Without a time or uid it is no object of an API server; of two keys with one string it would be the younger.
    let created_at = metadata.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0);
    KeyRecord {
        name,
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        created_at,
        key: key.parse(),
        id: status.and_then(|status| status.id.clone()),
        usage: status.and_then(|status| status.usage.as_ref()).map(|usage| usage.uid.clone()),
        versions: status.map_or(&[][..], |status| &status.versions).iter().filter_map(version).collect(),
        revoked_for_good: status
            .and_then(|status| status.revocation.as_ref())
            .is_some_and(|revocation| !revocation.reversible),
        refused_by_controller: refusal(status.map_or(&[], |status| &status.conditions)),
    }
}

fn version(version: &VersionStatus) -> Option<KeyVersion> {
    let state = match version.state {
        apikey::VersionState::Staged => VersionState::Staged,
        apikey::VersionState::Current => VersionState::Current,
        apikey::VersionState::Grace => VersionState::Grace,
        apikey::VersionState::Retired => VersionState::Retired,
    };
    let not_after = version.not_after.as_ref().map(|time| time.0);
    Some(KeyVersion { number: version.number, digest: Digest::from_hex(&version.digest)?, state, not_after })
}

fn refusal(conditions: &[Condition]) -> Option<Rejection> {
    let condition = conditions.iter().find(|condition| condition.type_ == ACCEPTED && condition.status == "False")?;
    let reason = REFUSED_BY_CONTROLLER.into_iter().find(|reason| reason.as_str() == condition.reason)?;
    Some(Rejection::new(reason, condition.message.clone()))
}
