//! How many keys an owner may have: who gets the last place, who keeps it, who is next.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyturn::resources::ApiKey;
use keyturn::resources::apikey::KeyState;
use kube::ResourceExt;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sha2::Digest as _;

use super::import::from_hash;
use super::judge::Judge;
use super::world::{World, condition, message, versions};
use crate::support::wait::eventually;

fn of_acme() -> Value {
    json!({"owner": "acme", "tier": "small"})
}

fn is_waiting(key: &ApiKey) -> bool {
    condition(key, "Accepted") == Some(("False".to_owned(), "KeyLimitReached".to_owned()))
}

fn has_a_place(key: &ApiKey) -> bool {
    let state = key.status.as_ref().and_then(|status| status.state);
    matches!(state, Some(KeyState::Active | KeyState::Disabled))
}

/// Names of all keys, the oldest first.
async fn by_age(world: &World) -> Vec<String> {
    let mut keys = world.keys().list(&ListParams::default()).await.unwrap().items;
    keys.sort_by_key(|key| (key.metadata.creation_timestamp.clone().map(|time| time.0), key.metadata.uid.clone()));
    keys.iter().map(ResourceExt::name_any).collect()
}

/// Waits until every key has a place or waits for one, and answers the names of those who have, and of those who wait.
async fn settled(world: &World, places: usize) -> (Vec<String>, Vec<String>) {
    eventually(&format!("{places} keys have a place and all others wait"), async || {
        let keys = world.keys().list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let names = |which: &dyn Fn(&ApiKey) -> bool| -> Vec<String> {
            keys.iter().filter(|key| which(key)).map(ResourceExt::name_any).collect()
        };
        let (placed, waiting) = (names(&has_a_place), names(&is_waiting));
        assert!(placed.len() <= places, "{placed:?} have a place at the same time");
        let all = placed.len() == places && placed.len() + waiting.len() == keys.len();
        if all { Ok((placed, waiting)) } else { Err(format!("{placed:?} have one, {waiting:?} wait")) }
    })
    .await
}

#[tokio::test]
async fn of_many_keys_at_once_only_as_many_as_may_be_get_a_string() {
    let mut world = World::new().await;
    world.create_tier("small", json!({"maxActiveKeysPerOwner": 3})).await;
    let names: Vec<String> = (0..12).map(|at| format!("k{at}")).collect();
    futures::future::join_all(names.iter().map(|name| world.create_key(name, of_acme()))).await;
    let (placed, waiting) = settled(&world, 3).await;
    for name in &waiting {
        let key = world.keys().get(name).await.unwrap();
        assert_eq!(versions(&key), [], "nothing is minted for one that waits");
        let namespace = world.namespace().name();
        assert_eq!(
            message(&key, "Accepted"),
            format!(
                "spec.owner: \"acme\" has as many keys that are neither revoked nor expired as spec.maxActiveKeysPerOwner of ApiKeyTier {namespace}/small allows, which is 3; revoke or delete one of them, or raise the limit, and the oldest key that waits takes the place"
            )
        );
    }
    let mut strings = world.secret_names().await;
    strings.sort();
    let mut expected = placed.clone();
    expected.sort();
    assert_eq!(strings, expected, "those who wait have no Secret");
    world.event(&waiting[0], "KeyLimitReached").await;
    world.create_key("somebody-elses", json!({"owner": "globex", "tier": "small"})).await;
    world.create_key("nobodys", json!({"tier": "small"})).await;
    for name in ["somebody-elses", "nobodys"] {
        world.key_in_state(name, KeyState::Active).await;
        world.delete_key(name).await;
    }

    // A controller that comes anew leaves everybody where they are.
    world.stop_controller().await;
    world.start_controller().await;
    world.create_key("sentinel", of_acme()).await;
    world.key_when("sentinel", "to wait", is_waiting).await;
    assert_eq!(settled(&world, 3).await.0, placed);

    // The oldest that waits takes the place, of one that is revoked as of one that is deleted, the sentinel last.
    let waiting: Vec<String> = by_age(&world).await.into_iter().filter(|name| !placed.contains(name)).collect();
    world.patch_key(&placed[0], json!({"revoked": true})).await;
    world.key_in_state(&waiting[0], KeyState::Active).await;
    world.delete_key(&placed[1]).await;
    world.key_in_state(&waiting[1], KeyState::Active).await;
    // Also of one that goes while nobody looks, though another one asks first.
    world.stop_controller().await;
    world.delete_key(&placed[2]).await;
    world.start_controller().await;
    world.key_in_state(&waiting[2], KeyState::Active).await;
    let others = [&waiting[3], waiting.last().unwrap()];
    for name in others {
        assert!(is_waiting(&world.keys().get(name).await.unwrap()), "{name}");
    }
}

#[tokio::test]
async fn the_owners_own_number_wins_and_lowering_it_takes_nothing_away() {
    let mut world = World::new().await;
    world.create_tier("small", json!({"maxActiveKeysPerOwner": 5})).await;
    world.create_owner("acme", json!({"maxActiveKeys": 2})).await;
    for name in ["a", "b"] {
        world.create_key(name, of_acme()).await;
        world.key_in_state(name, KeyState::Active).await;
    }
    world.create_key("c", of_acme()).await;
    let key = world.key_when("c", "to wait", is_waiting).await;
    let field = format!("spec.maxActiveKeys of ApiKeyOwner {}/acme allows, which is 2;", world.namespace().name());
    assert!(message(&key, "Accepted").contains(&field), "{}", message(&key, "Accepted"));

    world.patch_owner("acme", json!({"spec": {"maxActiveKeys": 3}})).await;
    world.key_in_state("c", KeyState::Active).await;
    world.patch_owner("acme", json!({"spec": {"maxActiveKeys": 1}})).await;
    world.create_key("d", of_acme()).await;
    world.key_when("d", "to wait", is_waiting).await;
    world.stop_controller().await;
    world.start_controller().await;
    // A place is kept whatever else is changed, and a key that is disabled has one, too.
    for name in ["a", "b", "c"] {
        world.patch_key(name, json!({"enabled": name != "b", "displayName": "changed"})).await;
        world.key_when(name, "its place", has_a_place).await;
    }
    world.delete_key("a").await;
    world.delete_key("b").await;
    world.patch_key("d", json!({"displayName": "changed"})).await;
    world.key_when("d", "to wait", is_waiting).await;
    world.delete_key("c").await;
    world.key_in_state("d", KeyState::Active).await;
    // Without a number of the owner's own the tier's counts.
    world.patch_owner("acme", json!({"spec": {"maxActiveKeys": null}})).await;
    world.create_key("e", of_acme()).await;
    world.key_in_state("e", KeyState::Active).await;
}

#[tokio::test]
async fn a_key_that_expires_leaves_its_place_and_a_key_that_comes_back_waits() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    let patch = Patch::Merge(json!({"spec": {"revocation": "Reversible"}}));
    world.apis().patch("transcripts", &PatchParams::default(), &patch).await.unwrap();
    world.create_tier("small", json!({"maxActiveKeysPerOwner": 1})).await;
    world.create_key("a", of_acme()).await;
    world.key_in_state("a", KeyState::Active).await;
    let string = world.string_in("a").await;
    judge.comes_to_say(&string, "a").await;
    world.create_key("b", of_acme()).await;
    world.key_when("b", "to wait", is_waiting).await;
    let soon = keyturn::clock::now().as_second() + 3;
    let soon = jiff::Timestamp::from_second(soon).unwrap().to_string();
    world.patch_key("a", json!({"expiresAt": soon})).await;
    world.key_in_state("b", KeyState::Active).await;
    world.key_in_state("a", KeyState::Expired).await;

    // It has been minted, but its place is taken.
    world.patch_key("a", json!({"expiresAt": null})).await;
    let key = world.key_when("a", "to wait", is_waiting).await;
    assert_eq!(versions(&key).len(), 1, "its string stays");
    judge.comes_to_say(&string, "NOT_ACCEPTED").await;
    world.patch_key("b", json!({"revoked": true})).await;
    world.key_in_state("a", KeyState::Active).await;
    judge.comes_to_say(&string, "a").await;
    world.patch_key("b", json!({"revoked": false})).await;
    world.key_when("b", "to wait", is_waiting).await;

    // Nor does it help to be somebody else's for a while.
    world.create_key("c", json!({"owner": "globex", "tier": "small"})).await;
    world.key_in_state("c", KeyState::Active).await;
    world.patch_key("c", json!({"owner": "acme"})).await;
    world.key_when("c", "to wait", is_waiting).await;
    world.patch_key("c", json!({"owner": "globex"})).await;
    world.key_in_state("c", KeyState::Active).await;
}

#[tokio::test]
async fn an_edit_while_no_controller_runs_and_an_import_need_a_place_as_well() {
    let mut world = World::new().await;
    world.create_tier("small", json!({"maxActiveKeysPerOwner": 1})).await;
    world.create_key("a", of_acme()).await;
    world.key_in_state("a", KeyState::Active).await;
    world.create_key("b", json!({"owner": "globex", "tier": "small"})).await;
    world.key_in_state("b", KeyState::Active).await;
    let mut imported = from_hash(&STANDARD.encode(sha2::Sha256::digest(b"imported-0123456789-abcdef")));
    for (field, value) in of_acme().as_object().unwrap() {
        imported[field] = value.clone();
    }
    world.create_key("imported", imported).await;
    let key = world.key_when("imported", "to wait", is_waiting).await;
    assert_eq!(versions(&key), []);

    world.stop_controller().await;
    world.patch_key("b", json!({"owner": "acme"})).await;
    world.start_controller().await;
    world.key_when("b", "to wait", is_waiting).await;
    assert!(has_a_place(&world.keys().get("a").await.unwrap()));
    world.delete_key("a").await;
    let (placed, waiting) = settled(&world, 1).await;
    let ages = by_age(&world).await;
    assert_eq!((placed, waiting), (vec![ages[0].clone()], vec![ages[1].clone()]));
}
