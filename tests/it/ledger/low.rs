//! What is spent at real verifiers is told of by a real controller, with the rights that it has.

use serde_json::json;

use super::spending::spend;
use super::world::World;
use crate::support::events::event;
use crate::support::wait::eventually;

#[tokio::test]
async fn credits_that_are_spent_are_told_by_an_event_and_a_gauge_until_more_is_granted() {
    let world = World::new().await;
    let string = world.mint("ci", json!({"credits": {"granted": 30}})).await;
    let verifiers = world.verifiers(1).await;
    let answers = spend(&world, &verifiers, &string, "/one", "CREDITS_EXHAUSTED").await;
    assert_eq!(answers.allowed(), 30, "{answers:?}");
    let said = event(world.namespace(), "ci", "CreditsExhausted").await;
    assert!(said.starts_with("spec.credits: all are handed out"), "{said}");
    let becomes = async |expected: f64| {
        eventually(&format!("{expected} keys are told to be low"), async || {
            let low = world.controller().metric(r#"keyturn_low_budgets{holder="Key",kind="Credits"}"#).await?;
            if (low - expected).abs() < 0.5 { Ok(()) } else { Err(low.to_string()) }
        })
        .await;
    };
    becomes(1.0).await;
    world.apply_key("ci", json!({"credits": {"granted": 60}})).await;
    becomes(0.0).await;
}
