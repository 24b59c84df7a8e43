//! An ApiKeyUsage that is deleted takes what was spent with it: nothing is handed out until somebody says so.

use keyturn::resources::ApiKeyUsage;
use keyturn::resources::names::RESET_USAGE_ANNOTATION;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::world::World;
use crate::support::apply::{field, objects};
use crate::support::keyturn::Keyturn;

#[tokio::test]
async fn deleting_and_recreating_it_refills_nothing_until_it_is_reset_by_name() {
    let world = World::new().await;
    let string = world.mint("ci", json!({"credits": {"granted": 1000}})).await;
    let verifier = world.verifier().await;
    let spender = world.spender(verifier.auth(), &string);
    spender.is_answered("ALLOWED").await;
    let before = world.usage_of("ci").await.expect("the key has an ApiKeyUsage");
    let (name, lost) = (before.name_any(), before.uid().expect("an object has a uid"));
    let usages: Api<ApiKeyUsage> = world.namespace().api();
    usages.delete(&name, &DeleteParams::default()).await.expect("it is deleted");

    // What was handed out before is spent, and nothing more.
    let answers = spender.spend(1, "UNAVAILABLE").await;
    assert!(answers.allowed() < 50 && answers.unanswered() == 0, "{answers:?}");
    // An empty one of the same name is another one.
    let mut again = ApiKeyUsage::new(&name, before.spec.clone());
    again.metadata.owner_references = before.metadata.owner_references.clone();
    usages.create(&PostParams::default(), &again).await.expect("it is created");
    let fresh = world.verifier().await;
    for verifier in [&verifier, &fresh] {
        let answer = world.spender(verifier.auth(), &string).once().await;
        assert_eq!(answer.as_deref(), Ok("UNAVAILABLE"));
    }
    world
        .key_when("ci", "lost its usage", |key| {
            let conditions = field(key, "/status/conditions").as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["reason"] == "UsageLost")
        })
        .await;

    let reset = json!({"metadata": {"annotations": {RESET_USAGE_ANNOTATION: lost}}});
    let keys = objects(world.namespace(), "ApiKey");
    keys.patch("ci", &PatchParams::default(), &Patch::Merge(reset)).await.expect("the key is annotated");
    is_whole_again(&world, &[&verifier, &fresh], &string).await;
}

/// All that is granted is there once more, and once only.
async fn is_whole_again(world: &World, verifiers: &[&Keyturn], string: &str) {
    let mut allowed = 0;
    for verifier in verifiers {
        let spender = world.spender(verifier.auth(), string);
        spender.is_answered("ALLOWED").await;
        allowed += 1;
    }
    for verifier in verifiers {
        allowed += world.spender(verifier.auth(), string).spend(4, "CREDITS_EXHAUSTED").await.allowed();
    }
    assert_eq!(allowed, 1_000);
    assert_eq!(world.line_of("ci").await.reserved, 1_000);
}
