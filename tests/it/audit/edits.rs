//! Edits by several people, with nobody to prove who they are, and a controller that comes and goes.

use serde_json::{Value, json};

use super::world::{KEY, Log, Person, history, told};
use crate::support::cluster::Namespace;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

async fn controller(namespace: &Namespace, log: &Log) -> Keyturn {
    let mut controller = Keyturn::start("controller", namespace, &[&log.option(), "--leader-lease=2s"]);
    controller.ready().await;
    controller
}

async fn stop(mut controller: Keyturn) {
    controller.signal(Signal::TERM);
    controller.process().ended().await;
}

fn people(namespace: &Namespace) -> [Person; 2] {
    ["gitops", "kubectl-edit"].map(|manager| Person::new(namespace.client().clone(), namespace.name(), manager))
}

#[tokio::test]
async fn every_change_is_one_line_and_one_entry() {
    let (namespace, log) = (Namespace::create().await, Log::new());
    let _controller = controller(&namespace, &log).await;
    let [gitops, person] = people(&namespace);
    gitops
        .create(json!({"displayName": "one", "secret": {"data": {".env": "PASSWORD=hunter2\nTOKEN=$(apiKey)"}}}))
        .await;
    gitops.settled().await;
    person.edit(json!({"displayName": "two", "secret": {"data": {".env": "PASSWORD=hunter3"}}})).await;
    person.settled().await;
    gitops.edit(json!({"rotation": {"request": {"id": "r1", "gracePeriod": "0s"}}})).await;
    gitops.settled().await;
    person.edit(json!({"enabled": false})).await;
    person.settled().await;
    person.edit(json!({"enabled": true})).await;
    let secrets = person.secrets().await;
    person.settled().await;
    person.edit(json!({"revoked": true, "revocationReason": format!("leaked: {}", secrets[0])})).await;
    let key = person.settled().await;

    let expected = [
        told("gitops", "FieldManager", "Created"),
        told("keyturn", "Keyturn", "Minted"),
        told("kubectl-edit", "FieldManager", "Changed"),
        told("gitops", "FieldManager", "RotationRequested"),
        told("keyturn", "Keyturn", "Retired"),
        told("keyturn", "Keyturn", "Rotated"),
        told("kubectl-edit", "FieldManager", "Disabled"),
        told("kubectl-edit", "FieldManager", "Enabled"),
        told("kubectl-edit", "FieldManager", "Revoked"),
    ];
    assert_eq!(log.told(), expected);
    let newest_first: Vec<_> = expected.iter().rev().take(8).cloned().collect();
    assert_eq!(history(&key), newest_first);
    let fields = json!([
        {"path": "/displayName", "before": "one", "after": "two"},
        {"path": "/secret/data/.env", "before": "(not shown)", "after": "(not shown)"},
    ]);
    let lines = log.lines();
    assert_eq!(lines[2]["fields"], fields);
    assert_eq!(lines[2]["key"]["id"], json!(key.status.as_ref().unwrap().id));
    assert_eq!(lines[5]["detail"], "version 2, for request r1");

    namespace.api::<keyturn::resources::ApiKey>().delete(KEY, &kube::api::DeleteParams::default()).await.unwrap();
    let deleted = log.last("Deleted").await;
    assert_eq!((&deleted["actor"], &deleted["key"]["name"]), (&json!("unknown"), &json!(KEY)));
    let text = log.text();
    assert_eq!(text.lines().count(), expected.len() + 1, "no line is there twice:\n{text}");
    for secret in secrets.iter().map(String::as_str).chain(["hunter2", "hunter3"]) {
        assert!(!text.contains(secret), "a secret is in the audit log:\n{text}");
    }
}

#[tokio::test]
async fn edits_while_no_controller_runs_appear_as_one_by_their_last_author() {
    let (namespace, log) = (Namespace::create().await, Log::new());
    let first = controller(&namespace, &log).await;
    let [gitops, person] = people(&namespace);
    gitops.create(json!({"displayName": "one"})).await;
    gitops.settled().await;
    stop(first).await;
    gitops.edit(json!({"displayName": "two", "description": "two"})).await;
    // The time of a field manager has no fractions; the later of two in one second cannot be told.
    let before = person.keys().get(KEY).await.unwrap().metadata.managed_fields.unwrap_or_default();
    let last = before.iter().filter_map(|manager| manager.time.as_ref()).map(|at| at.0).max().unwrap();
    eventually("a second has passed", async || {
        let edited = person.edit(json!({"displayName": format!("three at {}", keyturn::clock::now())})).await;
        let managers = edited.metadata.managed_fields.unwrap_or_default();
        let mine =
            managers.iter().find(|it| it.manager.as_deref() == Some("kubectl-edit")).and_then(|it| it.time.clone());
        if mine.is_some_and(|at| at.0 > last) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let edited = person.edit(json!({"displayName": "three"})).await;

    // Moved away meanwhile, as rotators of logs do: the next line begins a new file.
    let moved = log.path().with_extension("1");
    std::fs::rename(log.path(), &moved).unwrap();
    let second = controller(&namespace, &log).await;
    let key = person.settled().await;
    assert_eq!(log.told(), [told("kubectl-edit", "FieldManager", "Changed")]);
    let line = &log.lines()[0];
    let id = format!("{}.Changed.{}", key.metadata.uid.clone().unwrap(), edited.metadata.generation.unwrap());
    assert_eq!(line["id"], json!(id));
    let fields = json!([
        {"path": "/displayName", "before": "one", "after": "three"},
        {"path": "/description", "after": "two"},
    ]);
    assert_eq!(line["fields"], fields);
    stop(second).await;
    let _third = controller(&namespace, &log).await;
    person.edit(json!({"displayName": "four"})).await;
    person.settled().await;
    assert_eq!(log.text().lines().count(), 2, "a restart tells nothing twice");
}

#[tokio::test]
async fn no_edit_is_missed_by_a_controller_that_is_killed() {
    let (namespace, log) = (Namespace::create().await, Log::new());
    let mut running = controller(&namespace, &log).await;
    let [gitops, person] = people(&namespace);
    gitops.create(json!({"displayName": "0"})).await;
    gitops.settled().await;
    for round in 1..=4 {
        let told = log.lines().len();
        person.edit(json!({"displayName": round.to_string()})).await;
        if round % 2 == 0 {
            // Between the line and the status, if it is that fast.
            eventually("the edit is told", async || if log.lines().len() > told { Ok(()) } else { Err(log.text()) })
                .await;
        }
        running.signal(Signal::KILL);
        running.process().ended().await;
        running = controller(&namespace, &log).await;
        person.settled().await;
    }
    let mut value = json!("0");
    for line in log.lines().iter().filter(|line| line["action"] == "Changed") {
        let fields: &Value = &line["fields"];
        // What was told, and not written down before the kill, is told again together with what came since.
        let follows = fields[0]["before"] == value || fields[0]["after"] != value;
        assert!(follows && fields[0]["path"] == "/displayName", "after {value}: {line}");
        value = fields[0]["after"].clone();
    }
    assert_eq!(value, "4");
}

#[tokio::test]
async fn the_history_holds_eight_entries_and_the_log_all() {
    let (namespace, log) = (Namespace::create().await, Log::new());
    let _controller = controller(&namespace, &log).await;
    let [gitops, person] = people(&namespace);
    gitops.create(json!({})).await;
    gitops.settled().await;
    for round in 0..10 {
        person.edit(json!({"description": round.to_string()})).await;
        person.settled().await;
    }
    let key = person.settled().await;
    let changed = told("kubectl-edit", "FieldManager", "Changed");
    assert_eq!(history(&key), vec![changed; 8]);
    let told = log.told();
    assert_eq!((told.len(), told[0][2].as_str(), told[1][2].as_str()), (12, "Created", "Minted"));
}

#[tokio::test]
async fn without_a_file_the_lines_go_into_the_log_whatever_its_level() {
    let namespace = Namespace::create().await;
    let mut controller = Keyturn::start("controller", &namespace, &["--log-level=error", "--log-format=json"]);
    controller.ready().await;
    let [gitops, _] = people(&namespace);
    gitops.create(json!({})).await;
    gitops.settled().await;
    let log = controller.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.filter(|line| line["target"] == "audit").map(|line| {
        let message = line["message"].as_str().expect("a line has a message").to_owned();
        serde_json::from_str::<Value>(&message).unwrap_or_else(|_| panic!("{message}"))["action"].clone()
    });
    assert_eq!(told.collect::<Vec<_>>(), ["Created", "Minted"], "{log}");
}
