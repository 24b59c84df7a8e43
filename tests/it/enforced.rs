//! What `Enforced` claims, and who leads, with real processes that are stopped, cut off and killed.

mod controllers;
mod verifiers;
mod world;
