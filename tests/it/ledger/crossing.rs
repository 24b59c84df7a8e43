//! Midnight UTC, for verifiers whose clocks say that it is near.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::world::World;
use crate::support::keyturn::Keyturn;
use crate::support::process::tool;
use crate::support::wait::eventually;

const KEYS: usize = 12;
const VERIFIERS: usize = 2;

/// How long before midnight the clocks of verifiers are when they start.
const BEFORE: SignedDuration = SignedDuration::from_secs(40);
/// For how long keys are used after midnight.
const AFTER: SignedDuration = SignedDuration::from_secs(5);

/// How far it is from `now` to the next midnight.
fn to_midnight(now: Timestamp) -> SignedDuration {
    let tomorrow = TimeZone::UTC.to_datetime(now).date().saturating_add(1.day());
    let midnight = TimeZone::UTC.to_timestamp(tomorrow.to_datetime(jiff::civil::Time::midnight()));
    now.duration_until(midnight.expect("there is a tomorrow"))
}

/// A verifier with a clock that is ahead by so much.
fn verifier_ahead(world: &World, ahead: SignedDuration) -> Keyturn {
    let arguments = world.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let environment = [
        ("LD_PRELOAD", tool("libfaketime.so.1").into_os_string()),
        ("FAKETIME", format!("{:+}", ahead.as_secs()).into()),
        // Only what day it is: everything that is waited for takes as long as ever.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ];
    Keyturn::start_in("verifier", world.kubeconfig().as_ref(), &arguments, environment)
}

#[tokio::test]
async fn keys_with_daily_quotas_are_let_in_all_the_time_while_a_day_ends() {
    let world = World::new().await;
    let mut strings = Vec::new();
    for number in 0..KEYS {
        let quota = json!([{"name": "daily", "limit": 100_000, "period": "Day"}]);
        strings.push(world.mint(&format!("key-{number}"), json!({"quotas": quota})).await);
    }
    #[expect(clippy::disallowed_methods, reason = "the clocks of other processes are set by this one")]
    let started = Timestamp::now();
    let left = to_midnight(started);
    let ahead = left - BEFORE;
    let verifiers: Vec<_> = (0..VERIFIERS).map(|_| verifier_ahead(&world, ahead)).collect();
    let mut spenders = Vec::new();
    for (verifier, string) in verifiers.iter().flat_map(|verifier| strings.iter().map(move |it| (verifier, it))) {
        let spender = world.spender(verifier.auth(), string);
        // It is not ready: its clock is wrong, as it well knows.
        spender.is_answered("ALLOWED").await;
        spenders.push(spender);
    }
    let end = Instant::now() + Duration::try_from(BEFORE + AFTER).expect("it is to come");
    let asking = spenders.iter().map(|spender| async {
        let mut again = interval(Duration::from_millis(100));
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused = Vec::new();
        while again.tick().await < end {
            match spender.once().await.as_deref() {
                Ok("ALLOWED") => {}
                other => refused.push(format!("{other:?}")),
            }
        }
        refused
    });
    let refused: Vec<_> = futures::future::join_all(asking).await.into_iter().flatten().collect();
    assert!(refused.is_empty(), "{} requests were not let in: {:?}", refused.len(), refused.first());
    for number in 0..KEYS {
        eventually("both days are in the ledger", async || {
            let ledger = world.usage_of(&format!("key-{number}")).await?.status.unwrap_or_default().ledger;
            let days: Vec<_> = ledger.iter().map(|line| (line.account.period.clone(), line.reserved > 0)).collect();
            if days.len() == 2 && days.iter().all(|(_, reserved)| *reserved) {
                Ok(())
            } else {
                Err(format!("{days:?}"))
            }
        })
        .await;
    }
    let mut ahead_of_time = 0.0;
    for verifier in &verifiers {
        let name = r#"keyturn_reservations_total{purpose="NextPeriod",outcome="Written"}"#;
        ahead_of_time += verifier.metric(name).await.unwrap_or(0.0);
    }
    assert!(ahead_of_time >= KEYS as f64, "{ahead_of_time} first chunks were there before midnight");
}
