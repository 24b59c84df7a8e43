//! How a version's string reaches its reader where it does not stay in the Secret.

use std::sync::Arc;

use jiff::Timestamp;

/// Where a string waits for its reader.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Handover {
    /// In the Secret until it is acknowledged, or until this instant.
    InSecret { until: Option<Timestamp> },
    /// In the status, sealed, until it is acknowledged or until this instant.
    Sealed { text: Arc<str>, until: Timestamp },
    /// Acknowledged, or its time ran out: it stands nowhere any more.
    Done,
}

impl Handover {
    /// When it ends without anybody's doing.
    #[must_use]
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::InSecret { until } => *until,
            Self::Sealed { until, .. } => Some(*until),
            Self::Done => None,
        }
    }
}
