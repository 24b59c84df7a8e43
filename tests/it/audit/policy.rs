//! With the admission policy of `config/audit` it is proven who has changed a key, whatever they try.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::world::{KEY, Log, Person, history, told};
use crate::support::keyturn::Keyturn;
use crate::support::own_cluster::OwnCluster;
use crate::support::process::Signal;
use crate::support::wait::eventually;

const HOME: &str = "team-a";
const ACTOR: &str = "keyturn.dev/actor";

struct World {
    alice: Person,
    mallory: Person,
    admin: Person,
    log: Log,
    controller: Option<Keyturn>,
    cluster: OwnCluster,
}

impl World {
    /// A cluster where two may edit, without the policy.
    async fn start() -> Self {
        let cluster = OwnCluster::start().await;
        cluster.kubectl(&["apply", "--server-side", "-k", "config/rbac"]);
        cluster.kubectl(&["create", "namespace", HOME]);
        cluster.kubectl(&[
            "create",
            "rolebinding",
            "tenants",
            "--clusterrole=edit",
            "--user=alice",
            "--user=mallory",
            "--namespace",
            HOME,
        ]);
        // Whoever is asked, a client may call itself anything.
        let [alice, mallory] = ["alice", "mallory"].map(Some);
        let alice = Person::new(cluster.client(alice).await, HOME, "kubectl");
        let mallory = Person::new(cluster.client(mallory).await, HOME, "alice");
        let admin = Person::new(cluster.client(None).await, HOME, "kubectl");
        eventually("the tenants have their rights", async || {
            mallory.keys().list(&ListParams::default()).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        let mut world = Self { alice, mallory, admin, log: Log::new(), controller: None, cluster };
        world.start_controller().await;
        world
    }

    async fn start_controller(&mut self) {
        let account = self.cluster.account("keyturn-system", "keyturn-controller");
        let controller = self.controller.insert(Keyturn::start_as("controller", &account, &[&self.log.option()]));
        controller.ready().await;
    }

    async fn stop_controller(&mut self) {
        let mut controller = self.controller.take().expect("the controller runs");
        controller.signal(Signal::TERM);
        controller.process().ended().await;
    }

    /// Applies the policy, and waits until its stamps carry a token of the controller's that is not the known one.
    async fn apply_policy(&self, known: &str) -> String {
        self.cluster.kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "config/audit"]);
        let maps: Api<ConfigMap> = Api::namespaced(self.cluster.client(None).await, "keyturn-system");
        eventually("edits are stamped", async || {
            let map = maps.get("keyturn-actor").await.map_err(|error| error.to_string())?;
            let token = map.data.unwrap_or_default().remove("token").ok_or("there is no token")?;
            let edited = self.alice.edit(json!({"description": keyturn::clock::now().to_string()})).await;
            let expected = format!("{}/{token}/alice", edited.metadata.generation.unwrap());
            if stamp(&edited) == Some(&expected) && token != known {
                Ok(token)
            } else {
                Err(format!("{:?}", stamp(&edited)))
            }
        })
        .await
    }

    /// The last line, once the controller has told of the key as it is.
    async fn last(&self) -> Value {
        self.admin.settled().await;
        self.log.lines().pop().expect("there is a line")
    }
}

fn stamp(key: &keyturn::resources::ApiKey) -> Option<&String> {
    key.metadata.annotations.as_ref()?.get(ACTOR)
}

fn who(line: &Value) -> [&str; 2] {
    ["actor", "actorSource"].map(|member| line[member].as_str().unwrap_or_default())
}

#[tokio::test]
async fn nobody_passes_for_somebody_else() {
    let mut world = World::start().await;
    world.mallory.create(json!({"displayName": "one"})).await;
    world.admin.settled().await;
    // Without the policy everything is hearsay, and told as such.
    world
        .mallory
        .patch(json!({"metadata": {"annotations": {ACTOR: "2/0123/alice"}}, "spec": {"displayName": "two"}}))
        .await;
    assert_eq!(who(&world.last().await), ["alice", "FieldManager"]);

    let token = world.apply_policy("").await;
    world.alice.edit(json!({"displayName": "three"})).await;
    assert_eq!(who(&world.last().await), ["alice", "Policy"]);
    let stamped = stamp(&world.admin.settled().await).cloned();
    let lines = world.log.text().lines().count();

    // What changes no spec changes no stamp, and is not told of.
    for forged in [json!("4/0123/bob"), json!(format!("99/{token}/bob")), json!(""), Value::Null] {
        let patched = world.mallory.patch(json!({"metadata": {"annotations": {ACTOR: forged}}})).await;
        assert_eq!(stamp(&patched), stamped.as_ref(), "{forged}");
    }
    let patched = world.mallory.patch(json!({"metadata": {"annotations": null, "labels": {"a": "b"}}})).await;
    assert_eq!(stamp(&patched), stamped.as_ref());
    let status = json!({"metadata": {"annotations": {ACTOR: "9/0123/bob"}}, "status": {"start": "x"}});
    let refused = world.mallory.keys().patch_status(KEY, &PatchParams::default(), &Patch::Merge(&status)).await;
    assert!(matches!(refused, Err(kube::Error::Api(status)) if status.is_forbidden()));
    let patched = world.admin.keys().patch_status(KEY, &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
    assert_eq!(stamp(&patched), stamped.as_ref(), "not even by the status");
    let key = world.admin.settled().await;
    assert_eq!((stamp(&key), world.log.text().lines().count()), (stamped.as_ref(), lines));

    // An edit names whoever makes it, with whatever annotation and field managers it comes.
    let generation = key.metadata.generation.unwrap();
    let forged = json!({
        "metadata": {"annotations": {ACTOR: format!("{}/{token}/alice", generation + 1)}, "managedFields": [{}]},
        "spec": {"displayName": "four"},
    });
    world.mallory.patch(forged).await;
    assert_eq!(who(&world.last().await), ["mallory", "Policy"]);

    // While nobody watches, too; the last author counts, not who touches the annotation after that.
    world.stop_controller().await;
    world.mallory.edit(json!({"displayName": "five"})).await;
    world.alice.edit(json!({"displayName": "six"})).await;
    world.mallory.patch(json!({"metadata": {"annotations": {ACTOR: null}}})).await;
    world.start_controller().await;
    let line = world.last().await;
    assert_eq!(who(&line), ["alice", "Policy"]);
    assert_eq!(line["fields"], json!([{"path": "/displayName", "before": "four", "after": "six"}]));

    // What the controller itself writes leaves the author of the edit as it is.
    world.alice.edit(json!({"rotation": {"request": {"id": "r1"}}})).await;
    let key = world.admin.settled().await;
    let newest: Vec<_> = history(&key).into_iter().take(2).collect();
    assert_eq!(newest, [told("keyturn", "Keyturn", "Rotated"), told("alice", "Policy", "RotationRequested")]);
    assert!(stamp(&key).is_some_and(|stamp| stamp.ends_with("/alice")), "{:?}", stamp(&key));
}

#[tokio::test]
async fn without_the_policy_a_stamp_proves_nothing_even_if_it_was_one() {
    let world = World::start().await;
    world.alice.create(json!({"displayName": "one"})).await;
    let token = world.apply_policy("").await;
    world.alice.edit(json!({"displayName": "two"})).await;
    assert_eq!(who(&world.last().await), ["alice", "Policy"]);

    // A policy that does less than ours is none.
    let weaker = r#"{"spec": {"failurePolicy": "Ignore"}}"#;
    world.cluster.kubectl(&["patch", "mutatingadmissionpolicy", "keyturn-actor", "--type=merge", "--patch", weaker]);
    world.alice.edit(json!({"displayName": "three"})).await;
    assert_eq!(who(&world.last().await)[1], "FieldManager");
    // Once it is ours again, what was known before proves nothing.
    let token = world.apply_policy(&token).await;
    world.alice.edit(json!({"displayName": "four"})).await;
    assert_eq!(who(&world.last().await), ["alice", "Policy"]);

    // The token is known by now. Whoever takes the policy away makes it worthless.
    world.cluster.kubectl(&["delete", "mutatingadmissionpolicybinding", "keyturn-actor"]);
    eventually("nothing is stamped any more", async || {
        let generation = world.admin.settled().await.metadata.generation.unwrap();
        let forged = format!("{}/{token}/bob", generation + 1);
        let name = keyturn::clock::now().to_string();
        let change = json!({"metadata": {"annotations": {ACTOR: forged}}, "spec": {"displayName": name}});
        let patched = world.mallory.patch(change).await;
        let line = world.last().await;
        // Mallory's tool calls itself alice.
        assert_eq!(who(&line), ["alice", "FieldManager"]);
        if stamp(&patched) == Some(&forged) { Ok(()) } else { Err(format!("{:?}", stamp(&patched))) }
    })
    .await;
}
