//! What is written down about a key: who changed what, and when. Decides what there is to tell; who writes it is the
//! controller.
//!
//! ```text
//!  spec, as last told of ─► edit ─┐
//!                                 ├─► entries ─► outbox ─► lines, and status.history
//!  record before, after ──► life ─┘
//! ```
//!
//! A line is written before the status that it belongs to, so none is lost to a crash; the status remembers of which
//! spec the last line told, so none is written twice without one.

pub mod actor;
pub mod edit;
pub mod kept;
pub mod life;
mod line;
pub mod outbox;
pub mod undone;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use actor::{Actor, ActorSource};
pub use line::line;

/// Entries that `status.history` holds at the most.
pub const HISTORY: usize = 8;

/// What was done to a key. The names are an interface: programs read them in the audit log.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Action {
    Created,
    Changed,
    RotationRequested,
    Disabled,
    Enabled,
    Revoked,
    Reinstated,
    Deleted,
    Minted,
    Imported,
    Adopted,
    Rotated,
    Retired,
    Delivered,
    DeliveryTimedOut,
    Expired,
    /// What an earlier line told has not come about.
    Withdrawn,
}

impl Action {
    /// As lines and the history spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Changed => "Changed",
            Self::RotationRequested => "RotationRequested",
            Self::Disabled => "Disabled",
            Self::Enabled => "Enabled",
            Self::Revoked => "Revoked",
            Self::Reinstated => "Reinstated",
            Self::Deleted => "Deleted",
            Self::Minted => "Minted",
            Self::Imported => "Imported",
            Self::Adopted => "Adopted",
            Self::Rotated => "Rotated",
            Self::Retired => "Retired",
            Self::Delivered => "Delivered",
            Self::DeliveryTimedOut => "DeliveryTimedOut",
            Self::Expired => "Expired",
            Self::Withdrawn => "Withdrawn",
        }
    }
}

/// What tells a change from others of its action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Subject {
    /// It happens once in the life of a key.
    Key,
    /// The spec's generation.
    Generation(i64),
    /// A version's number.
    Version(u32),
    Instant(Timestamp),
    /// What an earlier line has told.
    Told(String),
}

/// One field of the spec that an edit has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// JSON pointer into the spec.
    pub path: String,
    /// `None`: it was not there.
    pub before: Option<Value>,
    /// `None`: it is gone.
    pub after: Option<Value>,
}

/// One thing that was done to a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub action: Action,
    pub subject: Subject,
    /// What exactly, for people.
    pub detail: Option<String>,
    /// What an edit has changed.
    pub fields: Vec<Field>,
}

impl Change {
    /// The same for every line about the same change of the same key, so that readers can drop doubles.
    #[must_use]
    pub fn id(&self, uid: &str) -> String {
        format!("{uid}.{self}")
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.as_str())?;
        match &self.subject {
            Subject::Key => Ok(()),
            Subject::Generation(number) => write!(f, ".{number}"),
            Subject::Version(number) => write!(f, ".{number}"),
            Subject::Instant(at) => write!(f, ".{at}"),
            Subject::Told(change) => write!(f, ".{change}"),
        }
    }
}

/// A change as it is written down.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When Keyturn has seen or done it; whole seconds, as the history stores it.
    pub at: Timestamp,
    pub actor: Actor,
    pub change: Change,
}

/// The key that a line is about.
#[derive(Clone, Copy, Debug)]
pub struct Subjected<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// Its public id, once it has one.
    pub id: Option<&'a str>,
}

/// Whole seconds, none of them in the future.
#[must_use]
pub fn whole_second(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The deletion of a key. Kubernetes tells nobody who has asked for it.
#[must_use]
pub fn deleted(at: Timestamp) -> Entry {
    let change = Change { action: Action::Deleted, subject: Subject::Key, detail: None, fields: Vec::new() };
    Entry { at: whole_second(at), actor: Actor::unknown(), change }
}

/// The entry that takes back what a line has told too early.
#[must_use]
pub fn withdrawn(told: &Entry, at: Timestamp) -> Entry {
    let change = Change {
        action: Action::Withdrawn,
        subject: Subject::Told(told.change.to_string()),
        detail: Some("it has not come about: something else was changed at the same time".to_owned()),
        fields: Vec::new(),
    };
    Entry { at: whole_second(at), actor: Actor::keyturn(), change }
}
