//! The condition Enforced, with Leases that the test writes in the place of verifiers.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyturn::clock;
use keyturn::resources::ApiKey;
use keyturn::resources::apikey::KeyState;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::world::{World, enforcement, message};
use crate::support::wait::eventually;

/// Held for so many seconds; its process has applied nothing.
fn lease(name: &str, seconds: i32) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(seconds),
        ..LeaseSpec::default()
    };
    Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([("keyturn.dev/judging".into(), "true".into())])),
            annotations: Some(BTreeMap::from([("keyturn.dev/applied".into(), String::new())])),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
    }
}

async fn hold(world: &World, lease: &Lease) {
    world.leases().create(&PostParams::default(), lease).await.unwrap();
}

async fn patch(world: &World, lease: &str, change: serde_json::Value) {
    world.leases().patch(lease, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
}

/// With an active key `ci`.
async fn with_key() -> World {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.enforced("ci").await;
    world
}

/// Waits until it is said that this generation is waited for.
async fn waits(world: &World, generation: i64) -> ApiKey {
    world
        .key_when("ci", "somebody to wait for", |key| {
            enforcement(key) == Some((generation, "False".into(), "WaitingForVerifiers".into()))
        })
        .await
}

#[tokio::test]
async fn a_revocation_is_enforced_once_every_process_has_applied_it() {
    let world = with_key().await;
    hold(&world, &lease("verifier-a", 900)).await;
    hold(&world, &lease("verifier-b", 900)).await;
    world.patch_key("ci", json!({"revoked": true})).await;
    let revoked = waits(&world, 2).await;
    let told = message(&revoked, "Enforced");
    assert!(told.contains("verifier-a (last heard of ") && told.contains("verifier-b ("), "{told}");
    let applied = json!({"metadata": {"annotations": {"keyturn.dev/applied": revoked.resource_version()}}});
    patch(&world, "verifier-a", applied.clone()).await;
    let told = world.key_when("ci", "one process to wait for", |key| !message(key, "Enforced").contains("verifier-a"));
    let told = told.await;
    assert!(message(&told, "Enforced").contains("verifier-b ("));
    let applied = json!({"metadata": {"annotations": {"keyturn.dev/applied": told.resource_version()}}});
    patch(&world, "verifier-b", applied.clone()).await;
    patch(&world, "verifier-a", applied).await;
    world.enforced("ci").await;
}

#[tokio::test]
async fn whoever_has_released_its_lease_is_not_waited_for() {
    let world = with_key().await;
    hold(&world, &lease("verifier", 900)).await;
    world.patch_key("ci", json!({"revoked": true})).await;
    waits(&world, 2).await;
    patch(&world, "verifier", json!({"spec": {"holderIdentity": ""}})).await;
    world.enforced("ci").await;
    gone(&world, "verifier").await;
}

#[tokio::test]
async fn a_process_that_is_not_heard_of_is_waited_for_until_its_lease_has_lapsed() {
    let world = with_key().await;
    hold(&world, &lease("verifier", 3)).await;
    world.patch_key("ci", json!({"revoked": true})).await;
    waits(&world, 2).await;
    let waited_from = clock::since_boot();
    patch(&world, "verifier", json!({"spec": {"leaseTransitions": 1}})).await;
    world.enforced("ci").await;
    let waited = clock::since_boot().saturating_sub(waited_from);
    assert!(waited >= std::time::Duration::from_millis(3_300), "unchanged for {waited:?} only");
    gone(&world, "verifier").await;
}

#[tokio::test]
async fn a_lease_that_somebody_deletes_still_counts() {
    let world = with_key().await;
    hold(&world, &lease("verifier", 3)).await;
    world.patch_key("ci", json!({"revoked": true})).await;
    waits(&world, 2).await;
    let deleted_at = clock::since_boot();
    world.leases().delete("verifier", &kube::api::DeleteParams::default()).await.unwrap();
    world.enforced("ci").await;
    let waited = clock::since_boot().saturating_sub(deleted_at);
    assert!(waited >= std::time::Duration::from_millis(3_300), "counted for {waited:?} only");
}

#[tokio::test]
async fn whatever_becomes_of_a_key_its_generation_is_enforced() {
    let world = with_key().await;
    for (change, state) in [
        (json!({"enabled": false}), KeyState::Disabled),
        (json!({"enabled": true, "expiresAt": "2020-01-01T00:00:00Z"}), KeyState::Expired),
        (json!({"expiresAt": null, "tier": "no-such-tier"}), KeyState::Rejected),
        (json!({"tier": null}), KeyState::Active),
        (json!({"rotation": {"request": {"id": "r1", "gracePeriod": "0s"}}}), KeyState::Active),
        (json!({"revoked": true}), KeyState::Revoked),
    ] {
        world.patch_key("ci", change).await;
        let key = world.enforced("ci").await;
        assert_eq!(key.status.unwrap().state, Some(state));
    }
}

async fn gone(world: &World, lease: &str) {
    eventually("the Lease of a process that judges no more is gone", async || {
        let lease = world.leases().get_opt(lease).await.map_err(|error| error.to_string())?;
        lease.map_or(Ok(()), |lease| Err(format!("{lease:?}")))
    })
    .await;
}
