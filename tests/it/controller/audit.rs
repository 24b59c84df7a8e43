//! What is written down when writing the status fails, and what is read from it after a restore.

use std::process::Command;

use keyturn::resources::ApiKey;
use keyturn::resources::apikey::KeyState;
use serde_json::{Value, json};

use super::world::World;
use crate::support::apiserver::{Call, Fault, FaultyApiServer};
use crate::support::program::printed;

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

#[tokio::test]
async fn the_doctor_lists_what_was_done_since_the_snapshot_and_first_what_lets_in() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.enforced("ci").await;
    world.patch_key("ci", json!({"revoked": true})).await;
    world.enforced("ci").await;
    let doctor = |since: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyturn"));
        command.args(["doctor", "-ojson", "--since", since, "--audit-log"]).arg(world.audit_file());
        let told = printed(&mut command).expect("the doctor has read the log");
        serde_json::from_str::<Value>(&told).expect("it is JSON")
    };
    assert_eq!(doctor("2999-01-01T00:00:00Z"), json!({"undone": [], "unreadable": 0}));
    let told = doctor("2000-01-01T00:00:00Z");
    let undone = told["undone"].as_array().expect("a list");
    assert_eq!(actions(undone), ["Revoked", "Created", "Minted"]);
    let key = json!({"namespace": world.namespace().name(), "name": "ci"});
    assert_eq!((&undone[0]["key"], &undone[0]["remedy"]), (&key, &"it is accepted again: revoke it again".into()));
    let nothing_asked = printed(Command::new(env!("CARGO_BIN_EXE_keyturn")).arg("doctor")).unwrap_err();
    assert!(nothing_asked.contains("--request <ID>|--since <TIME>"), "{nothing_asked}");
}
