//! Secrets that were changed, deleted, renamed or are somebody else's.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyturn::resources::apikey::{KeyState, VersionState};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::world::{World, condition, message, text, versions};
use crate::support::wait::eventually;

#[tokio::test]
async fn a_lost_string_is_replaced_by_the_next_version() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let second = |key: &keyturn::resources::ApiKey| versions(key)[0] == (2, VersionState::Current);
    world.secrets().delete("ci", &DeleteParams::default()).await.unwrap();
    world.key_when("ci", "a second version", second).await;
    world.event("ci", "SecretLost").await;
    let string = world.string_in("ci").await;

    let changed = json!({"stringData": {"api-key": "chosen-by-hand"}});
    world.secrets().patch("ci", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
    let third = |key: &keyturn::resources::ApiKey| versions(key)[0] == (3, VersionState::Current);
    let key = world.key_when("ci", "a third version", third).await;
    assert_eq!(condition(&key, "SecretSynced").unwrap().0, "True");
    let healed = world.string_in("ci").await;
    assert!(healed != string && healed != "chosen-by-hand");
}

#[tokio::test]
async fn everything_else_in_the_secret_is_put_right() {
    let world = World::new().await;
    world.create_key("ci", json!({"secret": {"labels": {"team": "a"}}})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let string = world.string_in("ci").await;
    let changed = json!({
        "metadata": {"labels": {"team": "b", "theirs": "x", "keyturn.dev/apikey-uid": null}},
        "stringData": {"api-key-id": "forged", "extra": "x"},
    });
    world.secrets().patch("ci", &PatchParams::default(), &Patch::Merge(changed)).await.unwrap();
    eventually("the Secret is as it was", async || {
        let secret = world.secrets().get("ci").await.map_err(|error| error.to_string())?;
        let right = secret.labels().get("team").map(String::as_str) == Some("a")
            && secret.labels().contains_key("keyturn.dev/apikey-uid")
            && text(&secret, "api-key-id").is_some_and(|id| id.starts_with("key_"))
            && text(&secret, "extra").is_none();
        assert_eq!(secret.labels()["theirs"], "x", "labels of others are theirs");
        if right { Ok(()) } else { Err(format!("{:?}", secret.metadata)) }
    })
    .await;
    assert_eq!(world.string_in("ci").await, string);
}

#[tokio::test]
async fn a_new_name_moves_the_same_string() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let string = world.string_in("ci").await;
    world.patch_key("ci", json!({"secret": {"name": "moved"}})).await;
    eventually("only the new Secret is there", async || match world.secret_names().await {
        names if names == ["moved"] => Ok(()),
        names => Err(format!("{names:?}")),
    })
    .await;
    assert_eq!(world.string_in("moved").await, string);
    world.patch_key("ci", json!({"secret": {"key": "token"}})).await;
    eventually("the string is under the new data key", async || {
        let secret = world.secrets().get("moved").await.map_err(|error| error.to_string())?;
        match (text(&secret, "token"), text(&secret, "api-key")) {
            (Some(moved), None) if moved == string => Ok(()),
            (moved, left) => Err(format!("{:?} {:?}", moved.is_some(), left.is_some())),
        }
    })
    .await;
    let key = world.keys().get("ci").await.unwrap();
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
}

#[tokio::test]
async fn somebody_elses_secret_is_never_touched() {
    let world = World::new().await;
    let foreign = Secret {
        metadata: ObjectMeta { name: Some("ci".into()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("password".into(), ByteString(b"theirs".to_vec()))])),
        ..Secret::default()
    };
    let foreign = world.secrets().create(&PostParams::default(), &foreign).await.unwrap();
    world.create_key("ci", json!({})).await;
    let key = world.key_in_state("ci", KeyState::Rejected).await;
    assert_eq!(condition(&key, "Accepted"), Some(("False".into(), "SecretNameTaken".into())));
    assert!(message(&key, "Accepted").contains("Secret ci is there already"), "{}", message(&key, "Accepted"));
    assert_eq!(versions(&key), [], "nothing is minted");
    assert_eq!(world.secrets().get("ci").await.unwrap(), foreign);
    world.event("ci", "SecretNameTaken").await;

    world.patch_key("ci", json!({"secret": {"name": "free"}})).await;
    world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(world.secrets().get("ci").await.unwrap(), foreign);
}

#[tokio::test]
async fn the_secret_of_another_key_is_somebody_elses() {
    let world = World::new().await;
    world.create_key("first", json!({"secret": {"name": "shared"}})).await;
    world.key_in_state("first", KeyState::Active).await;
    world.create_key("second", json!({"secret": {"name": "shared"}})).await;
    let key = world.key_in_state("second", KeyState::Rejected).await;
    assert_eq!(condition(&key, "Accepted"), Some(("False".into(), "SecretNameTaken".into())));
    // The place becomes free: the waiting key heals by itself.
    world.delete_key("first").await;
    world.key_in_state("second", KeyState::Active).await;
}

#[tokio::test]
async fn a_lost_pepper_is_never_replaced() {
    let mut world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.stop_controller().await;
    world.secrets().delete("keyturn-pepper", &DeleteParams::default()).await.unwrap();
    let refused = world.try_controller().await.unwrap_err();
    let refused = format!("{refused}: {}", std::error::Error::source(&refused).unwrap());
    assert!(refused.contains("keyturn-pepper is missing") && refused.contains("restore"), "{refused}");
    assert_eq!(world.secrets().get_opt("keyturn-pepper").await.unwrap(), None);
}
