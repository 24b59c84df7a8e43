//! Keys that come back from a backup, in order and in disorder, and strings that must not come back.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use keyturn::resources::ApiKey;
use keyturn::resources::apikey::{KeyState, VersionState};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use super::judge::Judge;
use super::world::{World, condition, text, versions};
use crate::support::wait::eventually;

/// As Velero writes an object back: without owners and without what the server fills in.
pub(super) fn secret_in_backup(mut secret: Secret) -> Secret {
    secret.metadata.owner_references = None;
    secret.metadata.uid = None;
    secret.metadata.resource_version = None;
    secret.metadata.creation_timestamp = None;
    secret.metadata.managed_fields = None;
    secret
}

struct Backup {
    key: ApiKey,
    secret: Secret,
    pepper: Secret,
}

impl Backup {
    async fn take(world: &World, name: &str) -> Self {
        let mut key = world.keys().get(name).await.unwrap();
        key.status = None;
        key.metadata = kube::core::ObjectMeta { name: Some(name.to_owned()), ..kube::core::ObjectMeta::default() };
        let secret = secret_in_backup(world.secrets().get(name).await.unwrap());
        let pepper = secret_in_backup(world.secrets().get("keyturn-pepper").await.unwrap());
        Self { key, secret, pepper }
    }

    async fn restore_key(&self, world: &World) -> ApiKey {
        world.keys().create(&PostParams::default(), &self.key).await.unwrap()
    }

    async fn restore_secret(&self, world: &World) {
        world.secrets().create(&PostParams::default(), &self.secret).await.unwrap();
    }
}

/// Everything of the key goes, whether the garbage collector is faster or not.
async fn lose(world: &World, name: &str) {
    world.delete_key(name).await;
    match world.secrets().delete(name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.is_not_found() => {}
        Err(error) => panic!("deleting Secret {name}: {error}"),
    }
}

/// A key in its second version.
async fn rotated(world: &World, name: &str) -> ApiKey {
    world.create_key(name, json!({})).await;
    world.key_in_state(name, KeyState::Active).await;
    world.patch_key(name, json!({"rotation": {"request": {"id": "r1", "gracePeriod": "0s"}}})).await;
    let second = |key: &ApiKey| versions(key)[0] == (2, VersionState::Current);
    world.key_when(name, "a second version", second).await
}

#[tokio::test]
async fn secrets_then_keys_bring_back_string_number_and_id() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    let before = rotated(&world, "ci").await;
    let string = world.string_in("ci").await;
    let backup = Backup::take(&world, "ci").await;
    lose(&world, "ci").await;
    judge.comes_to_say(&string, "UNAUTHORIZED").await;

    backup.restore_secret(&world).await;
    let created = backup.restore_key(&world).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    world.event("ci", "Adopted").await;
    judge.comes_to_say(&string, "ci").await;
    assert_eq!(versions(&key), [(2, VersionState::Current)]);
    let (before, after) = (before.status.unwrap(), key.status.unwrap());
    assert_eq!((after.id, after.start), (before.id, before.start));
    assert_eq!(after.rotation_request.as_deref(), Some("r1"), "the request in the backup is not carried out again");
    assert_eq!(world.string_in("ci").await, string);
    let secret = world.secrets().get("ci").await.unwrap();
    let owners: Vec<_> = secret.owner_references().iter().map(|owner| Some(owner.uid.clone())).collect();
    assert_eq!(owners, [created.metadata.uid]);
    // It lives on as if nothing had happened.
    world.patch_key("ci", json!({"rotation": {"request": {"id": "r2", "gracePeriod": "1h"}}})).await;
    let rotated = [(3, VersionState::Current), (2, VersionState::Grace)];
    world.key_when("ci", "a third version", |key| versions(key) == rotated).await;
}

#[tokio::test]
async fn a_key_whose_place_another_has_waits_for_one_and_then_has_its_string_back() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    world.create_tier("small", json!({"maxActiveKeysPerOwner": 1})).await;
    let of_acme = || json!({"owner": "acme", "tier": "small"});
    world.create_key("ci", of_acme()).await;
    let before = world.key_in_state("ci", KeyState::Active).await;
    let string = world.string_in("ci").await;
    let backup = Backup::take(&world, "ci").await;
    lose(&world, "ci").await;
    world.create_key("other", of_acme()).await;
    world.key_in_state("other", KeyState::Active).await;

    backup.restore_secret(&world).await;
    backup.restore_key(&world).await;
    let full = Some(("False".to_owned(), "KeyLimitReached".to_owned()));
    let waiting = world.key_when("ci", "to wait", |key| condition(key, "Accepted") == full).await;
    assert_eq!(versions(&waiting), []);
    let secret = world.secrets().get("ci").await.unwrap();
    assert_eq!((secret.owner_references().len(), text(&secret, "api-key")), (0, Some(string.clone())));
    judge.comes_to_say(&string, "UNAUTHORIZED").await;

    world.delete_key("other").await;
    let after = world.key_in_state("ci", KeyState::Active).await;
    world.event("ci", "Adopted").await;
    judge.comes_to_say(&string, "ci").await;
    let id = |key: ApiKey| key.status.and_then(|status| status.id);
    assert_eq!((world.string_in("ci").await, id(after)), (string, id(before)));
}

#[tokio::test]
async fn a_pepper_that_comes_late_is_waited_for_and_not_replaced() {
    let mut world = World::new().await;
    rotated(&world, "ci").await;
    let string = world.string_in("ci").await;
    let backup = Backup::take(&world, "ci").await;
    world.stop_controller().await;
    lose(&world, "ci").await;
    world.secrets().delete("keyturn-pepper", &DeleteParams::default()).await.unwrap();

    backup.restore_secret(&world).await;
    backup.restore_key(&world).await;
    let refused = world.try_controller().await.unwrap_err();
    let refused = format!("{refused}: {}", std::error::Error::source(&refused).unwrap());
    assert!(
        refused.contains("keyturn-pepper is missing, but Secret") && refused.contains("/ci was written"),
        "{refused}"
    );
    assert_eq!(world.secrets().get_opt("keyturn-pepper").await.unwrap(), None);
    world.secrets().create(&PostParams::default(), &backup.pepper).await.unwrap();
    world.start_controller().await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    assert_eq!((versions(&key), world.string_in("ci").await), (vec![(2, VersionState::Current)], string));
}

#[tokio::test]
async fn a_key_that_comes_before_its_secret_is_minted_anew_and_stays_so() {
    let world = World::new().await;
    rotated(&world, "ci").await;
    let old = world.string_in("ci").await;
    let backup = Backup::take(&world, "ci").await;
    lose(&world, "ci").await;
    backup.restore_key(&world).await;
    world.key_in_state("ci", KeyState::Active).await;
    let minted = world.string_in("ci").await;
    assert_ne!(minted, old);
    // A backup tool either leaves alone what is there, or writes over it, which is tampering.
    let refused = world.secrets().create(&PostParams::default(), &backup.secret).await.unwrap_err();
    assert!(matches!(refused, kube::Error::Api(status) if status.is_already_exists()));
    let data: Value = serde_json::to_value(&backup.secret.data).unwrap();
    world.secrets().patch("ci", &PatchParams::default(), &Patch::Merge(json!({"data": data}))).await.unwrap();
    let second = [(2, VersionState::Current), (1, VersionState::Grace)];
    world.key_when("ci", "a string that nobody knows", |key| versions(key) == second).await;
    let healed = world.string_in("ci").await;
    assert!(healed != old && healed != minted);
}

#[tokio::test]
async fn what_is_not_proven_is_never_adopted() {
    let world = World::new().await;
    for name in ["ci", "other"] {
        rotated(&world, name).await;
    }
    let (backup, other) = (Backup::take(&world, "ci").await, Backup::take(&world, "other").await);
    lose(&world, "ci").await;
    let bytes = |text: &str| Some(ByteString(text.as_bytes().to_vec()));
    let of_other = |key: &str| other.secret.data.as_ref().unwrap().get(key).cloned();
    let flipped = |key: &str| {
        let mut text = text(&backup.secret, key).unwrap();
        let last = if text.pop() == Some('0') { '1' } else { '0' };
        text.push(last);
        bytes(&text)
    };
    let mut attempts = vec![
        ("no proof", vec![("api-key-proof", None)]),
        ("a changed proof", vec![("api-key-proof", flipped("api-key-proof"))]),
        ("the proof of another key", vec![("api-key-proof", of_other("api-key-proof"))]),
        ("the id of another key", vec![("api-key-id", of_other("api-key-id"))]),
        ("no id", vec![("api-key-id", None)]),
        ("another number", vec![("api-key-version", bytes("3"))]),
        ("a number that is spelt otherwise", vec![("api-key-version", bytes("02"))]),
        ("a chosen string", vec![("api-key", bytes("sk_live_0123456789"))]),
        ("the string of another key", vec![("api-key", of_other("api-key"))]),
    ];
    let all = ["api-key", "api-key-id", "api-key-version", "api-key-proof"];
    attempts.push(("all of another key", all.map(|key| (key, of_other(key))).to_vec()));
    for (what, changes) in attempts {
        let mut forged = backup.secret.clone();
        let data = forged.data.get_or_insert_default();
        for (key, value) in changes {
            match value {
                Some(value) => data.insert(key.to_owned(), value),
                None => data.remove(key),
            };
        }
        refuses(&world, &backup.key, &forged, what).await;
    }
    // The right proof for another API.
    world.apis().patch("elsewhere", &PatchParams::apply("test"), &Patch::Apply(json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi", "metadata": {"name": "elsewhere"}, "spec": {},
    }))).await.unwrap();
    let mut elsewhere = backup.key.clone();
    elsewhere.spec.api_ref.name = "elsewhere".to_owned();
    refuses(&world, &elsewhere, &backup.secret, "a proof for another API").await;
    // Under another name.
    let mut renamed = backup.key.clone();
    (renamed.metadata.name, renamed.spec.secret.name) = (Some("renamed".to_owned()), Some("ci".to_owned()));
    refuses(&world, &renamed, &backup.secret, "a proof for another name").await;
    // The Secret of a key that was deleted and is about to go with it.
    let mut orphan = backup.secret.clone();
    orphan.metadata.owner_references = world.secrets().get("other").await.unwrap().metadata.owner_references;
    refuses(&world, &backup.key, &orphan, "a Secret with an owner").await;
    // All these were wrong in one thing only.
    backup.restore_secret(&world).await;
    backup.restore_key(&world).await;
    world.key_in_state("ci", KeyState::Active).await;
}

/// Applies both, sees the key refused and the Secret untouched, and takes both away.
async fn refuses(world: &World, key: &ApiKey, secret: &Secret, what: &str) {
    let found = world.secrets().create(&PostParams::default(), secret).await.unwrap();
    let name = key.name_any();
    world.keys().create(&PostParams::default(), key).await.unwrap();
    let key = world.key_in_state(&name, KeyState::Rejected).await;
    assert_eq!(condition(&key, "Accepted"), Some(("False".into(), "SecretNameTaken".into())), "{what}");
    assert_eq!((versions(&key), key.status.unwrap().id), (vec![], None), "{what}");
    assert_eq!(world.secrets().get(&found.name_any()).await.unwrap(), found, "{what}");
    world.delete_key(&name).await;
    world.secrets().delete(&found.name_any(), &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_leaked_key_that_was_deleted_and_is_applied_again_does_not_come_back() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    rotated(&world, "ci").await;
    let leaked = world.string_in("ci").await;
    let backup = Backup::take(&world, "ci").await;
    world.patch_key("ci", json!({"revoked": true})).await;
    world.key_in_state("ci", KeyState::Revoked).await;
    world.delete_key("ci").await;
    backup.restore_key(&world).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
    let fresh = world.string_in("ci").await;
    assert_ne!(fresh, leaked);
    judge.comes_to_say(&fresh, "ci").await;
    assert_eq!(judge.says(&leaked).await, "UNAUTHORIZED");

    // Revoked in the manifests: not even what the backup proves comes back, and its Secret goes.
    lose(&world, "ci").await;
    backup.restore_secret(&world).await;
    let mut revoked = backup.key.clone();
    revoked.spec.revoked = true;
    world.keys().create(&PostParams::default(), &revoked).await.unwrap();
    world.key_in_state("ci", KeyState::Revoked).await;
    assert_eq!(judge.says(&leaked).await, "UNAUTHORIZED");
    eventually("its Secret goes", async || match world.secrets().get_opt("ci").await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|secret| secret.map(|it| it.metadata.resource_version)))),
    })
    .await;
}
