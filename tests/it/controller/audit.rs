//! What is written down when writing the status fails.

use keyturn::resources::ApiKey;
use keyturn::resources::apikey::KeyState;
use serde_json::{Value, json};

use super::world::World;
use crate::support::apiserver::{Call, Fault, FaultyApiServer};

/// Of every three writes of a status one is refused, one takes effect although its answer is lost, one goes well.
fn two_of_three_statuses_fail() -> impl FnMut(&Call) -> Fault + Send + 'static {
    let mut writes = 0;
    move |call| {
        if !call.is_write() || !call.concerns("apikeys") {
            return Fault::Pass;
        }
        writes += 1;
        match writes % 3 {
            1 => Fault::Answer(409, "Conflict"),
            2 => Fault::AnswerAfter(400, "BadRequest"),
            _ => Fault::Pass,
        }
    }
}

fn actions(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["action"].as_str()).collect()
}

fn history(key: &ApiKey) -> Vec<&str> {
    let newest_first = key.status.iter().flat_map(|status| &status.history);
    let mut actions: Vec<_> = newest_first.map(|entry| entry.action.as_str()).collect();
    actions.reverse();
    actions
}

#[tokio::test]
async fn what_could_not_be_stored_is_told_once_and_stored_later() {
    let mut world = World::without_controller().await;
    let server = FaultyApiServer::start(world.client(), two_of_three_statuses_fail()).await;
    world.start_controller_with(server.client()).await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world
        .patch_key("ci", json!({"displayName": "two", "rotation": {"request": {"id": "r1", "gracePeriod": "0s"}}}))
        .await;
    world
        .key_when("ci", "its second version", |key| {
            key.status.as_ref().is_some_and(|status| status.rotation_request.as_deref() == Some("r1"))
        })
        .await;
    let expected = ["Created", "Minted", "RotationRequested", "Retired", "Rotated"];
    let key = world.enforced("ci").await;
    assert_eq!(actions(&world.audited()), expected, "{:#?}", world.audited());
    assert_eq!(history(&key), expected);
}

#[tokio::test]
async fn a_key_from_before_there_was_an_audit_log_is_not_told_of_as_new() {
    let mut world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.enforced("ci").await;
    world.stop_controller().await;
    let before = json!({"status": {"history": null, "auditedSpec": null}});
    let parameters = kube::api::PatchParams::default();
    world.keys().patch_status("ci", &parameters, &kube::api::Patch::Merge(before)).await.unwrap();
    let told = world.audited().len();
    world.start_controller().await;
    world
        .key_when("ci", "a spec to compare with", |key| {
            key.status.as_ref().is_some_and(|status| status.audited_spec.is_some())
        })
        .await;
    assert_eq!(world.audited().len(), told);
    world.patch_key("ci", json!({"displayName": "two"})).await;
    let key = world.enforced("ci").await;
    assert_eq!(history(&key), ["Changed"]);
    let line = world.audited().pop().unwrap();
    assert_eq!(line["fields"], json!([{"path": "/displayName", "after": "two"}]));
}
