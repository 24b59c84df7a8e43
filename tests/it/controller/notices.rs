//! What people are told in time: keys that expire soon, and old versions that are used to the end.

use k8s_openapi::api::core::v1::Event;
use keyturn::resources::apikey::{KeyState, VersionState};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::world::{World, versions};
use crate::support::wait::eventually;

/// So many days and a bit from now, as the API server writes it.
fn in_days(days: i64) -> String {
    let at = keyturn::clock::now().checked_add(jiff::SignedDuration::from_hours(24 * days)).expect("it is a time");
    jiff::Timestamp::from_second(at.as_second()).expect("it is a time").to_string()
}

/// What events with that reason say, each as often as it was told.
pub(super) async fn told(world: &World, reason: &str) -> Result<Vec<String>, String> {
    let events: Api<Event> = world.namespace().api();
    let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
    let told = all.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
    Ok(told
        .flat_map(|event| {
            let times = event.series.and_then(|series| series.count).unwrap_or(1);
            vec![event.message.unwrap_or_default(); usize::try_from(times).unwrap_or(1)]
        })
        .collect())
}

pub(super) async fn told_so_often(world: &World, reason: &str, count: usize) -> Vec<String> {
    eventually(&format!("{reason} is told {count} times"), async || {
        let told = told(world, reason).await?;
        if told.len() == count { Ok(told) } else { Err(format!("{told:?}")) }
    })
    .await
}

#[tokio::test]
async fn a_key_that_expires_soon_is_told_of_once_for_each_expiry() {
    let mut world = World::new().await;
    let (late, soon, sooner) = (in_days(8), in_days(6), in_days(5));
    world.create_key("ci", json!({"expiresAt": late})).await;
    world.enforced("ci").await;
    assert_eq!(told(&world, "ExpiresSoon").await, Ok(vec![]));
    world.patch_key("ci", json!({"expiresAt": soon})).await;
    let first = told_so_often(&world, "ExpiresSoon", 1).await;
    assert!(first[0].contains(&soon), "{first:?}");
    world.enforced("ci").await;

    world.stop_controller().await;
    let before = world.versions_of_everything().await;
    world.start_controller().await;
    world.create_key("another", json!({})).await;
    world.enforced("another").await;
    let after = world.versions_of_everything().await;
    let unchanged = before.iter().filter(|object| after.contains(object)).count();
    assert_eq!(unchanged, before.len(), "a controller that comes anew tells nothing again");

    world.patch_key("ci", json!({"expiresAt": sooner})).await;
    let both = told_so_often(&world, "ExpiresSoon", 2).await;
    assert!(both.iter().any(|said| said.contains(&sooner)), "{both:?}");
}

#[tokio::test]
async fn an_old_version_in_use_is_told_of_at_the_beginning_of_the_last_tenth() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.patch_key("ci", json!({"rotation": {"request": {"id": "r1", "gracePeriod": "10s"}}})).await;
    let rotated =
        |key: &keyturn::resources::ApiKey| versions(key) == [(2, VersionState::Current), (1, VersionState::Grace)];
    let status = world.key_when("ci", "a version in grace", rotated).await.status.unwrap();
    let since = status.versions[1].superseded_at.clone().unwrap().0;
    let last = since.checked_add(jiff::SignedDuration::from_secs(8)).unwrap();
    let usage = json!({"status": {"usage": {"versions": [{"number": 1, "lastUsedAt": last.to_string()}]}}});
    let name = status.usage.unwrap().name;
    world.usages().patch_status(&name, &PatchParams::default(), &Patch::Merge(usage)).await.unwrap();

    let said = told_so_often(&world, "OldVersionInUse", 1).await;
    let end = status.versions[1].not_after.clone().unwrap().0;
    let expected = format!(
        "version 1 is still in use, the last time at {last}, and refused from {end} on; let whoever uses it read the current string"
    );
    assert_eq!(said, [expected]);
    let retired = |key: &keyturn::resources::ApiKey| versions(key)[1] == (1, VersionState::Retired);
    world.key_when("ci", "the end of the grace", retired).await;
    assert_eq!(told(&world, "OldVersionInUse").await.unwrap().len(), 1);
}
