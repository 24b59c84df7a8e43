//! Delivery Once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyturn::clock;
use keyturn::resources::apikey::{KeyState, VersionDelivery, VersionState};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::world::{World, state, version};
use crate::controller::world::{condition, message, versions};

fn once() -> Value {
    json!({"delivery": "Once"})
}

#[tokio::test]
async fn the_secret_goes_when_its_reader_says_so() {
    let mut world = World::new().await;
    for name in ["by-key", "by-secret", "by-deleting"] {
        let key = world.active_key(name, once()).await;
        let waiting = version(&key, 1);
        assert_eq!(waiting.delivery, Some(VersionDelivery::Pending), "{name}");
        let minted = key.status.as_ref().unwrap().last_rotated_at.as_ref().unwrap().0;
        assert_eq!(waiting.deliver_by.unwrap().0.duration_since(minted).as_secs(), 3600, "{name}");
        assert_eq!(condition(&key, "SecretSynced"), Some(("True".into(), "Waiting".into())));
    }
    let mut strings = BTreeMap::new();
    for name in ["by-key", "by-secret", "by-deleting"] {
        strings.insert(name, world.string_in(name).await);
    }
    world.acknowledge("by-key", "1").await;
    let annotation = json!({"metadata": {"annotations": {"keyturn.dev/delivered": "1"}}});
    world.secrets().patch("by-secret", &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
    world.delete_secret("by-deleting").await;

    for (name, string) in &strings {
        let key = world.key_with_reason(name, "Delivered").await;
        assert_eq!((state(&key), version(&key, 1).delivery), (Some(KeyState::Active), Some(VersionDelivery::Done)));
        assert_eq!(key.status.unwrap().secret_ref, None, "{name}");
        world.event(name, "Delivered").await;
        world.is_answered(string, "ALLOWED").await;
    }
    world.secrets_are(&[]).await;

    // A delivered Secret that is missing is no tampering, for the next controller neither.
    world.kill_controller().await;
    world.start_controller().await;
    world.active_key("sentinel", json!({})).await;
    for name in strings.keys() {
        let key = world.keys().get(name).await.unwrap();
        assert_eq!(versions(&key), [(1, VersionState::Current)], "{name}");
    }
    world.secrets_are(&["sentinel"]).await;
}

#[tokio::test]
async fn an_acknowledgement_counts_for_its_own_version_only() {
    let world = World::new().await;
    world.create_key("ci", once()).await;
    for text in ["2", "v1", ""] {
        world.acknowledge("ci", text).await;
        let key = world.key_with_reason("ci", "Waiting").await;
        assert_eq!(version(&key, 1).delivery, Some(VersionDelivery::Pending), "{text}");
    }
    let told = |key: &keyturn::resources::ApiKey| {
        message(key, "SecretSynced").contains("keyturn.dev/delivered \"\" is no number")
    };
    world.key_when("ci", "its mistake told", told).await;
    world.acknowledge("ci", "1").await;
    world.key_with_reason("ci", "Delivered").await;
}

#[tokio::test]
async fn the_secret_goes_after_its_time() {
    let world = World::new().await;
    let key = world.active_key("ci", json!({"delivery": "Once", "onceTtl": "3s"})).await;
    let string = world.string_in("ci").await;
    let until = version(&key, 1).deliver_by.unwrap().0;
    let key = world.key_with_reason("ci", "Delivered").await;
    assert!(clock::now() >= until, "not before its time");
    assert_eq!(version(&key, 1).deliver_by, None);
    world.secrets_are(&[]).await;
    world.event("ci", "DeliveryTimedOut").await;
    world.is_answered(&string, "ALLOWED").await;
}

#[tokio::test]
async fn a_request_is_delivered_anew() {
    let world = World::new().await;
    world.active_key("ci", once()).await;
    let old = world.string_in("ci").await;
    world.acknowledge("ci", "1").await;
    world.secrets_are(&[]).await;
    world.patch("ci", json!({"spec": {"rotation": {"request": {"id": "r1", "gracePeriod": "1h"}}}})).await;
    let key = world.key_with_reason("ci", "Waiting").await;
    assert_eq!(versions(&key), [(2, VersionState::Current), (1, VersionState::Grace)]);
    assert!(version(&key, 2).deliver_by.is_some());
    let new = world.string_in("ci").await;
    for string in [&old, &new] {
        world.is_answered(string, "ALLOWED").await;
    }
    world.delete_secret("ci").await;
    world.key_with_reason("ci", "Delivered").await;
}

#[tokio::test]
async fn a_scheduled_version_stays_until_it_is_acknowledged() {
    let mut world = World::new().await;
    world.active_key("ci", json!({"delivery": "Once", "onceTtl": "1s"})).await;
    world.key_with_reason("ci", "Delivered").await;
    world.patch("ci", json!({"spec": {"rotation": {"interval": "30m", "gracePeriod": "4s"}}})).await;
    world.age("ci").await;
    let key = world.key_with_reason("ci", "RotationUndelivered").await;
    let (new, old) = (version(&key, 2), version(&key, 1));
    assert_eq!(
        (new.state, new.delivery, new.deliver_by),
        (VersionState::Current, Some(VersionDelivery::Pending), None)
    );
    let (since, until) = (old.superseded_at.unwrap().0, old.not_after.unwrap().0);
    assert!(clock::now() >= since.checked_add(until.duration_since(since) * 3 / 4).unwrap(), "not too early");
    world.event("ci", "RotationUndelivered").await;
    world.is_counted("RotationUndelivered").await;
    assert!(!world.string_in("ci").await.is_empty());
    world.acknowledge("ci", "2").await;
    world.key_with_reason("ci", "Delivered").await;
    world.secrets_are(&[]).await;
}

#[tokio::test]
async fn a_string_that_was_changed_before_anybody_read_it_is_replaced() {
    let world = World::new().await;
    world.active_key("ci", once()).await;
    let changed = json!({"stringData": {"api-key": "chosen-by-hand"}});
    world.secrets().patch("ci", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
    let replaced = |key: &keyturn::resources::ApiKey| versions(key)[0] == (2, VersionState::Current);
    world.key_when("ci", "a second version", replaced).await;
    let string = world.string_in("ci").await;
    world.is_answered(&string, "ALLOWED").await;
}

#[tokio::test]
async fn whoever_takes_the_name_of_a_delivered_secret_locks_nobody_out() {
    let world = World::new().await;
    world.active_key("ci", once()).await;
    let string = world.string_in("ci").await;
    world.acknowledge("ci", "1").await;
    world.secrets_are(&[]).await;
    let foreign =
        Secret { metadata: ObjectMeta { name: Some("ci".into()), ..ObjectMeta::default() }, ..Secret::default() };
    world.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    world.patch("ci", json!({"spec": {"description": "looked at again"}})).await;
    let key = world.key_with_reason("ci", "Delivered").await;
    assert_eq!(state(&key), Some(KeyState::Active));
    world.patch("ci", json!({"spec": {"rotation": {"request": {"id": "r1"}}}})).await;
    let key = world.key_with_reason("ci", "SecretNameTaken").await;
    assert_eq!((state(&key), versions(&key)), (Some(KeyState::Active), vec![(1, VersionState::Current)]));
    world.is_answered(&string, "ALLOWED").await;
    world.delete_secret("ci").await;
    world.key_with_reason("ci", "Waiting").await;
}
