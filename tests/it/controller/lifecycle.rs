//! From apply to delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hyper::Method;
use keyturn::clock;
use keyturn::core::key::KeyFormat;
use keyturn::resources::apikey::{ApiKey, KeyState, VersionState};
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::world::{World, condition, message, text, versions};
use crate::support::apiserver::{Fault, FaultyApiServer};
use crate::support::wait::eventually;

#[tokio::test]
async fn applying_a_key_mints_it_into_a_secret() {
    let world = World::new().await;
    let created = world.create_key("ci", json!({})).await;
    let key = world.key_in_state("ci", KeyState::Active).await;

    let status = key.status.clone().unwrap();
    assert_eq!(versions(&key), [(1, VersionState::Current)]);
    world.enforced("ci").await;
    for kind in ["Accepted", "Ready", "SecretSynced"] {
        assert_eq!(condition(&key, kind).unwrap().0, "True", "{kind}");
    }
    let secret = world.secrets().get("ci").await.unwrap();
    let string = text(&secret, "api-key").unwrap();
    let format = KeyFormat { prefix: "sk".into(), length: 32 };
    assert!(format.recognises(string.as_bytes()), "the string has the documented format");
    assert!(string.starts_with(status.start.as_deref().unwrap()) && string.starts_with("sk_live_"));
    assert_eq!(text(&secret, "api-key-id"), status.id);
    assert_eq!(text(&secret, "api-key-version").as_deref(), Some("1"));
    assert_eq!(world.pepper().await.digest_of(string.as_bytes()).to_hex(), status.versions[0].digest);
    let parts = [
        "adopt",
        created.metadata.namespace.as_deref().unwrap(),
        "ci",
        &format!("{}/transcripts", created.metadata.namespace.as_deref().unwrap()),
        status.id.as_deref().unwrap(),
        "1",
        &string,
    ];
    let proof = world.pepper().await.prove(&parts.map(str::as_bytes));
    assert_eq!(text(&secret, "api-key-proof"), Some(proof));
    let owner = &secret.metadata.owner_references.as_ref().unwrap()[0];
    assert_eq!((owner.kind.as_str(), &owner.uid), ("ApiKey", created.metadata.uid.as_ref().unwrap()));
    eventually("the staged Secret is gone", async || match world.secret_names().await {
        names if names == ["ci"] => Ok(()),
        names => Err(format!("{names:?}")),
    })
    .await;
    world.event("ci", "Minted").await;
    let shown = format!("{:?}{:?}", key.status, created);
    assert!(!shown.contains(&string["sk_live_".len() + 4..]), "the string is nowhere but in the Secret");
}

#[tokio::test]
async fn a_quiet_cluster_sees_no_writes() {
    let mut world = World::new().await;
    for name in ["a", "b"] {
        world.create_key(name, json!({"rotation": {"interval": "90d"}})).await;
        world.key_in_state(name, KeyState::Active).await;
        world.event(name, "Minted").await;
        world.enforced(name).await;
    }
    world.stop_controller().await;
    let before = world.versions_of_everything().await;
    // A controller that starts looks at everything again.
    world.start_controller().await;
    world.create_key("sentinel", json!({})).await;
    world.key_in_state("sentinel", KeyState::Active).await;
    let after = world.versions_of_everything().await;
    for object in before {
        assert!(after.contains(&object), "{object:?} was written without a reason");
    }
}

#[tokio::test]
async fn a_tier_that_is_told_of_again_has_no_secret_read_again() {
    let mut world = World::new().await;
    world.create_tier("basic", json!({})).await;
    world.create_key("ci", json!({"tier": "basic"})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.enforced("ci").await;
    world.stop_controller().await;

    let reads = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&reads);
    let server = FaultyApiServer::start(world.client(), move |call| {
        if call.method == Method::GET && call.path.ends_with("/secrets/ci") {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Fault::Pass
    });
    let server = server.await;
    // One that starts looks at everything once.
    world.start_controller_with(server.client()).await;
    eventually("the key was looked at", async || match reads.load(Ordering::Relaxed) {
        0 => Err("its Secret was not read".to_owned()),
        _ => Ok(()),
    })
    .await;
    let again = Patch::Merge(json!({"metadata": {"annotations": {"example.com/why": "none"}}}));
    world.tiers().patch("basic", &PatchParams::default(), &again).await.unwrap();
    // What comes later of the same kind is known once this key works, and is none of the other's business.
    world.create_tier("late", json!({})).await;
    world.create_key("sentinel", json!({"tier": "late"})).await;
    world.key_in_state("sentinel", KeyState::Active).await;
    assert_eq!(reads.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_the_manifest_asks_for_is_in_the_secret() {
    let world = World::new().await;
    let secret = json!({
        "name": "token", "key": "token", "labels": {"team": "a"}, "annotations": {"example.com/why": "nightly"},
    });
    world.create_key("ci", json!({"environment": "test", "secret": secret})).await;
    let key = world.key_in_state("ci", KeyState::Active).await;
    let secret = world.secrets().get("token").await.unwrap();
    assert!(text(&secret, "token").unwrap().starts_with("sk_test_"));
    assert_eq!(text(&secret, "api-key"), None);
    assert_eq!(secret.labels()["team"], "a");
    assert_eq!(secret.annotations()["example.com/why"], "nightly");
    let secret_ref = key.status.unwrap().secret_ref.unwrap();
    assert_eq!((secret_ref.name.as_str(), secret_ref.key.as_str()), ("token", "token"));
}

#[tokio::test]
async fn disabling_and_enabling_keeps_the_string() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let string = world.string_in("ci").await;
    world.patch_key("ci", json!({"enabled": false})).await;
    let key = world.key_in_state("ci", KeyState::Disabled).await;
    assert_eq!(condition(&key, "Ready"), Some(("False".into(), "Disabled".into())));
    world.patch_key("ci", json!({"enabled": true})).await;
    world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(world.string_in("ci").await, string);
}

#[tokio::test]
async fn a_key_expires_at_its_instant_and_a_later_one_revives_it() {
    let world = World::new().await;
    let soon = jiff::Timestamp::from_second(clock::now().as_second() + 3).unwrap();
    world.create_key("ci", json!({"expiresAt": soon.to_string()})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let string = world.string_in("ci").await;
    let key = world.key_in_state("ci", KeyState::Expired).await;
    assert!(clock::now() >= soon, "not before its instant");
    assert_eq!(condition(&key, "Ready"), Some(("False".into(), "Expired".into())));
    world.patch_key("ci", json!({"expiresAt": "2099-01-01T00:00:00Z"})).await;
    world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(world.string_in("ci").await, string);
}

#[tokio::test]
async fn a_revoked_key_stays_revoked() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    let active = world.key_in_state("ci", KeyState::Active).await;
    world.patch_key("ci", json!({"revoked": true, "revocationReason": "leaked in a build log"})).await;
    let key = world.key_in_state("ci", KeyState::Revoked).await;
    assert!(!key.status.as_ref().unwrap().revocation.as_ref().unwrap().reversible);
    assert_eq!(
        key.status.as_ref().unwrap().versions[0].digest,
        active.status.unwrap().versions[0].digest,
        "the digest stays, to be answered as revoked"
    );
    eventually("the Secret is gone", async || match world.secret_names().await {
        names if names.is_empty() => Ok(()),
        names => Err(format!("{names:?}")),
    })
    .await;
    world.event("ci", "Revoked").await;
    let refused = world.try_patch_key("ci", json!({"revoked": false})).await.unwrap_err().to_string();
    assert!(refused.contains("was revoked permanently"), "{refused}");
}

#[tokio::test]
async fn deleting_a_key_leaves_nothing() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    world.delete_key("ci").await;
    eventually("key and Secret are gone", async || {
        let key = world.keys().get_opt("ci").await.map_err(|error| error.to_string())?;
        let names = world.secret_names().await;
        if key.is_none() && names.is_empty() {
            Ok(())
        } else {
            Err(format!("{:?} {names:?}", key.map(|it| it.name_any())))
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_whose_api_goes_is_refused_until_it_is_back() {
    let world = World::new().await;
    world.create_key("ci", json!({})).await;
    world.key_in_state("ci", KeyState::Active).await;
    let string = world.string_in("ci").await;
    world.apis().delete("transcripts", &kube::api::DeleteParams::default()).await.unwrap();
    let key = world.key_in_state("ci", KeyState::Rejected).await;
    assert_eq!(condition(&key, "Accepted"), Some(("False".into(), "ApiNotFound".into())));
    assert!(message(&key, "Accepted").contains("there is no ProtectedApi"));
    world.create_api().await;
    world.key_in_state("ci", KeyState::Active).await;
    assert_eq!(world.string_in("ci").await, string);
}

#[tokio::test]
async fn a_controller_that_is_killed_again_and_again_ends_where_one_that_is_not_does() {
    let mut world = World::new().await;
    let names: Vec<String> = (0..8).map(|number| format!("key-{number}")).collect();
    for name in &names {
        world.create_key(name, json!({})).await;
        world.patch_key(name, json!({"rotation": {"request": {"id": "r1", "gracePeriod": "0s"}}})).await;
        world.kill_controller().await;
        world.start_controller().await;
    }
    for name in &names {
        // It may have been minted before the request was heard of, and is rotated then.
        let done = |key: &ApiKey| {
            let status = key.status.as_ref().unwrap();
            let requested = status.rotation_request.as_deref() == Some("r1");
            requested
                && status.state == Some(KeyState::Active)
                && versions(key).iter().all(|it| it.1 != VersionState::Staged)
        };
        let key = world.key_when(name, "its request done", done).await;
        let current =
            key.status.as_ref().unwrap().versions.iter().find(|it| it.state == VersionState::Current).unwrap();
        let string = world.string_in(name).await;
        assert_eq!(world.pepper().await.digest_of(string.as_bytes()).to_hex(), current.digest);
    }
    eventually("no staged Secret is left", async || match world.secret_names().await {
        left if left == names => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
}
