//! Several peppers: added, activated, taken away, lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyturn::resources::ApiKey;
use keyturn::resources::apikey::{KeyState, VersionDelivery, VersionState};
use keyturn::seal::PrivateKey;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::import::from_hash;
use super::judge::Judge;
use super::world::{World, condition, versions};

/// Changes data keys of the Secret; null takes one away.
pub(super) async fn change(world: &World, data: Value) {
    let patch = Patch::Merge(json!({"data": data}));
    world.secrets().patch("keyturn-pepper", &PatchParams::default(), &patch).await.unwrap();
}

pub(super) fn bytes(value: &[u8]) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(value.to_vec())).unwrap()
}

fn pepper_of(key: &ApiKey) -> Option<&str> {
    Some(key.status.as_ref()?.versions.first()?.pepper.as_str())
}

#[tokio::test]
async fn a_pepper_is_replaced_without_a_request_refused() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    world.create_key("ci", json!({})).await;
    world.create_key("by-hash", from_hash(HASH)).await;
    for name in ["ci", "by-hash"] {
        world.key_in_state(name, KeyState::Active).await;
    }
    let string = world.string_in("ci").await;
    judge.comes_to_say(&string, "ci").await;
    judge.comes_to_say(LEGACY, "by-hash").await;

    let done = Arc::new(AtomicBool::new(false));
    let clients = [string.clone(), LEGACY.to_owned()].map(|string| {
        let (done, (client, target)) = (Arc::clone(&done), judge.client());
        tokio::spawn(async move {
            let (mut asked, bearer) = (0_u32, format!("Bearer {string}"));
            while !done.load(Ordering::Relaxed) {
                let headers = [
                    ("x-original-method", "GET"),
                    ("x-original-uri", "/"),
                    ("x-real-ip", "127.0.0.1"),
                    ("authorization", &*bearer),
                ];
                let answer = client.get(&target, &headers).await.unwrap();
                assert!(answer.status.is_success(), "request {asked}: {answer:?}");
                asked += 1;
            }
            asked
        })
    });
    // Added and activated in one write: a verifier that has not heard of the pepper must read it by itself.
    change(&world, json!({"p2": bytes(&[2; 32]), "active": bytes(b"p2")})).await;
    for name in ["ci", "by-hash"] {
        let key = world.key_when(name, "the new pepper", |key| pepper_of(key) == Some("p2")).await;
        assert_eq!(versions(&key), [(1, VersionState::Current)], "the string is the same");
    }
    change(&world, json!({"p1": null})).await;
    let mut fresh = Judge::start(&world).await;
    fresh.comes_to_say(&string, "ci").await;
    fresh.comes_to_say(LEGACY, "by-hash").await;
    done.store(true, Ordering::Relaxed);
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
    assert_eq!(world.string_in("ci").await, string);
    let key = world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(condition(&key, "SecretSynced").unwrap().0, "True");
    assert!(!fresh.log().contains("refused"), "no pepper is missed: {}", fresh.log());
}

#[tokio::test]
async fn a_lost_pepper_names_the_keys_that_it_locks_out_and_the_next_version_heals() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.create_key("by-hash", from_hash(HASH)).await;
    for name in ["ci", "by-hash"] {
        world.key_in_state(name, KeyState::Active).await;
    }
    let lost = world.string_in("ci").await;
    change(&world, json!({"p1": null, "p2": bytes(&[2; 32]), "active": bytes(b"p2")})).await;
    let healed = |key: &ApiKey| versions(key)[0] == (2, VersionState::Current);
    let key = world.key_when("ci", "a version under the new pepper", healed).await;
    assert_eq!((pepper_of(&key), condition(&key, "Ready").unwrap().0.as_str()), (Some("p2"), "True"));
    let said = world.event("ci", "PepperLost").await;
    assert!(said.contains("pepper"), "{said}");
    let by_hash = world.key_when("by-hash", "the new pepper", |key| pepper_of(key) == Some("p2")).await;
    assert_eq!(versions(&by_hash), [(1, VersionState::Current)], "its manifest says all that is needed");

    let mut judge = Judge::start(&world).await;
    judge.comes_to_say(&world.string_in("ci").await, "ci").await;
    assert_eq!((judge.says(LEGACY).await.as_str(), judge.says(&lost).await.as_str()), ("by-hash", "UNAUTHORIZED"));
    assert!(judge.log().contains("does not have their pepper"), "{}", judge.log());
    // Put back, it lets the old version in for what is left of its grace.
    assert!(matches!(versions(&key)[1], (1, VersionState::Grace)));
}

/// Nobody but their holders has these strings, so nothing heals by itself: each key is named, and asked for a rotation.
#[tokio::test]
async fn keys_whose_strings_are_handed_over_stay_locked_out_and_say_so_until_they_are_rotated() {
    let world = World::new().await;
    let (_, public) = PrivateKey::generate().unwrap();
    let sealed = json!({"delivery": "Sealed", "sealTo": public});
    for (name, secret) in [("once", json!({"delivery": "Once"})), ("sealed", sealed)] {
        world.create_key(name, json!({"secret": secret})).await;
        world.key_in_state(name, KeyState::Active).await;
        let delivered = json!({"metadata": {"annotations": {"keyturn.dev/delivered": "1"}}});
        world.keys().patch(name, &PatchParams::default(), &Patch::Merge(delivered)).await.unwrap();
        let is_done = |key: &ApiKey| {
            key.status.as_ref().is_some_and(|status| status.versions[0].delivery == Some(VersionDelivery::Done))
        };
        world.key_when(name, "its string handed over", is_done).await;
    }
    change(&world, json!({"p1": null, "p2": bytes(&[2; 32]), "active": bytes(b"p2")})).await;
    for name in ["once", "sealed"] {
        let is_told = |key: &ApiKey| condition(key, "Ready") == Some(("False".to_owned(), "PepperLost".to_owned()));
        let key = world.key_when(name, "Ready=False, PepperLost", is_told).await;
        assert_eq!((pepper_of(&key), versions(&key)), (Some("p1"), vec![(1, VersionState::Current)]), "{name}");
        let said = world.event(name, "PepperLost").await;
        assert!(said.contains("p1") && said.contains("rotation.request"), "{said}");
        world.patch_key(name, json!({"rotation": {"request": {"id": "r1"}}})).await;
        let is_healed =
            |key: &ApiKey| pepper_of(key) == Some("p2") && condition(key, "Ready").is_some_and(|it| it.0 == "True");
        world.key_when(name, "a version under the new pepper", is_healed).await;
    }
}

#[tokio::test]
async fn peppers_that_cannot_be_used_change_nothing() {
    let world = World::new().await;
    let judge = Judge::start(&world).await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    for broken in [json!({"active": bytes(b"nowhere")}), json!({"active": bytes(b"p1"), "p2": bytes(b"short")})] {
        change(&world, broken).await;
        world.patch_key("ci", json!({"description": "looked at again"})).await;
        world.key_in_state("ci", KeyState::Active).await;
        assert_eq!(judge.says(&world.string_in("ci").await).await, "ci");
    }
}

const LEGACY: &str = "legacy/0123456789+abcdef==";
const HASH: &str = "dacebf19ea98e3a31204fa44b560a215b495e793057c5dc9b65c660d0d399088";
