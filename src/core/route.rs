//! Routes of an API.

/// The compiled routes of one API.
#[derive(Clone, Debug, Default)]
pub struct Routes {}
