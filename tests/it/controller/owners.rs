//! An ApiKeyOwner: the ApiKeyUsage that counts for it, and the tier that it gives to its keys.

use keyturn::resources::apikey::KeyState;
use keyturn::resources::{ApiKeyOwner, ApiKeyTier};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::world::{World, condition, message};
use crate::support::wait::eventually;

impl World {
    pub(super) fn owners(&self) -> Api<ApiKeyOwner> {
        self.namespace().api()
    }

    pub(super) async fn create_owner(&self, name: &str, spec: Value) -> ApiKeyOwner {
        let owner = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyOwner", "metadata": {"name": name}, "spec": spec,
        });
        let owner: ApiKeyOwner = serde_json::from_value(owner).expect("it is an owner");
        self.owners().create(&PostParams::default(), &owner).await.expect("it is taken")
    }

    pub(super) async fn create_tier(&self, name: &str, spec: Value) -> ApiKeyTier {
        let tier = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKeyTier", "metadata": {"name": name}, "spec": spec,
        });
        let tier: ApiKeyTier = serde_json::from_value(tier).expect("it is a tier");
        self.tiers().create(&PostParams::default(), &tier).await.expect("it is taken")
    }

    pub(super) async fn patch_owner(&self, name: &str, change: Value) {
        let patched = self.owners().patch(name, &PatchParams::default(), &Patch::Merge(change)).await;
        patched.expect("it is taken");
    }

    pub(super) async fn patch_tier(&self, name: &str, spec: Value) {
        let change = Patch::Merge(json!({"spec": spec}));
        self.tiers().patch(name, &PatchParams::default(), &change).await.expect("it is taken");
    }

    /// Waits until the owner's status speaks of its spec and is as it is to be.
    pub(super) async fn owner_when(&self, name: &str, what: &str, holds: impl Fn(&ApiKeyOwner) -> bool) -> ApiKeyOwner {
        eventually(&format!("ApiKeyOwner {name} has {what}"), async || {
            let owner = self.owners().get(name).await.map_err(|error| error.to_string())?;
            let observed = owner.status.as_ref().and_then(|status| status.observed_generation);
            let is_so = observed == owner.metadata.generation && holds(&owner);
            if is_so { Ok(owner) } else { Err(format!("{:#?}", owner.status)) }
        })
        .await
    }
}

/// Name and uid of the ApiKeyUsage that the status names.
pub(super) fn usage_of(owner: &ApiKeyOwner) -> Option<(String, String)> {
    let usage = owner.status.as_ref()?.usage.as_ref()?;
    Some((usage.name.clone(), usage.uid.clone()))
}

/// Status and reason of the condition.
fn says(owner: &ApiKeyOwner, kind: &str) -> Option<(String, String)> {
    let conditions = &owner.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

fn quotas() -> Value {
    json!([{"name": "daily", "limit": 1000, "period": "Day"}])
}

#[tokio::test]
async fn an_owner_with_quotas_is_counted_for_and_one_without_is_not() {
    let mut world = World::new().await;
    world.create_owner("plain", json!({})).await;
    let plain = world.owner_when("plain", "a status", |owner| owner.status.is_some()).await;
    assert_eq!((usage_of(&plain), says(&plain, "Ready")), (None, Some(("True".into(), "Ready".into()))));

    world.create_owner("acme", json!({"quotas": quotas()})).await;
    let acme = world.owner_when("acme", "an ApiKeyUsage", |owner| usage_of(owner).is_some()).await;
    let uid = acme.uid().expect("an object has a uid");
    let usage = world.usages().get(&format!("owner-{uid}")).await.expect("it is there");
    assert_eq!(usage_of(&acme), Some((usage.name_any(), usage.uid().expect("an object has a uid"))));
    let owners = usage.owner_references();
    let [owner] = owners else { panic!("{owners:?}") };
    assert_eq!((&*owner.kind, &*owner.name, &owner.uid, owner.controller), ("ApiKeyOwner", "acme", &uid, Some(true)));

    // Once all is told, nothing is written again, by whomever.
    world.stop_controller().await;
    let before = (world.owners().get("acme").await.unwrap(), world.owners().get("plain").await.unwrap());
    world.start_controller().await;
    world.create_owner("another", json!({"quotas": quotas()})).await;
    world.owner_when("another", "an ApiKeyUsage", |owner| usage_of(owner).is_some()).await;
    assert_eq!((world.owners().get("acme").await.unwrap(), world.owners().get("plain").await.unwrap()), before);

    // Who gets quotas later gets one then.
    world.patch_owner("plain", json!({"spec": {"quotas": quotas()}})).await;
    world.owner_when("plain", "an ApiKeyUsage", |owner| usage_of(owner).is_some()).await;
}

#[tokio::test]
async fn an_apikeyusage_that_is_lost_is_replaced_when_somebody_says_so() {
    let mut world = World::new().await;
    world.create_owner("acme", json!({"quotas": quotas()})).await;
    let acme = world.owner_when("acme", "an ApiKeyUsage", |owner| usage_of(owner).is_some()).await;
    let (name, uid) = usage_of(&acme).unwrap();
    world.usages().delete(&name, &DeleteParams::default()).await.unwrap();
    let lost = |owner: &ApiKeyOwner| says(owner, "Ready") == Some(("False".into(), "UsageLost".into()));
    let acme = world.owner_when("acme", "UsageLost", lost).await;
    assert_eq!(usage_of(&acme), Some((name.clone(), uid.clone())));
    let told = world.event("acme", "UsageLost").await;
    assert!(told.contains(&format!("set annotation keyturn.dev/reset-usage to {uid}")), "{told}");

    // Neither another word nor another controller brings it back.
    world.patch_owner("acme", json!({"metadata": {"annotations": {"keyturn.dev/reset-usage": "yes"}}})).await;
    world.stop_controller().await;
    world.start_controller().await;
    world.create_owner("another", json!({"quotas": quotas()})).await;
    world.owner_when("another", "an ApiKeyUsage", |owner| usage_of(owner).is_some()).await;
    assert_eq!(usage_of(&world.owners().get("acme").await.unwrap()), Some((name.clone(), uid.clone())));

    world.patch_owner("acme", json!({"metadata": {"annotations": {"keyturn.dev/reset-usage": uid}}})).await;
    let anew = world.owner_when("acme", "another one", |owner| !lost(owner)).await;
    let (other_name, other_uid) = usage_of(&anew).unwrap();
    assert!(other_name == name && other_uid != uid, "{other_name} {other_uid}");
}

#[tokio::test]
async fn of_two_owners_with_one_external_id_the_younger_is_told_and_takes_over() {
    let world = World::new().await;
    let elder = world.create_owner("elder", json!({"externalId": "acme"})).await;
    let age = |owner: &ApiKeyOwner| owner.metadata.creation_timestamp.clone().expect("an object has an age").0;
    // A later second, so that the age decides and not the uid.
    eventually("a second has passed", async || {
        let later = keyturn::clock::now().as_second() > age(&elder).as_second();
        if later { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    world.create_owner("younger", json!({"externalId": "acme"})).await;
    let taken = ("False".to_owned(), "ExternalIdTaken".to_owned());
    world.owner_when("younger", "ExternalIdTaken", |owner| says(owner, "Accepted").as_ref() == Some(&taken)).await;
    world.owners().delete("elder", &DeleteParams::default()).await.unwrap();
    let accepted = ("True".to_owned(), "Accepted".to_owned());
    world.owner_when("younger", "Accepted", |owner| says(owner, "Accepted").as_ref() == Some(&accepted)).await;
}

/// The tier's interval is what tells which tier a key has.
async fn has_interval(world: &World, key: &str, hours: i64) {
    world
        .key_when(key, &format!("a rotation within {hours} h"), |key| {
            let Some(status) = &key.status else { return false };
            let (Some(last), Some(next)) = (&status.last_rotated_at, &status.next_rotation_at) else { return false };
            let interval = next.0.duration_since(last.0).as_hours();
            (hours - 2..=hours).contains(&interval)
        })
        .await;
}

#[tokio::test]
async fn a_key_has_its_own_tier_or_its_owners_or_the_apis() {
    let world = World::new().await;
    let patch = Patch::Merge(json!({"spec": {"defaultTier": "default"}}));
    world.apis().patch("transcripts", &PatchParams::default(), &patch).await.unwrap();
    for (tier, interval) in [("default", "100h"), ("owners", "200h"), ("own", "300h")] {
        world.create_tier(tier, json!({"rotation": {"interval": interval}})).await;
    }
    world.create_owner("acme", json!({"tier": "owners"})).await;
    world.create_key("a", json!({"owner": "acme", "tier": "own"})).await;
    world.create_key("b", json!({"owner": "acme"})).await;
    world.create_key("c", json!({"owner": "undeclared"})).await;
    for (key, hours) in [("a", 300), ("b", 200), ("c", 100)] {
        has_interval(&world, key, hours).await;
    }
    world.patch_owner("acme", json!({"spec": {"tier": "own"}})).await;
    has_interval(&world, "b", 300).await;

    world.patch_owner("acme", json!({"spec": {"tier": "nowhere"}})).await;
    let missing = Some(("False".to_owned(), "TierNotFound".to_owned()));
    let key = world.key_when("b", "TierNotFound", |key| condition(key, "Accepted") == missing).await;
    let namespace = world.namespace().name();
    assert_eq!(
        message(&key, "Accepted"),
        format!(
            "the spec.tier of ApiKeyOwner {namespace}/acme: there is no ApiKeyTier {namespace}/nowhere; create it or correct the name"
        )
    );
    world.owners().delete("acme", &DeleteParams::default()).await.unwrap();
    has_interval(&world, "b", 100).await;
    world.key_in_state("b", KeyState::Active).await;
}
