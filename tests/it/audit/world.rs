//! The audit log of a controller, and people who change keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use keyturn::resources::{ApiKey, ProtectedApi};

use crate::support::process::scratch;
use crate::support::wait::eventually;

/// The key that all of this is about.
pub(super) const KEY: &str = "ci";

/// A namespace as one person, or one of their tools, sees it.
#[derive(Clone)]
pub(super) struct Person {
    client: Client,
    namespace: String,
    manager: &'static str,
}

impl Person {
    pub(super) fn new(client: Client, namespace: &str, manager: &'static str) -> Self {
        Self { client, namespace: namespace.to_owned(), manager }
    }

    pub(super) fn keys(&self) -> Api<ApiKey> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Makes the API and the key.
    pub(super) async fn create(&self, spec: Value) {
        let api = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ProtectedApi", "metadata": {"name": "transcripts"}, "spec": {},
        });
        let apis: Api<ProtectedApi> = Api::namespaced(self.client.clone(), &self.namespace);
        let apply = PatchParams::apply(self.manager);
        apis.patch("transcripts", &apply, &Patch::Apply(api)).await.unwrap();
        let mut key = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": KEY},
            "spec": {"apiRef": {"name": "transcripts"}},
        });
        spec.as_object().unwrap().iter().for_each(|(field, value)| key["spec"][field] = value.clone());
        self.keys().patch(KEY, &apply, &Patch::Apply(key)).await.unwrap();
    }

    pub(super) async fn edit(&self, spec: Value) -> ApiKey {
        self.patch(json!({"spec": spec})).await
    }

    pub(super) async fn patch(&self, change: Value) -> ApiKey {
        let parameters = PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() };
        self.keys().patch(KEY, &parameters, &Patch::Merge(change)).await.unwrap()
    }

    /// Waits until the status tells of the present generation, and everything of it is enforced.
    pub(super) async fn settled(&self) -> ApiKey {
        eventually("the key is at rest", async || {
            let key = self.keys().get(KEY).await.map_err(|error| error.to_string())?;
            let conditions = key.status.iter().flat_map(|status| &status.conditions);
            let enforced = conditions.into_iter().any(|it| {
                it.type_ == "Enforced" && it.status == "True" && it.observed_generation == key.metadata.generation
            });
            if enforced { Ok(key) } else { Err(format!("{:#?}", key.status)) }
        })
        .await
    }

    /// Everything that must not be in any log: strings, and what tells them.
    pub(super) async fn secrets(&self) -> Vec<String> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let string = |secret: &Secret| String::from_utf8(secret.data.as_ref()?.get("api-key")?.0.clone()).ok();
        let mut found: Vec<String> =
            secrets.list(&kube::api::ListParams::default()).await.unwrap().iter().filter_map(string).collect();
        let key = self.keys().get(KEY).await.unwrap();
        found.extend(key.status.into_iter().flat_map(|status| status.versions).map(|version| version.digest));
        found
    }
}

/// The file of `--audit-file`.
pub(super) struct Log(PathBuf);

impl Log {
    pub(super) fn new() -> Self {
        Self(scratch("audit.log"))
    }

    pub(super) fn option(&self) -> String {
        format!("--audit-file={}", self.0.display())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }

    /// Every line, without those that repeat another.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = self.text();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole: {text}");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}")));
        let mut seen = BTreeSet::new();
        lines.filter(|line| seen.insert(line["id"].as_str().expect("a line has an id").to_owned())).collect()
    }

    /// Actor, how it is known, and action of each line.
    pub(super) fn told(&self) -> Vec<[String; 3]> {
        let text = |line: &Value, member: &str| line[member].as_str().unwrap_or_default().to_owned();
        self.lines().iter().map(|line| ["actor", "actorSource", "action"].map(|member| text(line, member))).collect()
    }

    /// Waits until the last line is about that action, and answers it.
    pub(super) async fn last(&self, action: &str) -> Value {
        eventually(&format!("the last line tells of {action}"), async || {
            let last = self.lines().pop().ok_or("there is no line")?;
            if last["action"] == action { Ok(last) } else { Err(last.to_string()) }
        })
        .await
    }
}

pub(super) fn told(actor: &str, source: &str, action: &str) -> [String; 3] {
    [actor, source, action].map(str::to_owned)
}

/// Actor, how it is known, and action of each entry of the history, newest first.
pub(super) fn history(key: &ApiKey) -> Vec<[String; 3]> {
    let entries = key.status.iter().flat_map(|status| &status.history);
    entries.map(|it| [it.actor.clone(), it.actor_source.clone().unwrap_or_default(), it.action.clone()]).collect()
}
