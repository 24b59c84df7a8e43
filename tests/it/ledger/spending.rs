//! Without faults all of it is spent, and not one more.

use keyturn::resources::account::LedgerKind;
use serde_json::{Value, json};

use super::world::{Answers, World};
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// Over 64 connections to these verifiers.
pub(super) async fn spend(
    world: &World,
    verifiers: &[Keyturn],
    string: &str,
    path: &'static str,
    end: &str,
) -> Answers {
    let connections = 64 / verifiers.len();
    let spending = verifiers.iter().map(|verifier| {
        let spender = world.spender(verifier.auth(), string).on(path);
        async move { spender.spend(connections, end).await }
    });
    futures::future::join_all(spending).await.into_iter().fold(Answers::default(), Answers::and)
}

#[tokio::test]
async fn four_verifiers_grant_exactly_the_credits_that_there_are() {
    let world = World::new().await;
    let string = world.mint("ci", json!({"credits": {"granted": 3000}})).await;
    let verifiers = world.verifiers(4).await;
    let answers = spend(&world, &verifiers, &string, "/one", "CREDITS_EXHAUSTED").await;
    assert_eq!(answers.allowed(), 3_000, "{answers:?}");
    let line = world.line_of("ci").await;
    assert_eq!((line.account.kind, line.account.epoch, line.reserved), (LedgerKind::Credits, 0, 3_000));
    // More is granted, and then a new balance; verifiers hear of it one after the other.
    for (granted, epoch, more) in [(3_100, 0, 100), (50, 1, 50)] {
        world.apply_key("ci", json!({"credits": {"granted": granted, "epoch": epoch}})).await;
        let mut allowed = 0;
        eventually("all of it is spent", async || {
            allowed += spend(&world, &verifiers, &string, "/one", "CREDITS_EXHAUSTED").await.allowed();
            if allowed >= more { Ok(()) } else { Err(format!("{allowed} of {more}")) }
        })
        .await;
        let line = world.line_of("ci").await;
        assert_eq!((allowed, line.account.epoch, line.reserved), (more, epoch, granted));
    }
}

#[tokio::test]
async fn four_verifiers_admit_exactly_a_days_quota_and_a_request_costs_what_its_route_says() {
    let world = World::new().await;
    let quotas =
        json!([{"name": "daily", "limit": 500, "period": "Day"}, {"name": "monthly", "limit": 800, "period": "Month"}]);
    let string = world.mint("metered", json!({"quotas": quotas})).await;
    let verifiers = world.verifiers(4).await;
    let answers = spend(&world, &verifiers, &string, "/five", "QUOTA_EXCEEDED").await;
    assert_eq!(answers.allowed(), 500, "a request counts once, whatever it costs: {answers:?}");

    let costly = world.mint("costly", json!({"credits": {"granted": 1003}})).await;
    let only = &verifiers[..1];
    let answers = spend(&world, only, &costly, "/five", "CREDITS_EXHAUSTED").await;
    assert_eq!(answers.allowed(), 200, "{answers:?}");
    let answers = spend(&world, only, &costly, "/one", "CREDITS_EXHAUSTED").await;
    assert_eq!(answers.allowed(), 3, "what does not suffice for one suffices for another: {answers:?}");
}

#[tokio::test]
async fn verifiers_that_are_told_to_go_give_back_what_they_have_not_spent() {
    let world = World::new().await;
    let string = world.mint("ci", json!({"credits": {"granted": 1000}})).await;
    let mut verifiers = world.verifiers(3).await;
    for verifier in &verifiers {
        assert_eq!(world.spender(verifier.auth(), &string).once().await.as_deref(), Ok("ALLOWED"));
    }
    assert!(world.line_of("ci").await.reserved > 3, "a chunk is more than one request");
    verifiers.iter().for_each(|verifier| verifier.signal(Signal::TERM));
    for verifier in &mut verifiers {
        assert!(verifier.process().ended().await.success());
    }
    assert_eq!(world.line_of("ci").await.reserved, 3);
}

#[tokio::test]
async fn what_is_counted_and_what_is_reserved_stand_beside_each_other() {
    let world = World::new().await;
    let string = world.mint("ci", json!({"credits": {"granted": 200}})).await;
    let often = ["--usage-interval=1s", "--drain-delay=0s"];
    let mut verifiers = [(); 2].map(|()| Keyturn::start("verifier", world.namespace(), &often));
    for verifier in &mut verifiers {
        verifier.ready().await;
    }
    let answers = spend(&world, &verifiers, &string, "/one", "CREDITS_EXHAUSTED").await;
    assert_eq!(answers.allowed(), 200);
    eventually("all requests are counted beside what was reserved", async || {
        let status = world.usage_of("ci").await?.status.unwrap_or_default();
        let total = status.usage.as_ref().and_then(|usage| usage.requests.as_ref()).map(|requests| requests.total);
        let reserved: Vec<_> = status.ledger.iter().map(|line| line.reserved).collect();
        if total == Some(200) && reserved == [200] { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
}

#[tokio::test]
async fn the_keys_of_an_owner_share_its_quota() {
    let world = World::new().await;
    let quotas: Value = json!([{"name": "shared", "limit": 300, "period": "Month"}]);
    world.apply("ApiKeyOwner", "acme", json!({"quotas": quotas})).await;
    let verifiers = world.verifiers(2).await;
    let mut answers = Answers::default();
    let strings =
        [world.mint("one", json!({"owner": "acme"})).await, world.mint("two", json!({"owner": "acme"})).await];
    world.spender(verifiers[0].auth(), &strings[0]).is_answered("ALLOWED").await;
    let spending = strings.iter().map(|string| spend(&world, &verifiers, string, "/one", "QUOTA_EXCEEDED"));
    for spent in futures::future::join_all(spending).await {
        answers = answers.and(spent);
    }
    assert_eq!(answers.allowed(), 299, "and the one before: {answers:?}");
}
