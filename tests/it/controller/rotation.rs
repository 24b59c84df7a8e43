//! Rotation on demand and on schedule.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyturn::clock;
use keyturn::resources::apikey::{KeyState, VersionState};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::world::{World, text, versions};
use crate::support::wait::eventually;

fn request(id: &str, grace: &str) -> Value {
    json!({"rotation": {"request": {"id": id, "gracePeriod": grace}}})
}

#[tokio::test]
async fn a_request_rotates_once_and_the_old_version_lives_through_its_grace() {
    let world = World::new().await;
    world.create_key("ci", json!({"secret": {"previousKey": "previous"}})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let old = world.string_in("ci").await;

    world.patch_key("ci", request("r1", "4s")).await;
    let key = world
        .key_when("ci", "two versions", |key| versions(key) == [(2, VersionState::Current), (1, VersionState::Grace)]);
    let key = key.await;
    let status = key.status.unwrap();
    assert_eq!(status.rotation_request.as_deref(), Some("r1"));
    let (rotated, ends) = (status.last_rotated_at.unwrap().0, status.versions[1].not_after.as_ref().unwrap().0);
    assert!((4..=5).contains(&(ends.as_second() - rotated.as_second())), "from {rotated} to {ends}");
    let secret = world.secrets().get("ci").await.unwrap();
    assert_ne!(text(&secret, "api-key").unwrap(), old);
    assert_eq!(text(&secret, "api-key-version").as_deref(), Some("2"));
    assert_eq!(text(&secret, "previous"), Some(old), "the previous string is there during its grace");

    let key = world.key_when("ci", "its old version retired", |key| versions(key)[1].1 == VersionState::Retired).await;
    assert!(clock::now() >= ends);
    assert_eq!(versions(&key), [(2, VersionState::Current), (1, VersionState::Retired)], "the same id rotates once");
    eventually("the previous string leaves the Secret", async || {
        let secret = world.secrets().get("ci").await.map_err(|error| error.to_string())?;
        text(&secret, "previous").map_or(Ok(()), |_| Err("it is there".to_owned()))
    })
    .await;
    for reason in ["RotationStarted", "Rotated", "GraceEnded"] {
        world.event("ci", reason).await;
    }
}

#[tokio::test]
async fn without_grace_the_old_version_is_retired_at_once() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.patch_key("ci", request("leak", "0s")).await;
    let rotated =
        |key: &keyturn::resources::ApiKey| versions(key) == [(2, VersionState::Current), (1, VersionState::Retired)];
    world.key_when("ci", "a new version alone", rotated).await;
}

#[tokio::test]
async fn the_request_that_is_there_at_the_first_mint_counts_as_done() {
    let world = World::new().await;
    world.create_key("ci", request("r1", "1h")).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
    assert_eq!(key.status.unwrap().rotation_request.as_deref(), Some("r1"));
}

#[tokio::test]
async fn the_schedule_names_the_next_rotation_a_little_early() {
    let world = World::new().await;
    world.create_key("ci", json!({"rotation": {"interval": "90d", "gracePeriod": "24h"}})).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    let status = key.status.unwrap();
    let wait = status.next_rotation_at.unwrap().0.duration_since(status.last_rotated_at.unwrap().0).as_secs();
    assert!((90 * 86_400 - 3600..=90 * 86_400).contains(&wait), "{wait}");
}

#[tokio::test]
async fn shortening_the_grace_shortens_the_one_that_runs() {
    let world = World::new().await;
    world.create_key("ci", json!({"rotation": {"gracePeriod": "10h"}})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.patch_key("ci", json!({"rotation": {"request": {"id": "r1"}}})).await;
    let in_grace = |key: &keyturn::resources::ApiKey| versions(key).get(1) == Some(&(1, VersionState::Grace));
    let before = world.key_when("ci", "a grace", in_grace).await.status.unwrap().versions[1].not_after.clone();
    world.patch_key("ci", json!({"rotation": {"gracePeriod": "2h"}})).await;
    let shortened = |key: &keyturn::resources::ApiKey| key.status.as_ref().unwrap().versions[1].not_after != before;
    let key = world.key_when("ci", "a shorter grace", shortened).await;
    let after = key.status.unwrap().versions[1].not_after.clone();
    assert_eq!(before.unwrap().0.duration_since(after.as_ref().unwrap().0).as_hours(), 8);
    world.patch_key("ci", json!({"rotation": {"gracePeriod": "20h"}})).await;
    let key = world.key_when("ci", "the new spec observed", |_| true).await;
    assert_eq!(key.status.unwrap().versions[1].not_after, after, "lengthening extends nothing");
}

#[tokio::test]
async fn a_string_is_handed_out_only_when_every_living_verifier_knows_it() {
    let world = World::new().await;
    let leases = world.leases();
    let lease = |applied: &str| Lease {
        metadata: ObjectMeta {
            name: Some("verifier".into()),
            labels: Some(BTreeMap::from([("keyturn.dev/judging".into(), "true".into())])),
            annotations: Some(BTreeMap::from([("keyturn.dev/applied".into(), applied.into())])),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec { holder_identity: Some("verifier".into()), ..LeaseSpec::default() }),
    };
    leases.create(&PostParams::default(), &lease("1")).await.unwrap();
    world.create_key("ci", json!({})).await;
    let staged = world
        .key_when("ci", "a staged version", |key| key.status.is_some() && versions(key) == [(1, VersionState::Staged)]);
    let staged = staged.await;
    assert_eq!(world.secrets().get_opt("ci").await.unwrap(), None, "no verifier knows the string yet");
    let applied = staged.resource_version().unwrap();
    let told = json!({"metadata": {"annotations": {"keyturn.dev/applied": applied}}});
    leases.patch("verifier", &PatchParams::default(), &Patch::Merge(told)).await.unwrap();
    world.key_in_state("ci", KeyState::Active).await;
    assert!(world.secrets().get_opt("ci").await.unwrap().is_some());
}
