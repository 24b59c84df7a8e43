//! The ApiKeyUsage of a key: there before the first version, and replaced when it is lost.

use keyturn::resources::apikey::KeyState;
use keyturn::resources::{ApiKey, ApiKeyUsage};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::world::World;
use crate::support::apiserver::{Call, Fault, FaultyApiServer};
use crate::support::wait::eventually;

/// Name and uid that the status says.
fn named(key: &ApiKey) -> Option<(String, String)> {
    let usage = key.status.as_ref()?.usage.as_ref()?;
    Some((usage.name.clone(), usage.uid.clone()))
}

fn name_and_uid(usage: &ApiKeyUsage) -> (String, String) {
    (usage.name_any(), usage.uid().expect("an object has a uid"))
}

/// Whether the status names an ApiKeyUsage that is there.
pub(super) async fn names_its_usage(world: &World, key: &ApiKey) -> bool {
    let Some((name, uid)) = named(key) else { return false };
    let found = world.usages().get_opt(&name).await.expect("the API server answers");
    found.is_some_and(|found| found.uid() == Some(uid))
}

/// Waits until the key names an ApiKeyUsage with another uid than that.
async fn another_than(world: &World, uid: &str) -> ApiKey {
    eventually("the key names another ApiKeyUsage", async || {
        let key = world.keys().get("ci").await.map_err(|error| error.to_string())?;
        let is_another = named(&key).is_some_and(|(_, other)| other != uid);
        if is_another && names_its_usage(world, &key).await { Ok(key) } else { Err(format!("{:?}", named(&key))) }
    })
    .await
}

#[tokio::test]
async fn it_is_there_before_the_first_version_and_goes_with_the_key() {
    let mut world = World::new().await;
    world.stop_controller().await;
    let server = FaultyApiServer::start(world.client(), |_| Fault::Pass).await;
    world.start_controller_with(server.client()).await;
    world.create_key("ci", json!({})).await;
    let key = world.key_in_state("ci", KeyState::Active).await;

    let uid = key.uid().unwrap();
    let usage = world.usages().get(&format!("key-{uid}")).await.unwrap();
    assert_eq!(named(&key), Some(name_and_uid(&usage)));
    let owners = usage.owner_references();
    let [owner] = owners else { panic!("{owners:?}") };
    assert_eq!((&*owner.kind, &*owner.name, &owner.uid, owner.controller), ("ApiKey", "ci", &uid, Some(true)));
    assert_eq!(usage.status, None);
    let writes = server.accepted_writes();
    let first = |which: &dyn Fn(&Call) -> bool| writes.iter().position(which);
    let made = first(&|call| call.concerns("apikeyusages"));
    let version = first(&|call| call.body["status"]["versions"].is_array());
    assert!(made.is_some() && made < version, "{made:?} {version:?}");
}

#[tokio::test]
async fn one_that_is_lost_is_replaced_at_once_or_when_a_controller_comes() {
    let mut world = World::new().await;
    world.create_key("ci", json!({})).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    let (name, uid) = named(&key).unwrap();
    world.usages().delete(&name, &DeleteParams::default()).await.unwrap();
    let key = another_than(&world, &uid).await;

    world.stop_controller().await;
    let (name, uid) = named(&key).unwrap();
    world.usages().delete(&name, &DeleteParams::default()).await.unwrap();
    world.start_controller().await;
    another_than(&world, &uid).await;
}

#[tokio::test]
async fn a_key_from_before_gets_one() {
    let mut world = World::new().await;
    world.create_key("ci", json!({})).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    let (name, uid) = named(&key).unwrap();
    world.stop_controller().await;
    world.usages().delete(&name, &DeleteParams::default()).await.unwrap();
    let without = Patch::Merge(json!({"status": {"usage": null}}));
    world.keys().patch_status("ci", &PatchParams::default(), &without).await.unwrap();
    world.start_controller().await;
    let key = another_than(&world, &uid).await;
    assert_eq!(super::world::versions(&key).len(), 1, "the string stays");
}
