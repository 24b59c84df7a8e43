//! A tenant with the role `edit` in its namespace tries to have more than it was granted. Every process and the tenant
//! have the rights of `config/rbac` as it stands, in a cluster of their own, where the manifests of
//! `config/samples/cross-namespace` are applied: speech has an API, team-a a key for it.
//!
//! No attempt may gain anything, and each must be answered with a reason: by the API server, in a condition of the
//! key, or by the verifier.

mod changes;
mod claims;
mod edits;
mod effects;
mod refusals;
mod world;

use world::World;

#[tokio::test]
async fn no_attempt_of_a_tenant_gains_anything() {
    let mut world = World::start().await;
    world.expect_usable("before anything is tried").await;
    refusals::check(&world).await;
    claims::check(&world).await;
    effects::check(&world).await;
    changes::check(&world).await;
    edits::check_with_the_controller(&world).await;
    world.stop_controller().await;
    edits::check_without_the_controller(&world).await;
    world.expect_usable("after everything was tried").await;
}
