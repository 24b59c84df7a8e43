//! What `Enforced` claims, and who leads, with real processes that are stopped, cut off and killed,
//! whose clock is wrong, and whose etcd is restored.

mod clock;
mod controllers;
mod quiet;
mod restored;
mod standby;
mod verifiers;
mod world;
