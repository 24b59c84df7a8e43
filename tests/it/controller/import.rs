//! Existing keys, taken over by their strings or by hashes of them.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keyturn::resources::apikey::{KeyState, VersionState};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::judge::Judge;
use super::world::{World, condition, message, text, versions};

const LEGACY: &str = "legacy/0123456789+abcdef==";
/// SHA-256 of [`LEGACY`], computed with sha256sum.
const LEGACY_SHA_256: &str = "dacebf19ea98e3a31204fa44b560a215b495e793057c5dc9b65c660d0d399088";

pub(super) async fn create_secret(world: &World, name: &str, string: &str, importable: bool) {
    let labels = importable.then(|| BTreeMap::from([("keyturn.dev/importable".to_owned(), "true".to_owned())]));
    let secret = Secret {
        metadata: ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("token".to_owned(), ByteString(string.as_bytes().to_vec()))])),
        ..Secret::default()
    };
    world.secrets().create(&PostParams::default(), &secret).await.unwrap();
}

pub(super) fn from_secret(name: &str) -> Value {
    json!({"source": {"secretRef": {"name": name, "key": "token"}}})
}

pub(super) fn from_hash(hash: &str) -> Value {
    json!({"source": {"digest": {"algorithm": "SHA-256", "value": hash}}})
}

fn request(id: &str) -> Value {
    json!({"rotation": {"request": {"id": id, "gracePeriod": "1h"}}})
}

#[tokio::test]
async fn a_labelled_secret_becomes_version_1_and_a_request_replaces_it_by_a_minted_string() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    create_secret(&world, "old", LEGACY, true).await;
    world.create_key("ci", from_secret("old")).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
    assert_eq!(key.status.as_ref().unwrap().start.as_deref(), Some("legacy"), "a quarter of the string at most");
    assert_eq!(world.string_in("ci").await, LEGACY);
    assert_eq!(judge.says(LEGACY).await, "ci", "what can be read is accepted");
    world.event("ci", "Imported").await;
    let shown = serde_json::to_string(&key).unwrap();
    assert!(!shown.contains("0123456789"), "the string is nowhere but in Secrets: {shown}");

    world.patch_key("ci", request("r1")).await;
    let rotated = [(2, VersionState::Current), (1, VersionState::Grace)];
    world.key_when("ci", "a minted version", |key| versions(key) == rotated).await;
    let minted = world.string_in("ci").await;
    assert!(minted.starts_with("sk_live_"), "from now on it is minted");
    for string in [LEGACY, &minted] {
        judge.comes_to_say(string, "ci").await;
    }
}

#[tokio::test]
async fn a_schedule_of_api_or_tier_does_not_rotate_an_imported_key() {
    let world = World::new().await;
    let defaults = json!({"spec": {"defaults": {"rotation": {"interval": "90d"}}}});
    world.apis().patch("transcripts", &PatchParams::default(), &Patch::Merge(defaults)).await.unwrap();
    create_secret(&world, "old", LEGACY, true).await;
    world.create_key("imported", from_secret("old")).await;
    world.create_key("minted", json!({})).await;
    world
        .key_when("minted", "a schedule", |key| key.status.as_ref().is_some_and(|it| it.next_rotation_at.is_some()))
        .await;
    let imported = world.key_in_state("imported", KeyState::Active).await;
    assert_eq!(imported.status.unwrap().next_rotation_at, None);
}

#[tokio::test]
async fn nothing_is_imported_or_minted_until_the_source_may_be_and_can_be_used() {
    let world = World::new().await;
    create_secret(&world, "unlabelled", LEGACY, false).await;
    create_secret(&world, "short", "too-short", true).await;
    create_secret(&world, "broken", "0123456789abcdef\n", true).await;
    for (source, remedy) in [
        ("nowhere", "no Secret nowhere with data key token and the label keyturn.dev/importable: \"true\""),
        ("unlabelled", "no Secret unlabelled with data key token and the label keyturn.dev/importable: \"true\""),
        ("short", "data key token of Secret short has 9 bytes; a key has 16 to 256"),
        ("broken", "remove it, and line breaks at the end"),
    ] {
        let name = format!("from-{source}");
        world.create_key(&name, from_secret(source)).await;
        let key = world.key_in_state(&name, KeyState::Rejected).await;
        assert_eq!(condition(&key, "Accepted"), Some(("False".into(), "SourceNotFound".into())));
        assert!(message(&key, "Accepted").contains(remedy), "{}", message(&key, "Accepted"));
        assert_eq!(versions(&key), []);
        world.event(&name, "SourceNotFound").await;
    }
    assert_eq!(world.secret_names().await, [""; 0]);

    // The causes gone, both heal by themselves.
    create_secret(&world, "nowhere", LEGACY, true).await;
    let label = json!({"metadata": {"labels": {"keyturn.dev/importable": "true"}}, "stringData": {"token": "another-legacy-0123456789"}});
    world.secrets().patch("unlabelled", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    for name in ["from-nowhere", "from-unlabelled"] {
        world.key_in_state(name, KeyState::Active).await;
    }
}

#[tokio::test]
async fn a_hash_is_enough_and_a_request_mints_the_next_version() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    world.create_key("ci", from_hash(LEGACY_SHA_256)).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(condition(&key, "SecretSynced"), Some(("True".into(), "Delivered".into())));
    assert_eq!((versions(&key), key.status.unwrap().start), (vec![(1, VersionState::Current)], None));
    judge.comes_to_say(LEGACY, "ci").await;
    assert_eq!(judge.says(&LEGACY[1..]).await, "UNAUTHORIZED");
    assert_eq!(world.secret_names().await, [""; 0], "the string is nowhere in the cluster");

    world.patch_key("ci", request("r1")).await;
    let rotated = [(2, VersionState::Current), (1, VersionState::Grace)];
    world.key_when("ci", "a minted version", |key| versions(key) == rotated).await;
    judge.comes_to_say(&world.string_in("ci").await, "ci").await;
    assert_eq!(judge.says(LEGACY).await, "ci");
    world.patch_key("ci", json!({"revoked": true})).await;
    judge.comes_to_say(LEGACY, "REVOKED").await;
}

#[tokio::test]
async fn a_hash_needs_no_secret_of_the_keys_name() {
    let world = World::new().await;
    create_secret(&world, "ci", LEGACY, false).await;
    let theirs = world.secrets().get("ci").await.unwrap();
    world.create_key("ci", from_hash(LEGACY_SHA_256)).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.patch_key("ci", request("r1")).await;
    let taken = Some(("False".to_owned(), "SecretNameTaken".to_owned()));
    let key = world.key_when("ci", "no place for a string", |key| condition(key, "SecretSynced") == taken).await;
    assert_eq!(
        (versions(&key), condition(&key, "Ready").unwrap().0.as_str()),
        (vec![(1, VersionState::Current)], "True")
    );
    assert_eq!(world.secrets().get("ci").await.unwrap(), theirs);
    assert_eq!(text(&theirs, "token").as_deref(), Some(LEGACY));
}
