//! No key lives longer than its tier allows.

use jiff::{SignedDuration, Timestamp};
use keyturn::resources::ApiKey;
use keyturn::resources::apikey::KeyState;
use serde_json::json;

use super::world::{World, condition, message};

fn expiry(key: &ApiKey) -> Option<Timestamp> {
    key.status.as_ref()?.expires_at.as_ref().map(|at| at.0)
}

fn created(key: &ApiKey) -> Timestamp {
    key.metadata.creation_timestamp.as_ref().expect("an object has an age").0
}

#[tokio::test]
async fn an_expiry_beyond_the_tiers_lifetime_is_capped_and_the_key_says_so() {
    let world = World::new().await;
    world.create_tier("short", json!({"maxLifetime": "1h"})).await;
    world.create_key("without", json!({"tier": "short"})).await;
    let key = world.key_in_state("without", KeyState::Active).await;
    assert_eq!(expiry(&key), Some(created(&key) + SignedDuration::from_hours(1)));
    assert_eq!(message(&key, "Accepted"), "", "it did not ask for more");

    let own = Timestamp::from_second(created(&key).as_second() + 600).unwrap();
    world.create_key("sooner", json!({"tier": "short", "expiresAt": own.to_string()})).await;
    let key = world.key_in_state("sooner", KeyState::Active).await;
    assert_eq!((expiry(&key), message(&key, "Accepted").as_str()), (Some(own), ""));

    let later = Timestamp::from_second(created(&key).as_second() + 86_400).unwrap();
    world.patch_key("sooner", json!({"expiresAt": later.to_string()})).await;
    let cap = created(&key) + SignedDuration::from_hours(1);
    let key = world.key_when("sooner", "a capped expiry", |key| expiry(key) == Some(cap)).await;
    assert_eq!(condition(&key, "Accepted"), Some(("True".into(), "Accepted".into())));
    assert_eq!(
        message(&key, "Accepted"),
        format!(
            "spec.expiresAt: {later} is later than spec.maxLifetime of ApiKeyTier short allows; the key expires at {cap}, unless it gets another tier"
        )
    );

    // It goes by a tier that is changed, and what that takes away comes back with it.
    for (life, expected) in [(json!("2h"), created(&key) + SignedDuration::from_hours(2)), (json!(null), later)] {
        world.patch_tier("short", json!({"maxLifetime": life})).await;
        world.key_when("sooner", &format!("the expiry {expected}"), |key| expiry(key) == Some(expected)).await;
    }
    assert_eq!(message(&world.key_in_state("sooner", KeyState::Active).await, "Accepted"), "");
}
