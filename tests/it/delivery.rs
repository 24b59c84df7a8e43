//! How strings reach their readers and leave the cluster again: the controller and a verifier as processes
//! against a real API server, in a namespace of each test's own.

mod changes;
mod once;
mod revocation;
mod sealed;
mod secret;
mod world;
