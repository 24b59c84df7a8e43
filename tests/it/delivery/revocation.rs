//! Revocations that can be taken back.

use keyturn::resources::ApiKey;
use keyturn::resources::apikey::{KeyState, VersionState};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::world::{World, state};
use crate::controller::world::{condition, versions};

impl World {
    async fn revocation_is(&self, mode: &str) {
        let change = json!({"spec": {"revocation": mode}});
        self.apis().patch("transcripts", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
        // The controller says so once it knows.
        let api = self.apis().get("transcripts").await.unwrap();
        crate::support::wait::eventually("the API is looked at", async || {
            let seen = self.apis().get("transcripts").await.map_err(|error| error.to_string())?;
            let observed = seen.status.and_then(|status| status.observed_generation);
            if observed == api.metadata.generation { Ok(()) } else { Err(format!("{observed:?}")) }
        })
        .await;
    }

    async fn revoke(&self, name: &str, revoked: bool) -> ApiKey {
        self.patch(name, json!({"spec": {"revoked": revoked}})).await;
        let recorded = |key: &ApiKey| key.status.as_ref().unwrap().revocation.is_some() == revoked;
        self.key_when(name, &format!("revoked {revoked} recorded"), recorded).await
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_reversibly_comes_back_with_the_same_string() {
    let world = World::new().await;
    world.revocation_is("Reversible").await;
    world.active_key("ci", json!({})).await;
    let string = world.string_in("ci").await;
    let key = world.revoke("ci", true).await;
    assert!(key.status.as_ref().unwrap().revocation.as_ref().unwrap().reversible);
    assert_eq!(state(&key), Some(KeyState::Revoked));
    assert_eq!(condition(&key, "SecretSynced"), Some(("True".into(), "Synced".into())));
    world.is_answered(&string, "REVOKED").await;
    assert_eq!(world.string_in("ci").await, string, "the Secret stays");
    let key = world.revoke("ci", false).await;
    assert_eq!((state(&key), versions(&key)), (Some(KeyState::Active), vec![(1, VersionState::Current)]));
    world.event("ci", "Reinstated").await;
    world.is_answered(&string, "ALLOWED").await;
    assert_eq!(world.string_in("ci").await, string);
}

#[tokio::test]
async fn what_was_recorded_is_not_changed_by_a_switch_of_the_api() {
    let world = World::new().await;
    world.active_key("for-good", json!({})).await;
    world.active_key("for-now", json!({})).await;
    let string = world.string_in("for-now").await;
    world.revoke("for-good", true).await;
    world.revocation_is("Reversible").await;
    world.revoke("for-now", true).await;
    world.revocation_is("Permanent").await;

    let refused = json!({"spec": {"revoked": false}});
    let refused = world.keys().patch("for-good", &PatchParams::default(), &Patch::Merge(refused)).await.unwrap_err();
    assert!(refused.to_string().contains("was revoked permanently"), "{refused}");
    world.revoke("for-now", false).await;
    world.is_answered(&string, "ALLOWED").await;
    // The next revocation is what the API says by then.
    let key = world.revoke("for-now", true).await;
    assert!(!key.status.unwrap().revocation.unwrap().reversible);
    world.secrets_are(&[]).await;
    world.is_answered(&string, "REVOKED").await;
}

#[tokio::test]
async fn without_its_api_a_key_is_revoked_for_good() {
    let world = World::new().await;
    world.revocation_is("Reversible").await;
    world.active_key("ci", json!({})).await;
    world.apis().delete("transcripts", &kube::api::DeleteParams::default()).await.unwrap();
    world.key_when("ci", "state Rejected", |key| state(key) == Some(KeyState::Rejected)).await;
    let key = world.revoke("ci", true).await;
    assert!(!key.status.unwrap().revocation.unwrap().reversible);
    world.secrets_are(&[]).await;
}
