//! The custom resources.

pub mod names;
