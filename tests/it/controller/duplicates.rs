//! Two keys with one string: the older counts, for verifiers as in the status.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyturn::resources::ApiKey;
use keyturn::resources::apikey::KeyState;
use kube::api::DeleteParams;
use sha2::Digest as _;

use super::import::from_hash;
use super::judge::Judge;
use super::world::{World, condition, message, versions};

const STRING: &str = "shared-0123456789-abcdef";

fn hash(string: &str) -> String {
    STANDARD.encode(sha2::Sha256::digest(string.as_bytes()))
}

/// As the API server orders them.
fn older_first(a: ApiKey, b: ApiKey) -> [String; 2] {
    let age = |key: &ApiKey| (key.metadata.creation_timestamp.clone().unwrap().0, key.metadata.uid.clone());
    let mut both = [a, b];
    both.sort_by_key(age);
    both.map(|key| key.metadata.name.unwrap())
}

#[tokio::test]
async fn of_two_imports_at_once_the_older_counts_and_the_other_takes_its_place_when_it_goes() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    let (spec, other) = (from_hash(&hash(STRING)), from_hash(&hash(STRING)));
    let (a, b) = tokio::join!(world.create_key("a", spec), world.create_key("b", other));
    let [older, younger] = older_first(a, b);
    world.key_in_state(&older, KeyState::Active).await;
    let refused = Some(("False".to_owned(), "DuplicateKey".to_owned()));
    let key = world.key_when(&younger, "DuplicateKey", |key| condition(key, "Accepted") == refused).await;
    assert!(message(&key, "Accepted").contains(&format!("/{older} of the same ProtectedApi is older")));
    world.event(&younger, "DuplicateKey").await;
    judge.comes_to_say(STRING, &older).await;

    world.keys().delete(&older, &DeleteParams::default()).await.unwrap();
    world.key_in_state(&younger, KeyState::Active).await;
    judge.comes_to_say(STRING, &younger).await;
}

#[tokio::test]
async fn a_string_that_an_older_key_has_is_not_imported() {
    let mut world = World::new().await;
    world.create_key("minted", serde_json::json!({})).await;
    world.key_in_state("minted", KeyState::Active).await;
    let string = world.string_in("minted").await;
    // A later second, so that the age decides and not the uid.
    let created = world.keys().get("minted").await.unwrap().metadata.creation_timestamp.unwrap().0;
    crate::support::wait::eventually("a second has passed", async || {
        if keyturn::clock::now().as_second() > created.as_second() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    world.create_key("copy", from_hash(&hash(&string))).await;
    let refused = Some(("False".to_owned(), "DuplicateKey".to_owned()));
    let copy = world.key_when("copy", "DuplicateKey", |key| condition(key, "Accepted") == refused).await;
    assert_eq!(versions(&copy), []);

    // A controller that starts anew is not taken in by the order in which it hears of them.
    world.stop_controller().await;
    let before = world.versions_of_everything().await;
    world.start_controller().await;
    world.create_key("sentinel", serde_json::json!({})).await;
    world.key_in_state("sentinel", KeyState::Active).await;
    let after = world.versions_of_everything().await;
    for object in before {
        assert!(after.contains(&object), "{object:?} was written without a reason");
    }
    world.delete_key("minted").await;
    world.key_in_state("copy", KeyState::Active).await;
}
