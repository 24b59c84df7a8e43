//! Quotas of a tier: each of its keys has them for itself, unless something nearer has the same name.

use keyturn::resources::account::LedgerKind;
use serde_json::{Value, json};

use super::spending::spend;
use super::world::World;
use crate::support::wait::eventually;

fn quotas(limit: u64) -> Value {
    json!([{"name": "requests", "limit": limit, "period": "Month"}])
}

#[tokio::test]
async fn each_key_is_metered_by_its_tiers_quota_unless_it_or_its_owner_has_one_of_that_name() {
    let world = World::new().await;
    world.apply("ApiKeyTier", "pro", json!({"quotas": quotas(40)})).await;
    world.apply("ApiKeyOwner", "acme", json!({"quotas": quotas(25)})).await;
    let verifiers = world.verifiers(2).await;
    for (name, spec, allowed, line) in [
        ("first", json!({"tier": "pro"}), 40, Some((LedgerKind::TierQuota, 40))),
        ("second", json!({"tier": "pro"}), 40, Some((LedgerKind::TierQuota, 40))),
        ("own", json!({"tier": "pro", "quotas": quotas(15)}), 15, Some((LedgerKind::Quota, 15))),
        // What it shares with the others of its owner stands in the owner's ledger.
        ("owners", json!({"tier": "pro", "owner": "acme"}), 25, None),
    ] {
        let string = world.mint(name, spec).await;
        world.spender(verifiers[0].auth(), &string).is_answered("ALLOWED").await;
        world.spender(verifiers[1].auth(), &string).is_answered("ALLOWED").await;
        let answers = spend(&world, &verifiers, &string, "/one", "QUOTA_EXCEEDED").await;
        assert_eq!(answers.allowed() + 2, allowed, "{name}: {answers:?}");
        let status = world.usage_of(name).await.expect("the key has an ApiKeyUsage").status.unwrap_or_default();
        let lines: Vec<_> = status.ledger.iter().map(|line| (line.account.kind, line.reserved)).collect();
        assert_eq!(lines, Vec::from_iter(line), "{name}");
    }

    // What the tier gets more, its keys get; verifiers hear of it one after the other.
    let string = world.string("first").await;
    world.apply("ApiKeyTier", "pro", json!({"quotas": quotas(70)})).await;
    let mut allowed = 0;
    eventually("all of it is spent", async || {
        allowed += spend(&world, &verifiers, &string, "/one", "QUOTA_EXCEEDED").await.allowed();
        if allowed >= 30 { Ok(()) } else { Err(format!("{allowed} of 30")) }
    })
    .await;
    assert_eq!((allowed, world.line_of("first").await.reserved), (30, 70));
}
