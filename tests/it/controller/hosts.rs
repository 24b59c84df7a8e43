//! Which ProtectedApi has a host, and what the other is told.

use keyturn::resources::ProtectedApi;
use keyturn::resources::apikey::KeyState;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::world::World;
use crate::support::wait::eventually;

impl World {
    async fn claim_hosts(&self, api: &str, hosts: &[&str]) {
        let change = Patch::Merge(json!({"spec": {"hosts": hosts}}));
        self.apis().patch(api, &PatchParams::default(), &change).await.expect("it is taken");
    }

    /// Waits until `Accepted` of the API speaks of its spec and has this reason and message.
    async fn api_is_told(&self, api: &str, reason: &str, message: &str) {
        eventually(&format!("ProtectedApi {api} is told {reason}"), async || {
            let api = self.apis().get(api).await.map_err(|error| error.to_string())?;
            let status = api.status.unwrap_or_default();
            let accepted = status.conditions.iter().find(|condition| condition.type_ == "Accepted");
            let told = accepted.is_some_and(|it| it.reason == reason && it.message.contains(message));
            let is_so = told && status.observed_generation == api.metadata.generation;
            if is_so { Ok(()) } else { Err(format!("{:#?}", status.conditions)) }
        })
        .await;
    }
}

#[tokio::test]
async fn of_two_apis_that_claim_a_host_the_younger_is_told_until_the_older_gives_it_up() {
    let world = World::new().await;
    let elder = world.apis().get("transcripts").await.unwrap();
    let elder = elder.metadata.creation_timestamp.expect("an object has an age").0;
    // A later second, so that the age decides and not the uid.
    eventually("a second has passed", async || {
        let later = keyturn::clock::now().as_second() > elder.as_second();
        if later { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let younger = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi", "metadata": {"name": "younger"},
        "spec": {"hosts": ["a.example", "b.example"]},
    });
    let younger: ProtectedApi = serde_json::from_value(younger).unwrap();
    world.apis().create(&PostParams::default(), &younger).await.unwrap();
    world.api_is_told("younger", "Accepted", "").await;

    // The one that it is taken from has not changed, and is told.
    world.claim_hosts("transcripts", &["b.example"]).await;
    world.api_is_told("transcripts", "Accepted", "").await;
    let holder = format!("\"b.example\" belongs to ProtectedApi {}/transcripts;", world.namespace().name());
    world.api_is_told("younger", "HostTaken", &holder).await;
    // By its name it is there as before.
    world.create_key("ci", json!({"apiRef": {"name": "younger"}})).await;
    world.key_in_state("ci", KeyState::Active).await;

    world.claim_hosts("transcripts", &["c.example"]).await;
    world.api_is_told("younger", "Accepted", "").await;
    world.claim_hosts("younger", &["c.example"]).await;
    world.api_is_told("younger", "HostTaken", "\"c.example\" belongs to").await;
    world.apis().delete("transcripts", &DeleteParams::default()).await.unwrap();
    world.api_is_told("younger", "Accepted", "").await;
}
