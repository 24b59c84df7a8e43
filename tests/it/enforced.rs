//! What `Enforced` claims, and who leads, with real processes that are stopped, cut off and killed.

mod clock;
mod controllers;
mod standby;
mod verifiers;
mod world;
