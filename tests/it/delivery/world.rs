//! A namespace with a controller and a verifier at work in it.

use k8s_openapi::api::core::v1::Secret;
use keyturn::resources::apikey::{KeyState, VersionStatus};
use keyturn::resources::{ApiKey, ProtectedApi};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::controller::world::{condition, text};
use crate::support::cluster::Namespace;
use crate::support::events::event;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

pub(super) struct World {
    controller: Keyturn,
    verifier: Keyturn,
    namespace: Namespace,
}

impl World {
    /// With a ProtectedApi `transcripts`.
    pub(super) async fn new() -> Self {
        let namespace = Namespace::create().await;
        let api: ProtectedApi = serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi",
            "metadata": {"name": "transcripts"}, "spec": {},
        }))
        .unwrap();
        namespace.api().create(&PostParams::default(), &api).await.unwrap();
        let controller = Keyturn::controller(&namespace).await;
        let mut verifier = Keyturn::start("verifier", &namespace, &["--drain-delay=0s"]);
        verifier.ready().await;
        Self { controller, verifier, namespace }
    }

    pub(super) fn keys(&self) -> Api<ApiKey> {
        self.namespace.api()
    }

    pub(super) fn apis(&self) -> Api<ProtectedApi> {
        self.namespace.api()
    }

    pub(super) fn secrets(&self) -> Api<Secret> {
        self.namespace.api()
    }

    pub(super) fn controller(&self) -> &Keyturn {
        &self.controller
    }

    /// Ends the controller in the middle of whatever it does.
    pub(super) async fn kill_controller(&mut self) {
        self.controller.signal(Signal::KILL);
        self.controller.process().ended().await;
    }

    pub(super) async fn start_controller(&mut self) {
        self.controller = Keyturn::controller(&self.namespace).await;
    }

    pub(super) async fn create_key(&self, name: &str, secret: Value) -> ApiKey {
        let spec = json!({"apiRef": {"name": "transcripts"}, "secret": secret});
        let key = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": name}, "spec": spec,
        });
        let key: ApiKey = serde_json::from_value(key).unwrap();
        self.keys().create(&PostParams::default(), &key).await.unwrap()
    }

    pub(super) async fn active_key(&self, name: &str, secret: Value) -> ApiKey {
        self.create_key(name, secret).await;
        self.key_when(name, "state Active", |key| state(key) == Some(KeyState::Active)).await
    }

    /// Merges `change` into the whole object.
    pub(super) async fn patch(&self, name: &str, change: Value) -> ApiKey {
        self.keys().patch(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap()
    }

    pub(super) async fn acknowledge(&self, name: &str, number: &str) {
        self.patch(name, json!({"metadata": {"annotations": {"keyturn.dev/delivered": number}}})).await;
    }

    /// As if the last rotation had been an hour ago, and nobody had looked since.
    pub(super) async fn age(&mut self, name: &str) {
        self.kill_controller().await;
        let ago = keyturn::clock::now().checked_sub(std::time::Duration::from_hours(1)).unwrap();
        let ago = jiff::Timestamp::from_second(ago.as_second()).unwrap();
        let change = json!({"status": {"lastRotatedAt": ago.to_string()}});
        self.keys().patch_status(name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
        self.start_controller().await;
    }

    /// Waits until the key is as it is to be, and the status speaks of the present spec.
    pub(super) async fn key_when(&self, name: &str, what: &str, holds: impl Fn(&ApiKey) -> bool) -> ApiKey {
        eventually(&format!("ApiKey {name} has {what}"), async || {
            let key = self.keys().get(name).await.map_err(|error| error.to_string())?;
            let observed = key.status.as_ref().and_then(|status| status.observed_generation);
            if observed == key.metadata.generation && holds(&key) { Ok(key) } else { Err(format!("{:#?}", key.status)) }
        })
        .await
    }

    pub(super) async fn key_with_reason(&self, name: &str, reason: &str) -> ApiKey {
        let what = format!("SecretSynced with reason {reason}");
        self.key_when(name, &what, |key| condition(key, "SecretSynced").is_some_and(|it| it.1 == reason)).await
    }

    pub(super) async fn string_in(&self, secret: &str) -> String {
        text(&self.secrets().get(secret).await.unwrap(), "api-key").expect("the Secret holds a string")
    }

    /// Waits until exactly these Secrets of keys are there.
    pub(super) async fn secrets_are(&self, expected: &[&str]) {
        let params = ListParams::default().labels("keyturn.dev/apikey-uid");
        eventually(&format!("Secrets are {expected:?}"), async || {
            let names: Vec<String> = self
                .secrets()
                .list(&params)
                .await
                .map_err(|error| error.to_string())?
                .iter()
                .map(ResourceExt::name_any)
                .collect();
            if names == expected { Ok(()) } else { Err(format!("{names:?}")) }
        })
        .await;
    }

    pub(super) async fn delete_secret(&self, name: &str) {
        self.secrets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until the verifier answers a request with this string so: `ALLOWED` or a code.
    pub(super) async fn is_answered(&self, string: &str, expected: &str) {
        let target = format!("/auth/nginx/{}/transcripts", self.namespace.name());
        let authorization = format!("Bearer {string}");
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-original-method", "GET"),
            ("x-original-uri", "/"),
            ("x-real-ip", "127.0.0.1"),
        ];
        eventually(&format!("the answer is {expected}"), async || {
            let answer = HttpClient::new(self.verifier.auth()).get(&target, &headers).await?;
            let code = if answer.status == 200 { "ALLOWED" } else { answer.header("x-auth-code").unwrap_or("none") };
            if code == expected { Ok(()) } else { Err(code.to_owned()) }
        })
        .await;
    }

    /// Waits for an event with this reason about this key, and answers what it says.
    pub(super) async fn event(&self, key: &str, reason: &str) -> String {
        event(&self.namespace, key, reason).await
    }

    /// Waits until the controller has counted an event with this reason.
    pub(super) async fn is_counted(&self, reason: &str) {
        let line = format!("keyturn_key_events_total{{reason=\"{reason}\"}} 1");
        eventually(&line, async || {
            let answer = self.controller.health().get("/metrics", &[]).await?;
            if answer.body.lines().any(|it| it == line) { Ok(()) } else { Err(answer.body) }
        })
        .await;
    }
}

pub(super) fn state(key: &ApiKey) -> Option<KeyState> {
    key.status.as_ref()?.state
}

/// The version with that number.
pub(super) fn version(key: &ApiKey, number: u32) -> VersionStatus {
    let versions = &key.status.as_ref().expect("the key has a status").versions;
    versions.iter().find(|version| version.number == number).expect("the version is there").clone()
}
