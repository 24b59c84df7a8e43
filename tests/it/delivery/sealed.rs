//! Delivery Sealed.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use keyturn::resources::ApiKey;
use keyturn::resources::apikey::{KeyState, VersionDelivery, VersionState};
use keyturn::seal::{Label, PrivateKey};
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::world::{World, state, version};
use crate::controller::world::{condition, message, versions};
use crate::support::process::scratch;

fn sealed(public: &str) -> Value {
    json!({"delivery": "Sealed", "sealTo": public})
}

/// Opens a version of the key.
fn open(private: &PrivateKey, key: &ApiKey, number: u32) -> String {
    let key_id = key.status.as_ref().unwrap().id.clone().unwrap();
    let text = version(key, number).sealed.expect("the version is sealed");
    private.open(&text, Label { key_id: &key_id, version: number }).unwrap().expose().to_owned()
}

/// The names of all Secrets that there ever are from now on.
fn names_of_secrets(secrets: Api<Secret>) -> Arc<Mutex<Vec<String>>> {
    let names: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&names);
    tokio::spawn(async move {
        let mut events = Box::pin(watcher(secrets, watcher::Config::default()));
        while let Some(event) = events.next().await {
            if let Ok(watcher::Event::Apply(secret) | watcher::Event::InitApply(secret)) = event {
                seen.lock().unwrap().push(secret.name_any());
            }
        }
    });
    names
}

#[tokio::test]
async fn the_string_never_stands_in_the_cluster() {
    let world = World::new().await;
    let names = names_of_secrets(world.secrets());
    let (private, public) = PrivateKey::generate().unwrap();
    let key = world.active_key("ci", sealed(&public)).await;
    assert_eq!(condition(&key, "SecretSynced"), Some(("True".into(), "Sealed".into())));
    assert_eq!(key.status.as_ref().unwrap().secret_ref, None);
    let string = open(&private, &key, 1);
    assert!(string.starts_with(key.status.as_ref().unwrap().start.as_deref().unwrap()));
    world.is_answered(&string, "ALLOWED").await;

    world.acknowledge("ci", "1").await;
    let key = world.key_with_reason("ci", "Delivered").await;
    let delivered = version(&key, 1);
    assert_eq!((delivered.delivery, delivered.sealed, delivered.deliver_by), (Some(VersionDelivery::Done), None, None));
    world.is_answered(&string, "ALLOWED").await;
    // A key of the other kind, so that the watch is known to have seen everything before it.
    world.active_key("sentinel", json!({})).await;
    crate::support::wait::eventually("the sentinel is seen", async || {
        let names = names.lock().unwrap();
        if names.iter().any(|name| name == "sentinel") { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    let sentinel = world.keys().get("sentinel").await.unwrap().uid().unwrap();
    let names = names.lock().unwrap().clone();
    let others =
        names.iter().filter(|name| !name.contains(&sentinel) && *name != "sentinel" && *name != "keyturn-pepper");
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new());
    let log = world.controller().log();
    assert!(
        log.contains("Minted") && !log.contains(&string["sk_live_".len() + 4..]),
        "the log tells, but not the string"
    );
}

#[tokio::test]
async fn what_nobody_acknowledges_goes_after_its_time() {
    let world = World::new().await;
    let (_, public) = PrivateKey::generate().unwrap();
    world.active_key("ci", json!({"delivery": "Sealed", "sealTo": public, "onceTtl": "3s"})).await;
    let key = world.key_with_reason("ci", "Delivered").await;
    assert_eq!((state(&key), version(&key, 1).sealed), (Some(KeyState::Active), None));
    world.event("ci", "DeliveryTimedOut").await;
}

#[tokio::test]
async fn a_public_key_that_is_none_is_told_and_nothing_is_minted() {
    let world = World::new().await;
    // 1,184 bytes, as the schema demands, with coefficients above the modulus.
    world.create_key("ci", sealed(&format!("{}8=", "/".repeat(1578)))).await;
    let key = world.key_with_reason("ci", "SealToInvalid").await;
    assert_eq!((state(&key), versions(&key)), (Some(KeyState::Pending), vec![]));
    let told = message(&key, "SecretSynced");
    assert!(told.starts_with("spec.secret.sealTo: ") && told.contains("keyturn seal-keygen"), "{told}");
    world.event("ci", "SealToInvalid").await;
    let (private, public) = PrivateKey::generate().unwrap();
    world.patch("ci", json!({"spec": {"secret": {"sealTo": public}}})).await;
    let key = world.key_with_reason("ci", "Sealed").await;
    world.is_answered(&open(&private, &key, 1), "ALLOWED").await;
}

#[tokio::test]
async fn a_request_seals_to_the_public_key_of_that_moment() {
    let world = World::new().await;
    let (first, public) = PrivateKey::generate().unwrap();
    let key = world.active_key("ci", sealed(&public)).await;
    let old = open(&first, &key, 1);
    let (second, public) = PrivateKey::generate().unwrap();
    let request = json!({"request": {"id": "r1", "gracePeriod": "1h"}});
    world.patch("ci", json!({"spec": {"rotation": request, "secret": {"sealTo": public}}})).await;
    let rotated = |key: &ApiKey| versions(key) == [(2, VersionState::Current), (1, VersionState::Grace)];
    let key = world.key_when("ci", "two versions", rotated).await;
    let new = open(&second, &key, 2);
    assert_eq!(open(&first, &key, 1), old, "the one before waits for its own reader");
    for string in [&old, &new] {
        world.is_answered(string, "ALLOWED").await;
    }
    world.patch("ci", json!({"spec": {"rotation": {"request": {"id": "r2", "gracePeriod": "0s"}}}})).await;
    let alone = |key: &ApiKey| versions(key)[0] == (3, VersionState::Current);
    let key = world.key_when("ci", "a third version", alone).await;
    assert_eq!((version(&key, 2).sealed, version(&key, 1).sealed), (None, None), "what is retired is for nobody");
    world.is_answered(&new, "EXPIRED").await;
    world.is_answered(&open(&second, &key, 3), "ALLOWED").await;
}

#[tokio::test]
async fn a_schedule_asks_for_a_rotation_and_makes_none() {
    let mut world = World::new().await;
    let (private, public) = PrivateKey::generate().unwrap();
    let key = world.active_key("ci", sealed(&public)).await;
    let string = open(&private, &key, 1);
    world.patch("ci", json!({"spec": {"rotation": {"interval": "30m"}}})).await;
    world.key_when("ci", "a next rotation", |key| key.status.as_ref().unwrap().next_rotation_at.is_some()).await;
    world.age("ci").await;
    let key = world.key_with_reason("ci", "RotationDue").await;
    assert_eq!((state(&key), versions(&key)), (Some(KeyState::Active), vec![(1, VersionState::Current)]));
    world.event("ci", "RotationDue").await;
    world.is_counted("RotationDue").await;
    world.is_answered(&string, "ALLOWED").await;
    world.patch("ci", json!({"spec": {"rotation": {"request": {"id": "r1"}}}})).await;
    let key = world.key_with_reason("ci", "Sealed").await;
    assert_eq!(versions(&key)[0], (2, VersionState::Current));
}

#[tokio::test]
async fn a_controller_that_is_killed_again_and_again_loses_no_sealed_string() {
    let mut world = World::new().await;
    let (private, public) = PrivateKey::generate().unwrap();
    let names: Vec<String> = (0..4).map(|number| format!("key-{number}")).collect();
    for name in &names {
        world.create_key(name, sealed(&public)).await;
        world.kill_controller().await;
        world.start_controller().await;
    }
    for name in &names {
        let key = world.key_with_reason(name, "Sealed").await;
        assert_eq!(versions(&key), [(1, VersionState::Current)], "{name}");
        world.is_answered(&open(&private, &key, 1), "ALLOWED").await;
    }
    world.secrets_are(&[]).await;
}

#[tokio::test]
async fn the_command_line_makes_a_key_pair_and_opens_what_was_sealed_to_it() {
    let world = World::new().await;
    let file = scratch("ci.pem");
    let keygen =
        || Command::new(env!("CARGO_BIN_EXE_keyturn")).arg("seal-keygen").arg("--key-file").arg(&file).output();
    let made = keygen().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let again = keygen().unwrap();
    assert!(!again.status.success(), "a key that exists is never overwritten");
    assert!(String::from_utf8(again.stderr).unwrap().contains("choose a file that does not exist yet"));

    let public = String::from_utf8(made.stdout).unwrap();
    let key = world.active_key("ci", sealed(public.trim_end())).await;
    let mut opening = Command::new(env!("CARGO_BIN_EXE_keyturn"))
        .arg("seal-open")
        .arg("--key-file")
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    opening.stdin.take().unwrap().write_all(&serde_json::to_vec(&key).unwrap()).unwrap();
    let opened = opening.wait_with_output().unwrap();
    assert!(opened.status.success(), "{opened:?}");
    let string = String::from_utf8(opened.stdout).unwrap();
    world.is_answered(string.trim_end(), "ALLOWED").await;
}
