//! What becomes of a living key when its delivery is changed: nothing is minted, and nothing that somebody may
//! still read is taken away.

use keyturn::resources::apikey::{VersionDelivery, VersionState};
use keyturn::seal::PrivateKey;
use serde_json::{Value, json};

use super::world::{World, version};
use crate::controller::world::versions;

fn delivery(delivery: &str) -> Value {
    json!({"spec": {"secret": {"delivery": delivery}}})
}

fn sealed() -> Value {
    let (_, public) = PrivateKey::generate().unwrap();
    json!({"delivery": "Sealed", "sealTo": public})
}

fn request(id: &str) -> Value {
    json!({"spec": {"rotation": {"request": {"id": id, "gracePeriod": "1h"}}}})
}

#[tokio::test]
async fn from_retain_to_once_the_secret_stays_until_it_is_acknowledged() {
    let world = World::new().await;
    world.active_key("ci", json!({"onceTtl": "1s"})).await;
    let string = world.string_in("ci").await;
    world.patch("ci", delivery("Once")).await;
    let key = world.key_with_reason("ci", "Waiting").await;
    assert_eq!(version(&key, 1).deliver_by, None, "workloads may read it: it goes at no time of its own");
    assert_eq!(world.string_in("ci").await, string);
    world.acknowledge("ci", "1").await;
    world.key_with_reason("ci", "Delivered").await;
    world.secrets_are(&[]).await;
}

#[tokio::test]
async fn from_retain_to_sealed_the_secret_stays_until_it_is_superseded() {
    let world = World::new().await;
    world.active_key("ci", json!({})).await;
    let string = world.string_in("ci").await;
    world.patch("ci", json!({"spec": {"secret": sealed()}})).await;
    world.key_with_reason("ci", "Waiting").await;
    assert_eq!(world.string_in("ci").await, string);
    world.patch("ci", request("r1")).await;
    let key = world.key_with_reason("ci", "Sealed").await;
    assert_eq!(versions(&key), [(2, VersionState::Current), (1, VersionState::Grace)]);
    world.secrets_are(&[]).await;
    world.is_answered(&string, "ALLOWED").await;
}

#[tokio::test]
async fn from_once_to_retain_what_is_there_stays_and_what_is_gone_stays_gone() {
    let world = World::new().await;
    for name in ["there", "gone"] {
        world.active_key(name, json!({"delivery": "Once"})).await;
    }
    let there = world.string_in("there").await;
    world.acknowledge("gone", "1").await;
    world.key_with_reason("gone", "Delivered").await;
    for name in ["there", "gone"] {
        world.patch(name, delivery("Retain")).await;
    }
    let key = world.key_with_reason("there", "Synced").await;
    assert_eq!((version(&key, 1).delivery, version(&key, 1).deliver_by), (None, None));
    assert_eq!(world.string_in("there").await, there);
    let key = world.key_with_reason("gone", "Delivered").await;
    assert_eq!(versions(&key), [(1, VersionState::Current)], "nobody asked for a rotation");
    world.patch("gone", request("r1")).await;
    let key = world.key_with_reason("gone", "Synced").await;
    assert_eq!(version(&key, 2).delivery, None);
    world.secrets_are(&["gone", "there"]).await;
}

#[tokio::test]
async fn from_once_to_sealed_the_secret_waits_on() {
    let world = World::new().await;
    world.active_key("ci", json!({"delivery": "Once"})).await;
    let string = world.string_in("ci").await;
    world.patch("ci", json!({"spec": {"secret": sealed()}})).await;
    let key = world.key_with_reason("ci", "Waiting").await;
    assert!(version(&key, 1).deliver_by.is_some());
    assert_eq!(world.string_in("ci").await, string);
    world.delete_secret("ci").await;
    world.key_with_reason("ci", "Delivered").await;
}

#[tokio::test]
async fn from_sealed_to_a_secret_only_the_next_version_goes_there() {
    let world = World::new().await;
    for (name, to, reason) in [("retain", "Retain", "Synced"), ("once", "Once", "Waiting")] {
        world.active_key(name, sealed()).await;
        world.patch(name, json!({"spec": {"secret": {"delivery": to, "sealTo": null}}})).await;
        let key = world.key_with_reason(name, "Sealed").await;
        assert_eq!(version(&key, 1).delivery, Some(VersionDelivery::Pending), "{name}");
        world.patch(name, request("r1")).await;
        let key = world.key_with_reason(name, reason).await;
        assert_eq!(versions(&key), [(2, VersionState::Current), (1, VersionState::Grace)], "{name}");
        let string = world.string_in(name).await;
        world.is_answered(&string, "ALLOWED").await;
    }
    world.secrets_are(&["once", "retain"]).await;
}
