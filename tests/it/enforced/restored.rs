//! etcd restored from a snapshot while a verifier has seen more than that, and is the last to notice.
//!
//! The verifier sees the API server through a door that the test holds. It knows what was written after the snapshot,
//! but its Lease does not say so yet; then the door is shut, etcd restored and a key revoked. What the verifier says
//! next is that it has applied a version that another history has reached.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use keyturn::resources::names::APPLIED_ANNOTATION;
use keyturn::resources::{ApiKey, ProtectedApi};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};

use super::world::{api_spec, ask, client};
use crate::support::apiserver::{Call, Fault, FaultyApiServer};
use crate::support::keyturn::Keyturn;
use crate::support::own_cluster::OwnCluster;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// Of Keyturn itself, and of everything else here.
const NAMESPACE: &str = "keyturn-system";

/// Written after the snapshot, and lost: more than happens after the restore before the key is revoked.
const LOST_WRITES: usize = 1000;

/// Nothing lapses in a test.
const MAX_STALENESS: &str = "--max-staleness=1h";

struct World {
    client: Client,
    controller: Option<Keyturn>,
    /// The last to notice.
    behind: Keyturn,
    door: FaultyApiServer,
    string: String,
    /// Last: the processes go before their API server does.
    cluster: OwnCluster,
}

impl World {
    /// A key that is enforced, and a verifier that says so behind its door.
    async fn start() -> Self {
        let cluster = OwnCluster::start().await;
        cluster.kubectl(&["apply", "--server-side", "-k", "config/rbac"]);
        let admin = cluster.client(None).await;
        let apis: Api<ProtectedApi> = Api::namespaced(admin.clone(), NAMESPACE);
        let api = ours("ProtectedApi", "transcripts", api_spec());
        apis.create(&PostParams::default(), &serde_json::from_value(api).unwrap()).await.expect("the API is created");
        let account = Kubeconfig::read_from(cluster.account(NAMESPACE, "keyturn-verifier")).expect("it is complete");
        let account = Config::from_custom_kubeconfig(account, &KubeConfigOptions::default()).await;
        let account = Client::try_from(account.expect("it is complete")).expect("a kubeconfig makes a client");
        let door = FaultyApiServer::start(&account, |_| Fault::Pass).await;
        let behind = Keyturn::start_as("verifier", &door.kubeconfig(), &[MAX_STALENESS, "--drain-delay=0s"]);
        let mut world = Self { client: admin, controller: None, behind, door, string: String::new(), cluster };
        world.start_controller().await;
        world.behind.ready().await;
        for name in ["ci", "other"] {
            let key = ours("ApiKey", name, json!({"apiRef": {"name": "transcripts"}}));
            world.keys().create(&PostParams::default(), &serde_json::from_value(key).unwrap()).await.unwrap();
            world.enforcement(name, "True").await;
        }
        let secrets: Api<Secret> = Api::namespaced(world.client.clone(), NAMESPACE);
        let data = secrets.get("ci").await.ok().and_then(|secret| secret.data).expect("the key has a Secret");
        world.string = String::from_utf8(data["api-key"].0.clone()).expect("a string is text");
        world.answers(&world.behind, "ALLOWED").await;
        world
    }

    async fn start_controller(&mut self) {
        let account = self.cluster.account(NAMESPACE, "keyturn-controller");
        let mut controller = Keyturn::start_as("controller", &account, &["--leader-lease=2s"]);
        controller.ready().await;
        self.controller = Some(controller);
    }

    fn keys(&self) -> Api<ApiKey> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn set(&self, name: &str, spec: Value) -> ApiKey {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.keys().patch(name, &PatchParams::default(), &patch).await.expect("the key is changed")
    }

    /// Waits until this verifier answers so about the key `ci`.
    async fn answers(&self, verifier: &Keyturn, expected: &str) {
        let verifier = client(verifier);
        eventually(&format!("the verifier answers {expected}"), async || {
            let code = ask(&verifier, NAMESPACE, &self.string).await?;
            if code == expected { Ok(()) } else { Err(code) }
        })
        .await;
    }

    /// Status and message of `Enforced`, if it speaks of the present generation.
    async fn is_enforced(&self, name: &str) -> Result<(String, String), String> {
        let key = self.keys().get(name).await.map_err(|error| error.to_string())?;
        let conditions = key.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let found = conditions.iter().find(|it| it.type_ == "Enforced");
        let current = found.filter(|it| it.observed_generation == key.metadata.generation);
        current.map(|it| (it.status.clone(), it.message.clone())).ok_or_else(|| format!("{conditions:?}"))
    }

    /// Waits until `Enforced` speaks of the present generation with this status.
    async fn enforcement(&self, name: &str, status: &str) {
        eventually(&format!("Enforced of {name} is {status}"), async || {
            let (is, message) = self.is_enforced(name).await?;
            if is == status { Ok(()) } else { Err(message) }
        })
        .await;
    }

    /// Makes a history that only verifiers will have seen, and shuts the door on the one behind it. Answers the version
    /// that this one has applied.
    async fn apply_what_will_be_lost(&self) -> u64 {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), NAMESPACE);
        for number in 0..LOST_WRITES {
            let patch = Patch::Apply(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lost"}, "data": {"number": number.to_string()},
            }));
            maps.patch("lost", &PatchParams::apply("keyturn-tests"), &patch).await.expect("it is written");
        }
        self.set("ci", json!({"enabled": false})).await;
        self.answers(&self.behind, "DISABLED").await;
        let last = self.set("ci", json!({"enabled": true})).await;
        self.answers(&self.behind, "ALLOWED").await;
        self.door.rule(|_| Fault::Hang);
        version(&last)
    }

    /// Lets the verifier behind the door write its Lease, and nothing else; waits until that says `applied` or more.
    async fn let_it_write_its_lease(&self, applied: u64) {
        self.door.rule(|call| if call.concerns("leases") { Fault::Pass } else { Fault::Hang });
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), NAMESPACE);
        eventually("its Lease says what it has applied", async || {
            let all = leases.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let said = all.iter().filter_map(|lease| lease.annotations().get(APPLIED_ANNOTATION)?.parse::<u64>().ok());
            let said: Vec<_> = said.collect();
            if said.iter().any(|said| *said >= applied) { Ok(()) } else { Err(format!("{said:?}")) }
        })
        .await;
    }
}

fn ours(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

fn version(key: &ApiKey) -> u64 {
    key.resource_version().and_then(|version| version.parse().ok()).expect("a version is a number")
}

/// A Lease that cannot be written: what it says stays what the snapshot has.
fn keeps_its_lease(call: &Call) -> Fault {
    if call.concerns("leases") { Fault::Answer(500, "InternalError") } else { Fault::Pass }
}

#[tokio::test]
async fn after_a_restore_with_a_higher_revision_what_is_enforced_is_accepted_by_nobody() {
    let mut world = World::start().await;
    world.door.rule(keeps_its_lease);
    let snapshot = world.cluster.snapshot().await;
    let applied = world.apply_what_will_be_lost().await;
    world.cluster.restore(&snapshot, &["--bump-revision", "1000000", "--mark-compacted"]).await;

    let revoked = world.set("ci", json!({"revoked": true})).await;
    assert!(version(&revoked) > applied, "no version comes twice");
    world.enforcement("ci", "False").await;
    world.let_it_write_its_lease(applied).await;
    // What is said of the other key was found out after that.
    world.set("other", json!({"revoked": true})).await;
    world.enforcement("other", "False").await;
    assert_eq!(world.is_enforced("ci").await.map(|(status, _)| status).as_deref(), Ok("False"));
    assert_eq!(ask(&client(&world.behind), NAMESPACE, &world.string).await.as_deref(), Ok("ALLOWED"));

    world.door.rule(|_| Fault::Pass);
    eventually("it is enforced once the verifier knows", async || {
        // In this order: what is enforced by now must be refused from now on.
        let (enforced, message) = world.is_enforced("ci").await?;
        let code = ask(&client(&world.behind), NAMESPACE, &world.string).await?;
        assert!(!(enforced == "True" && code == "ALLOWED"), "it is enforced, and accepted all the same");
        if enforced == "True" { Ok(()) } else { Err(message) }
    })
    .await;
    world.answers(&world.behind, "REVOKED").await;
}

/// Which is why the documentation says to restart them.
#[tokio::test]
async fn after_a_restore_without_one_a_verifier_that_was_not_restarted_may_accept_what_is_enforced() {
    let mut world = World::start().await;
    let verifier = world.cluster.account(NAMESPACE, "keyturn-verifier");
    let mut direct = Keyturn::start_as("verifier", &verifier, &[MAX_STALENESS, "--drain-delay=0s"]);
    direct.ready().await;
    world.door.rule(keeps_its_lease);
    let snapshot = world.cluster.snapshot().await;
    let applied = world.apply_what_will_be_lost().await;
    world.answers(&direct, "ALLOWED").await;
    world.controller = None;
    world.cluster.restore(&snapshot, &[]).await;

    // One that reaches the API server finds out by itself, as long as the new history is the shorter one.
    eventually("the verifier has started over", async || {
        let log = direct.log();
        if log.contains("starting over") { Ok(()) } else { Err(log) }
    })
    .await;
    direct.ready().await;
    world.start_controller().await;
    let revoked = world.set("ci", json!({"revoked": true})).await;
    assert!(version(&revoked) < applied, "the new history is the longer one; the test proves nothing");
    world.answers(&direct, "REVOKED").await;
    world.enforcement("ci", "False").await;

    // One that does not is believed to know of the other history's revocation.
    world.let_it_write_its_lease(applied).await;
    world.enforcement("ci", "True").await;
    assert_eq!(ask(&client(&world.behind), NAMESPACE, &world.string).await.as_deref(), Ok("ALLOWED"));

    world.behind.signal(Signal::KILL);
    world.behind.process().ended().await;
    world.behind = Keyturn::start_as("verifier", &verifier, &[MAX_STALENESS, "--drain-delay=0s"]);
    world.behind.ready().await;
    world.answers(&world.behind, "REVOKED").await;
}
