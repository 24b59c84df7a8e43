//! Between the status as it is stored and the values that decisions are made of.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::core::digest::Digest;
use crate::core::handover::Handover;
use crate::core::lifecycle::{Notices, Record, Revocation};
use crate::core::rotation::{Version, VersionState, Versions};
use crate::core::usage::VersionUse;
use crate::resources::apikey::{self, ApiKeyStatus, OldVersionNotice, VersionDelivery, VersionStatus};
use crate::resources::notices::{BudgetNotice, told};

/// The status holds something that nobody but Keyturn writes, and that Keyturn does not write.
#[derive(Debug, thiserror::Error)]
#[error("status.versions[{number}].digest is not 64 hexadecimal characters; restore the status from a backup")]
pub(in crate::controller) struct DigestError {
    number: u32,
}

/// What decisions rest on.
pub(super) fn read(status: Option<&ApiKeyStatus>) -> Result<Record, DigestError> {
    let Some(status) = status else { return Ok(Record::default()) };
    let versions = status.versions.iter().map(version).collect::<Result<_, _>>()?;
    let arc = |text: &Option<String>| text.as_deref().map(Arc::from);
    Ok(Record {
        id: arc(&status.id),
        versions: Versions::new(versions),
        rotation_request: arc(&status.rotation_request),
        last_rotated_at: status.last_rotated_at.as_ref().map(|at| at.0),
        revocation: status.revocation.as_ref().map(|it| Revocation { at: it.at.0, reversible: it.reversible }),
        secret_name: status.secret_ref.as_ref().map(|secret| secret.name.as_str().into()),
        usage: status.usage.as_ref().map(|usage| usage.uid.as_str().into()),
        notices: notices(status.notices.as_ref()),
    })
}

fn version(stored: &VersionStatus) -> Result<Version, DigestError> {
    Ok(Version {
        number: stored.number,
        digest: Digest::from_hex(&stored.digest).ok_or(DigestError { number: stored.number })?,
        pepper: stored.pepper.as_str().into(),
        start: stored.start.as_str().into(),
        minted_at: stored.minted_at.0,
        state: match stored.state {
            apikey::VersionState::Staged => VersionState::Staged,
            apikey::VersionState::Current => VersionState::Current,
            apikey::VersionState::Grace => VersionState::Grace,
            apikey::VersionState::Retired => VersionState::Retired,
        },
        not_after: stored.not_after.as_ref().map(|at| at.0),
        superseded_at: stored.superseded_at.as_ref().map(|at| at.0),
        request: stored.request.as_deref().map(Into::into),
        handover: handover(stored),
    })
}

fn handover(stored: &VersionStatus) -> Option<Handover> {
    let until = stored.deliver_by.as_ref().map(|at| at.0);
    Some(match (stored.delivery?, &stored.sealed) {
        (VersionDelivery::Done, _) => Handover::Done,
        (VersionDelivery::Pending, None) => Handover::InSecret { until },
        // Keyturn writes no such text without an end.
        (VersionDelivery::Pending, Some(text)) => {
            Handover::Sealed { text: text.as_str().into(), until: until.unwrap_or(stored.minted_at.0) }
        }
    })
}

fn notices(stored: Option<&apikey::Notices>) -> Notices {
    let Some(stored) = stored else { return Notices::default() };
    let used = |version: &OldVersionNotice| VersionUse { number: version.number, at: version.last_used_at.0 };
    Notices {
        expiry: stored.expires_at.as_ref().map(|at| at.0),
        uses: stored.old_versions.iter().map(used).collect(),
        budgets: told(&stored.budgets).into(),
    }
}

/// As they are stored.
pub(super) fn stored_notices(notices: &Notices) -> Option<apikey::Notices> {
    let used = |last: &VersionUse| OldVersionNotice { number: last.number, last_used_at: Time(last.at) };
    let stored = apikey::Notices {
        expires_at: notices.expiry.map(Time),
        old_versions: notices.uses.iter().map(used).collect(),
        budgets: notices.budgets.iter().map(BudgetNotice::from).collect(),
    };
    (stored != apikey::Notices::default()).then_some(stored)
}

/// As it is stored.
pub(super) fn stored_versions(versions: &Versions) -> Vec<VersionStatus> {
    versions
        .iter()
        .map(|version| VersionStatus {
            number: version.number,
            digest: version.digest.to_hex(),
            pepper: version.pepper.to_string(),
            start: version.start.to_string(),
            minted_at: Time(version.minted_at),
            state: match version.state {
                VersionState::Staged => apikey::VersionState::Staged,
                VersionState::Current => apikey::VersionState::Current,
                VersionState::Grace => apikey::VersionState::Grace,
                VersionState::Retired => apikey::VersionState::Retired,
            },
            superseded_at: version.superseded_at.map(Time),
            request: version.request.as_deref().map(Into::into),
            not_after: version.not_after.map(Time),
            delivery: version.handover.as_ref().map(|handover| match handover {
                Handover::Done => VersionDelivery::Done,
                Handover::InSecret { .. } | Handover::Sealed { .. } => VersionDelivery::Pending,
            }),
            deliver_by: version.handover.as_ref().and_then(Handover::until).map(Time),
            sealed: match &version.handover {
                Some(Handover::Sealed { text, .. }) => Some(text.to_string()),
                _ => None,
            },
        })
        .collect()
}
