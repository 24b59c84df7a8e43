//! What stands in a Secret, and where.

use keyturn::resources::apikey::{KeyState, VersionState};
use kube::ResourceExt as _;
use serde_json::json;

use super::world::{World, state};
use crate::controller::world::{condition, message, text, versions};
use crate::support::wait::eventually;

#[tokio::test]
async fn placeholders_are_filled() {
    let world = World::new().await;
    let data = json!({".env": "TOKEN=$(apiKey)\nID=$(keyId)", "note": "$(start) v$(version)"});
    let key = world.active_key("ci", json!({"data": data})).await;
    let status = key.status.clone().unwrap();
    let secret = world.secrets().get("ci").await.unwrap();
    let (string, id) = (world.string_in("ci").await, status.id.unwrap());
    assert_eq!(text(&secret, ".env"), Some(format!("TOKEN={string}\nID={id}")));
    assert_eq!(text(&secret, "note"), Some(format!("{} v1", status.start.unwrap())));
    world.patch("ci", json!({"spec": {"rotation": {"request": {"id": "r1"}}}})).await;
    world.key_when("ci", "a second version", |key| versions(key)[0] == (2, VersionState::Current)).await;
    let secret = world.secrets().get("ci").await.unwrap();
    assert!(text(&secret, "note").unwrap().ends_with(" v2"));
    assert!(!text(&secret, ".env").unwrap().contains(&string));
}

#[tokio::test]
async fn a_secret_may_be_of_the_types_that_take_a_password() {
    let world = World::new().await;
    let docker = r#"{"auths": {"registry.example.com": {"username": "ci", "password": "$(apiKey)"}}}"#;
    for (name, secret, kind) in [
        (
            "basic",
            json!({"type": "kubernetes.io/basic-auth", "key": "password", "data": {"username": "ci"}}),
            "kubernetes.io/basic-auth",
        ),
        (
            "docker",
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": docker}}),
            "kubernetes.io/dockerconfigjson",
        ),
    ] {
        world.active_key(name, secret).await;
        let secret = world.secrets().get(name).await.unwrap();
        assert_eq!(secret.type_.as_deref(), Some(kind));
    }
    let docker = text(&world.secrets().get("docker").await.unwrap(), ".dockerconfigjson").unwrap();
    let docker: serde_json::Value = serde_json::from_str(&docker).unwrap();
    let string = docker["auths"]["registry.example.com"]["password"].as_str().unwrap();
    world.is_answered(string, "ALLOWED").await;
}

#[tokio::test]
async fn data_that_the_server_would_not_take_is_told_and_nothing_is_minted() {
    let world = World::new().await;
    world.create_key("ci", json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "{"}})).await;
    let key = world.key_with_reason("ci", "SecretInvalid").await;
    assert_eq!((state(&key), versions(&key)), (Some(KeyState::Pending), vec![]));
    assert!(message(&key, "SecretSynced").contains("spec.secret.data[.dockerconfigjson] is no JSON"));
    world.event("ci", "SecretInvalid").await;
    world.patch("ci", json!({"spec": {"secret": {"data": {".dockerconfigjson": "{}"}}}})).await;
    world.key_with_reason("ci", "Synced").await;
}

#[tokio::test]
async fn another_type_keeps_the_string() {
    let mut world = World::new().await;
    world.active_key("ci", json!({})).await;
    let string = world.string_in("ci").await;
    for (kind, data_key) in [("kubernetes.io/basic-auth", "password"), ("Opaque", "api-key")] {
        world.patch("ci", json!({"spec": {"secret": {"type": kind, "key": data_key}}})).await;
        world.kill_controller().await;
        world.start_controller().await;
        eventually("the Secret is of the other type", async || {
            let secret = world.secrets().get("ci").await.map_err(|error| error.to_string())?;
            let found = (secret.type_.as_deref() == Some(kind), text(&secret, data_key) == Some(string.clone()));
            if found == (true, true) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
    world.secrets_are(&["ci"]).await;
    let key = world.key_with_reason("ci", "Synced").await;
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
}

#[tokio::test]
async fn a_moved_secret_takes_everything_with_it() {
    let world = World::new().await;
    world.active_key("ci", json!({"labels": {"team": "a"}, "data": {"env": "$(apiKey)"}})).await;
    let string = world.string_in("ci").await;
    // Without its label the controller would not hear of the Secret under its old name.
    let change = json!({"metadata": {"labels": {"keyturn.dev/apikey-uid": null}}});
    let patch = kube::api::Patch::Merge(change);
    world.secrets().patch("ci", &kube::api::PatchParams::default(), &patch).await.unwrap();
    let moved = json!({"name": "moved", "key": "token", "labels": {"team": "b"}, "annotations": {"why": "moved"}});
    world.patch("ci", json!({"spec": {"secret": moved}})).await;
    world.secrets_are(&["moved"]).await;
    eventually("the old Secret is gone", async || match world.secrets().get_opt("ci").await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|it| it.map(|it| it.metadata)))),
    })
    .await;
    let secret = world.secrets().get("moved").await.unwrap();
    assert_eq!((text(&secret, "token"), text(&secret, "env")), (Some(string.clone()), Some(string)));
    assert_eq!((secret.labels()["team"].as_str(), secret.annotations()["why"].as_str()), ("b", "moved"));
    let key = world.key_with_reason("ci", "Synced").await;
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
    assert_eq!(condition(&key, "Ready").unwrap().0, "True");
}
