//! What people get wrong, and what they are told.

use keyturn::resources::apikey::KeyState;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::world::{World, condition, message};
use crate::support::wait::eventually;

#[tokio::test]
async fn what_a_key_refers_to_must_be_there() {
    let world = World::new().await;
    for (name, spec, reason, remedy) in [
        ("no-api", json!({"apiRef": {"name": "nowhere"}}), "ApiNotFound", "there is no ProtectedApi"),
        ("no-tier", json!({"tier": "gold"}), "TierNotFound", "spec.tier: there is no ApiKeyTier"),
        ("no-role", json!({"roles": ["reader"]}), "RoleNotFound", "spec.roles: there is no ApiKeyRole"),
    ] {
        world.create_key(name, spec).await;
        let key = world.key_in_state(name, KeyState::Rejected).await;
        assert_eq!(condition(&key, "Accepted"), Some(("False".into(), reason.into())), "{name}");
        assert!(message(&key, "Accepted").contains(remedy), "{name}: {}", message(&key, "Accepted"));
        world.event(name, reason).await;
    }
    assert_eq!(world.secret_names().await, [""; 0], "nothing is minted");

    let tier = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyTier", "metadata": {"name": "gold"},
        "spec": {"rateLimits": [{"name": "requests", "limit": 10, "window": "1m"}]},
    });
    world.tiers().patch("gold", &PatchParams::apply("test"), &Patch::Apply(tier)).await.unwrap();
    world.key_in_state("no-tier", KeyState::Active).await;
}

#[tokio::test]
async fn an_api_that_cannot_be_honoured_says_so_and_so_do_its_keys() {
    let world = World::new().await;
    let routes = json!([{"name": "a", "path": "/v1/{x}"}, {"name": "b", "path": "/v1/{y}"}]);
    let patch = json!({"spec": {"routes": routes}});
    world.apis().patch("transcripts", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let said = eventually("the API is not accepted", async || {
        let api = world.apis().get("transcripts").await.map_err(|error| error.to_string())?;
        let conditions = api.status.map(|status| status.conditions).unwrap_or_default();
        conditions.into_iter().find(|it| it.status == "False").ok_or_else(|| "it is".to_owned())
    })
    .await;
    assert_eq!((said.type_.as_str(), said.reason.as_str()), ("Accepted", "InvalidRoutes"));
    assert!(said.message.contains("\"a\"") && said.message.contains("\"b\""), "{}", said.message);
    world.create_key("ci", json!({})).await;
    let key = world.key_in_state("ci", KeyState::Rejected).await;
    assert_eq!(condition(&key, "Accepted"), Some(("False".into(), "ApiNotAccepted".into())));
}
