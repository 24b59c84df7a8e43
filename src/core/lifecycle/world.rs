//! What is there: everything that the next step of a key depends on, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::notice::Notices;
use crate::core::acceptance::{Accepted, Rejection};
use crate::core::digest::Digest;
use crate::core::ledger::Ledger;
use crate::core::policy::Key;
use crate::core::rotation::{Version, VersionState, Versions};
use crate::core::usage::VersionUse;
use crate::core::usage::object::UsageObject;

/// Everything that the next step depends on.
#[derive(Debug)]
pub struct World<'a> {
    pub key: &'a Key,
    pub acceptance: &'a Result<Accepted, Rejection>,
    /// The ApiKey's status.
    pub record: Record,
    /// What is there under the name that the manifest gives to the Secret.
    pub secret: Secret,
    /// Secrets of this key under other names: it was given a new one.
    pub moved_secrets: Vec<MovedSecret>,
    /// What the hash of an imported key brings into the status, as long as there is no version.
    pub import: Option<Minted>,
    /// Versions whose pepper is not the active one and whose strings are at hand.
    pub redigested: Vec<Redigested>,
    /// The pepper of the current version, if it is lost: verifiers cannot recognise the string.
    pub lost_pepper: Option<Arc<str>>,
    /// Staged Secrets of this key.
    pub staged: Vec<StagedSecret>,
    /// The ApiKeyUsage of this key.
    pub usage: UsageObject,
    /// When versions were used last, where [`super::concerns_last_use`] says that it matters.
    pub last_uses: Vec<VersionUse>,
    /// What was handed out of its quotas and credits, where there may be something to tell of them.
    pub ledger: Option<Arc<Ledger>>,
    /// What this very run has sealed, which is stored nowhere yet.
    pub sealed: Option<SealedString>,
    /// Why no string can be handed out as the manifest says.
    pub obstacle: Option<Obstacle>,
    /// Versions whose readers have said that they have the string.
    pub acknowledged: Vec<u32>,
    /// Whether the API lets keys be brought back that are revoked now.
    pub reversible_revocation: bool,
    /// Whether every living judging process has applied the ApiKey as it is stored now.
    pub known_to_verifiers: bool,
    /// How long this controller has waited for them, by a clock that nobody sets.
    pub waited: Duration,
}

/// The part of the status that decisions rest on.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Record {
    /// Random, public name of the key; given with the first version.
    pub id: Option<Arc<str>>,
    pub versions: Versions,
    /// The rotation request that was answered last.
    pub rotation_request: Option<Arc<str>>,
    pub last_rotated_at: Option<Timestamp>,
    pub revocation: Option<Revocation>,
    /// Name of the Secret that holds the string.
    pub secret_name: Option<Arc<str>>,
    /// Uid of the ApiKeyUsage; its name follows from the key's uid.
    pub usage: Option<Arc<str>>,
    pub notices: Notices,
}

/// A revocation as the controller recorded it; from then on it is permanent unless reversible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revocation {
    pub at: Timestamp,
    pub reversible: bool,
}

/// What is known of a Secret.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Secret {
    Absent,
    /// Made by somebody else, or for another key; never touched.
    Foreign,
    /// Nobody's, but written for this very key, whose status was lost since: the proof in it holds.
    Restored(Restored),
    Ours {
        /// Versions whose strings it holds, in any data key.
        holds: Vec<u32>,
        /// The version for which all of it (labels, owner, data) is as it should be.
        in_order_for: Option<u32>,
        /// What has to change in it cannot be written: its type, or anything after it was made immutable.
        fixed: bool,
    },
}

impl Secret {
    pub(super) fn holds(&self, number: u32) -> bool {
        matches!(self, Self::Ours { holds, .. } if holds.contains(&number))
    }

    pub(super) fn is_fixed(&self) -> bool {
        matches!(self, Self::Ours { fixed: true, .. })
    }

    pub(super) fn is_in_order_for(&self, number: u32) -> bool {
        matches!(self, Self::Ours { in_order_for: Some(published), .. } if *published == number)
    }
}

/// The string of a key that came back from a backup without its status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restored {
    pub number: u32,
    /// `id` is the key's own.
    pub minted: Minted,
}

/// What the active pepper makes of a version's string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redigested {
    pub number: u32,
    pub digest: Digest,
    pub pepper: Arc<str>,
}

/// A Secret under a name that the manifest no longer says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MovedSecret {
    pub name: Arc<str>,
    /// Versions whose strings it holds.
    pub holds: Vec<u32>,
}

/// A Secret that holds a string before users may see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StagedSecret {
    pub number: u32,
    /// `None`: it holds no string.
    pub digest: Option<Digest>,
    /// Made by this very run of the controller, which alone may turn it into a version.
    pub fresh: Option<Minted>,
}

/// A string that nobody but the holder of a private key can read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedString {
    pub number: u32,
    pub minted: Minted,
    /// As `status.versions[].sealed` holds it.
    pub text: Arc<str>,
}

/// Something in the manifest that no schema can refuse and that keeps strings from being handed out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Obstacle {
    /// CamelCase, for programs.
    pub reason: &'static str,
    /// Names field, value and remedy.
    pub message: String,
}

/// What a new string brings into the status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Minted {
    pub digest: Digest,
    pub pepper: Arc<str>,
    pub start: Arc<str>,
    pub at: Timestamp,
    /// Used where the key has no id yet.
    pub id: Arc<str>,
}

impl Minted {
    /// The version of that number as it begins, asked for by nobody and handed over to nobody.
    pub(super) fn staged(&self, number: u32) -> Version {
        Version {
            number,
            digest: self.digest,
            pepper: Arc::clone(&self.pepper),
            start: Arc::clone(&self.start),
            minted_at: self.at,
            state: VersionState::Staged,
            not_after: None,
            superseded_at: None,
            request: None,
            handover: None,
        }
    }
}
