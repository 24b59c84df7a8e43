//! An object that does not fit the types of this version disturbs nobody but itself.

use keyturn::resources::apikey::KeyState;
use serde_json::{Value, json};

use super::super::world::World;
use crate::support::apiserver::{Call, Fault, FaultyApiServer};

/// As a version to come might write it: a value of another type, until somebody puts it right.
fn spoil(object: &mut Value) {
    if object["metadata"]["name"] == "bad" && object["spec"]["displayName"] != "readable" {
        object["spec"]["enabled"] = json!("on Mondays");
    }
}

fn spoiled(call: &Call) -> Fault {
    let reads_keys = call.method == "GET" && call.concerns("apikeys");
    if reads_keys { Fault::Tamper(spoil) } else { Fault::Pass }
}

#[tokio::test]
async fn a_malformed_key_disturbs_no_other_and_is_looked_after_once_it_can_be_read() {
    let mut world = World::without_controller().await;
    world.create_key("bad", json!({})).await;
    world.create_key("before", json!({})).await;
    let server = FaultyApiServer::start(world.client(), spoiled).await;
    world.start_controller_with(server.client()).await;
    world.create_key("after", json!({})).await;
    for name in ["before", "after"] {
        world.key_in_state(name, KeyState::Active).await;
    }
    world.patch_key("bad", json!({"displayName": "still nobody can read it"})).await;
    world.patch_key("after", json!({"enabled": false})).await;
    world.key_in_state("after", KeyState::Disabled).await;
    assert_eq!(world.keys().get("bad").await.unwrap().status, None, "it is left alone");

    world.patch_key("bad", json!({"displayName": "readable"})).await;
    world.key_in_state("bad", KeyState::Active).await;
}
