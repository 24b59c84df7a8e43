//! A namespace with a controller at work in it, and sentences about what is there.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Secret};
use keyturn::controller::{self, AuditLog, Options, Phase};
use keyturn::core::digest::Pepper;
use keyturn::core::pepper::Peppers;
use keyturn::resources::apikey::{KeyState, VersionState};
use keyturn::resources::names::LEADER_LEASE;
use keyturn::resources::{ApiKey, ApiKeyTier, ApiKeyUsage, ProtectedApi, pepper};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::cluster::Namespace;
use crate::support::events::event;
use crate::support::process::scratch;
use crate::support::wait::eventually;

/// For how long a controller leads without renewing its Lease.
const LEADER_LEASE_DURATION: Duration = Duration::from_secs(2);

pub(super) struct World {
    namespace: Namespace,
    controller: Option<Controller>,
    audit_log: PathBuf,
}

struct Controller {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), controller::Error>>,
}

impl World {
    /// With a ProtectedApi `transcripts` and a controller.
    pub(super) async fn new() -> Self {
        let mut world = Self::without_controller().await;
        world.start_controller().await;
        world
    }

    /// With a ProtectedApi `transcripts` and nobody at work.
    pub(super) async fn without_controller() -> Self {
        let world = Self { namespace: Namespace::create().await, controller: None, audit_log: scratch("audit.log") };
        world.create_api().await;
        world
    }

    pub(super) fn client(&self) -> &Client {
        self.namespace.client()
    }

    pub(super) async fn create_api(&self) {
        let api = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi",
            "metadata": {"name": "transcripts"}, "spec": {},
        });
        let api: ProtectedApi = serde_json::from_value(api).unwrap();
        self.apis().create(&PostParams::default(), &api).await.unwrap();
    }

    pub(super) async fn start_controller(&mut self) {
        self.start_controller_with(self.client().clone()).await;
    }

    /// Starts one that talks to the API server with this client.
    pub(super) async fn start_controller_with(&mut self, client: Client) {
        let shutdown = CancellationToken::new();
        let (phase, mut reached) = watch::channel(Phase::default());
        let task = tokio::spawn(controller::run(self.options(client, phase), shutdown.clone()));
        self.controller = Some(Controller { shutdown, task });
        reached.wait_for(|phase| *phase == Phase::AtWork).await.expect("the controller gets to work");
    }

    /// As SIGTERM does.
    pub(super) async fn stop_controller(&mut self) {
        let controller = self.controller.take().unwrap();
        controller.shutdown.cancel();
        controller.task.await.unwrap().unwrap();
    }

    /// As SIGKILL does: in the middle of whatever it is doing.
    pub(super) async fn kill_controller(&mut self) {
        let controller = self.controller.take().unwrap();
        controller.task.abort();
        // Its watches end with it.
        controller.shutdown.cancel();
        let _ = controller.task.await;
        // As if the time were over that its successor has to wait; with processes of their own they do wait.
        let _ = self.leases().delete(LEADER_LEASE, &DeleteParams::default()).await;
    }

    /// Runs a controller until it gives up.
    pub(super) async fn try_controller(&self) -> Result<(), controller::Error> {
        let options = self.options(self.client().clone(), watch::Sender::default());
        controller::run(options, CancellationToken::new()).await
    }

    fn options(&self, client: Client, phase: watch::Sender<Phase>) -> Options {
        Options {
            client,
            metrics: Arc::default(),
            audit: self.audit_log(),
            namespace: Some(self.namespace.name().to_owned()),
            operator_namespace: self.namespace.name().to_owned(),
            process: "test".to_owned(),
            leader_lease: LEADER_LEASE_DURATION,
            phase,
        }
    }

    fn audit_log(&self) -> AuditLog {
        AuditLog::to_file(&self.audit_log, Arc::default()).expect("the file can be written")
    }

    /// The audit log of all controllers.
    pub(super) fn audit_file(&self) -> &Path {
        &self.audit_log
    }

    /// Every line of it so far.
    pub(super) fn audited(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.audit_log).expect("there is an audit log");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        self.namespace.api()
    }

    pub(super) fn keys(&self) -> Api<ApiKey> {
        self.namespace.api()
    }

    pub(super) fn apis(&self) -> Api<ProtectedApi> {
        self.namespace.api()
    }

    pub(super) fn tiers(&self) -> Api<ApiKeyTier> {
        self.namespace.api()
    }

    pub(super) fn usages(&self) -> Api<ApiKeyUsage> {
        self.namespace.api()
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        self.namespace.api()
    }

    pub(super) async fn create_key(&self, name: &str, spec: Value) -> ApiKey {
        let mut key = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey",
            "metadata": {"name": name}, "spec": {"apiRef": {"name": "transcripts"}},
        });
        for (field, value) in spec.as_object().unwrap() {
            key["spec"][field] = value.clone();
        }
        let key: ApiKey = serde_json::from_value(key).unwrap();
        self.keys().create(&PostParams::default(), &key).await.unwrap()
    }

    pub(super) async fn patch_key(&self, name: &str, spec: Value) -> ApiKey {
        self.try_patch_key(name, spec).await.unwrap()
    }

    pub(super) async fn try_patch_key(&self, name: &str, spec: Value) -> kube::Result<ApiKey> {
        self.keys().patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await
    }

    pub(super) async fn key_in_state(&self, name: &str, state: KeyState) -> ApiKey {
        self.key_when(name, &format!("state {state:?}"), |key| {
            key.status.as_ref().is_some_and(|status| status.state == Some(state))
        })
        .await
    }

    /// Waits until the key is as it is to be, and the status speaks of the present spec.
    pub(super) async fn key_when(&self, name: &str, what: &str, holds: impl Fn(&ApiKey) -> bool) -> ApiKey {
        eventually(&format!("ApiKey {name} has {what}"), async || {
            let key = self.keys().get(name).await.map_err(|error| error.to_string())?;
            let observed = key.status.as_ref().and_then(|status| status.observed_generation);
            if observed == key.metadata.generation && holds(&key) {
                Ok(key)
            } else {
                Err(format!("generation {:?}, status {:#?}", key.metadata.generation, key.status))
            }
        })
        .await
    }

    /// Waits until what the present spec says is enforced.
    pub(super) async fn enforced(&self, name: &str) -> ApiKey {
        self.key_when(name, "its generation enforced", |key| {
            enforcement(key) == Some((key.metadata.generation.unwrap_or_default(), "True".into(), "Enforced".into()))
        })
        .await
    }

    /// The string that workloads read.
    pub(super) async fn string_in(&self, secret: &str) -> String {
        let secret = self.secrets().get(secret).await.unwrap();
        text(&secret, "api-key").expect("the Secret holds a string")
    }

    /// The active one.
    pub(super) async fn pepper(&self) -> Pepper {
        self.peppers().await.active().clone()
    }

    pub(super) async fn peppers(&self) -> Peppers {
        let mut secret = self.secrets().get("keyturn-pepper").await.unwrap();
        pepper::parse(&mut secret).unwrap()
    }

    /// Names of the Secrets that belong to keys.
    pub(super) async fn secret_names(&self) -> Vec<String> {
        let params = ListParams::default().labels("keyturn.dev/apikey-uid");
        self.secrets().list(&params).await.unwrap().iter().map(kube::ResourceExt::name_any).collect()
    }

    /// Waits for an event with this reason about this key, and answers what it says.
    pub(super) async fn event(&self, key: &str, reason: &str) -> String {
        event(&self.namespace, key, reason).await
    }

    pub(super) async fn delete_key(&self, name: &str) {
        self.keys().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Everything that must not move while nothing happens: each object's name and resourceVersion.
    pub(super) async fn versions_of_everything(&self) -> Vec<(String, Option<String>)> {
        let keys = self.keys().list(&ListParams::default()).await.unwrap();
        let apis = self.apis().list(&ListParams::default()).await.unwrap();
        let secrets = self.secrets().list(&ListParams::default()).await.unwrap();
        let usages = self.usages().list(&ListParams::default()).await.unwrap();
        let events: Api<Event> = self.namespace.api();
        let events = events.list(&ListParams::default()).await.unwrap();
        let mut all: Vec<_> = keys.iter().map(|it| (it.name_any(), it.resource_version())).collect();
        all.extend(apis.iter().map(|it| (it.name_any(), it.resource_version())));
        all.extend(secrets.iter().map(|it| (it.name_any(), it.resource_version())));
        all.extend(usages.iter().map(|it| (it.name_any(), it.resource_version())));
        all.extend(events.iter().map(|it| (it.name_any(), it.resource_version())));
        all
    }
}

/// A value of a Secret.
pub(crate) fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    Some(String::from_utf8(value.0.clone()).expect("what Keyturn writes is text"))
}

/// Number and state of each version, newest first.
pub(crate) fn versions(key: &ApiKey) -> Vec<(u32, VersionState)> {
    let status = key.status.as_ref().expect("the key has a status");
    status.versions.iter().map(|version| (version.number, version.state)).collect()
}

/// Status and reason of a condition.
pub(crate) fn condition(key: &ApiKey, kind: &str) -> Option<(String, String)> {
    let conditions = &key.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

/// Generation, status and reason of what is said about enforcement.
pub(super) fn enforcement(key: &ApiKey) -> Option<(i64, String, String)> {
    let conditions = &key.status.as_ref()?.conditions;
    let condition = conditions.iter().find(|condition| condition.type_ == "Enforced")?;
    Some((condition.observed_generation?, condition.status.clone(), condition.reason.clone()))
}

/// What a condition says.
pub(crate) fn message(key: &ApiKey, kind: &str) -> String {
    let conditions = &key.status.as_ref().expect("the key has a status").conditions;
    conditions.iter().find(|condition| condition.type_ == kind).expect("the condition is there").message.clone()
}
