//! What comes of looking at a key: the next step, and what to tell people.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::world::{Obstacle, Record};
use crate::core::acceptance::Rejection;
use crate::core::ledger::low::Low;

/// One write, or a wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Draw a string and create a staged Secret for this number; never overwrite one.
    Stage {
        number: u32,
    },
    /// Draw a string and seal it to the caller's public key; nothing is written yet.
    Seal {
        number: u32,
    },
    /// Create a staged Secret with the string of this version, which is in use.
    KeepBeside {
        number: u32,
    },
    /// Create the ApiKeyUsage, or find that it is there.
    CreateUsage,
    /// Write the status. The event tells why, where people should hear of it.
    Record {
        record: Record,
        event: Option<Event>,
    },
    /// Until [`super::World::known_to_verifiers`], but no longer than this.
    AwaitVerifiers {
        at_most: Duration,
    },
    /// Make the Secret hold this version and nothing but what the manifest says.
    Publish {
        number: u32,
        event: Option<Event>,
    },
    /// Delete a Secret of this key.
    DeleteSecret {
        name: Arc<str>,
    },
    DeleteStaged {
        number: u32,
    },
}

/// Something that happened to a key, for `kubectl describe`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    Minted {
        number: u32,
    },
    /// The string was taken over from a Secret or by its hash.
    Imported {
        number: u32,
    },
    /// The string, its number and the id were taken over from a Secret that outlived the status.
    Adopted {
        number: u32,
    },
    RotationStarted {
        number: u32,
        cause: Cause,
    },
    Rotated {
        number: u32,
    },
    GraceCut {
        number: u32,
    },
    GraceEnded {
        number: u32,
    },
    StagedLost {
        number: u32,
    },
    /// Some verifier lives but has not caught up in [`super::LONGEST_WAIT`].
    VerifiersBehind {
        number: u32,
    },
    SecretCorrected {
        number: u32,
    },
    /// The reader has acknowledged the string or removed its Secret.
    Delivered {
        number: u32,
    },
    /// Nobody has acknowledged the string in time.
    DeliveryTimedOut {
        number: u32,
    },
    Revoked {
        reversible: bool,
    },
    /// A reversible revocation was taken back.
    Reinstated,
    /// The key expires at that instant, less than [`super::EXPIRY_NOTICE`] from now.
    ExpiresSoon {
        at: Timestamp,
    },
    /// A superseded version was used at `last`, shortly before `end`, from which on it is refused.
    OldVersionInUse {
        number: u32,
        last: Timestamp,
        end: Timestamp,
    },
    /// Little or nothing is left of a quota or of the credits.
    LowBudget(Low),
}

/// Why a version is superseded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    Schedule,
    Request,
    SecretLost,
    PepperLost,
}

/// For people and columns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    Pending,
    Active,
    Rotating,
    Disabled,
    Expired,
    Revoked,
    Rejected,
}

/// Whether the string is where it should be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretState {
    Synced,
    /// In the Secret, until it is acknowledged.
    Waiting,
    /// In the Secret, unacknowledged, with three quarters of its predecessor's grace gone.
    Undelivered,
    /// In the status, sealed, until it is acknowledged.
    Sealed,
    /// Nowhere any more, as it should be.
    Delivered,
    /// The schedule asks for a new string, which only the holder of a private key can ask for.
    RotationDue,
    Pending,
    /// The string in it was lost or changed; the next version heals it.
    Lost,
    /// Taken away by a revocation.
    Deleted,
    NameTaken,
    /// No string can be handed out as the manifest says.
    Obstructed(Obstacle),
}

/// What the status tells besides the [`super::Record`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    pub state: State,
    /// `Err`: refused, by acceptance or because the Secret's name is taken.
    pub accepted: Result<(), Rejection>,
    pub secret: SecretState,
    /// The lost pepper for want of which the current version is refused.
    pub locked_out_by: Option<Arc<str>>,
    /// Uid of the ApiKeyUsage that is gone with what the key has spent, for want of which it is refused.
    pub usage_lost: Option<Arc<str>>,
    pub expires_at: Option<Timestamp>,
    pub next_rotation_at: Option<Timestamp>,
}

/// The next step, what to report, and when to look again if nothing else happens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    pub step: Option<Step>,
    pub report: Report,
    pub next_look: Option<Timestamp>,
}
