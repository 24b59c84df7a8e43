//! Keeps the engine's index the image of what the API server holds, and tells the controller how far it is.

mod backoff;
mod lease;
mod pepper;
mod watch;
