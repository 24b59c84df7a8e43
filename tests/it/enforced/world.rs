//! An API with a key in it, the processes that judge it, and sentences about both.

use std::path::Path;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DynamicObject, ListParams};
use serde_json::{Value, json};

use crate::support::apply::{apply_spec, condition, field, objects};
use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::wait::eventually;

/// The least that is allowed, for tests wait for it.
pub(super) const MAX_STALENESS: &str = "--max-staleness=10s";
/// As short as it is allowed.
pub(super) const LEADER_LEASE: &str = "--leader-lease=2s";

pub(super) struct World {
    namespace: Namespace,
    _controller: Option<Keyturn>,
}

impl World {
    /// With a controller, and a ProtectedApi `transcripts`.
    pub(super) async fn new() -> Self {
        let world = Self::without_controller().await;
        let mut controller = world.controller();
        controller.ready().await;
        Self { _controller: Some(controller), ..world }
    }

    pub(super) async fn without_controller() -> Self {
        let world = Self { namespace: Namespace::create().await, _controller: None };
        world.apply("ProtectedApi", "transcripts", api_spec()).await;
        world
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Another controller, which may have to stand by.
    pub(super) fn controller(&self) -> Keyturn {
        Keyturn::start("controller", &self.namespace, &[LEADER_LEASE])
    }

    /// A verifier that answers.
    pub(super) async fn verifier(&self) -> Keyturn {
        let mut verifier = Keyturn::start("verifier", &self.namespace, &[MAX_STALENESS, "--drain-delay=0s"]);
        verifier.ready().await;
        verifier
    }

    pub(super) fn kubeconfig(&self, role: &str) -> impl AsRef<Path> {
        crate::support::accounts::in_namespace(self.namespace.name(), role)
    }

    async fn apply(&self, kind: &str, name: &str, spec: Value) -> DynamicObject {
        apply_spec(&self.namespace, kind, name, &spec).await
    }

    /// Applies a key with these further fields.
    pub(super) async fn apply_key(&self, name: &str, further: Value) -> DynamicObject {
        let mut spec = json!({"apiRef": {"name": "transcripts"}});
        for (field, value) in further.as_object().expect("the fields of a spec") {
            spec[field] = value.clone();
        }
        self.apply("ApiKey", name, spec).await
    }

    /// Applies a key, waits until it is enforced, and answers its string.
    pub(super) async fn mint(&self, name: &str) -> String {
        self.apply_key(name, json!({})).await;
        self.enforced(name).await;
        self.string(name).await
    }

    pub(super) async fn string(&self, name: &str) -> String {
        let secrets: Api<Secret> = self.namespace.api();
        let secret = secrets.get(name).await.expect("the key has a Secret");
        let data = secret.data.expect("the Secret has data");
        String::from_utf8(data["api-key"].0.clone()).expect("a string is text")
    }

    pub(super) async fn key(&self, name: &str) -> Result<DynamicObject, String> {
        objects(&self.namespace, "ApiKey").get(name).await.map_err(|error| error.to_string())
    }

    /// Waits until `Enforced` speaks of the present generation with this status, and answers what it says.
    pub(super) async fn enforcement(&self, name: &str, status: &str) -> String {
        eventually(&format!("Enforced of {name} is {status}"), async || {
            let key = self.key(name).await?;
            let conditions = field(&key, "/status/conditions").as_array().cloned().unwrap_or_default();
            let found = conditions.iter().find(|condition| condition["type"] == "Enforced");
            let observed = found.and_then(|condition| condition["observedGeneration"].as_i64());
            match condition(&key, "Enforced") {
                Some([is, _, message]) if is == status && observed == key.metadata.generation => Ok(message),
                other => Err(format!("{other:?} of {observed:?}")),
            }
        })
        .await
    }

    pub(super) async fn enforced(&self, name: &str) {
        self.enforcement(name, "True").await;
    }

    /// Whether `Enforced` is True of the present generation now.
    pub(super) async fn is_enforced(&self, name: &str) -> bool {
        let key = self.key(name).await.expect("the key is there");
        let conditions = field(&key, "/status/conditions").as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| {
            condition["type"] == "Enforced"
                && condition["status"] == "True"
                && condition["observedGeneration"].as_i64() == key.metadata.generation
        })
    }

    /// The Leases of judging processes that are held, by name.
    pub(super) async fn held_leases(&self) -> Result<Vec<String>, String> {
        let leases: Api<Lease> = self.namespace.api();
        let judging = ListParams::default().labels("keyturn.dev/judging=true");
        let all = leases.list(&judging).await.map_err(|error| error.to_string())?;
        let held = all.iter().filter(|lease| {
            let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
            holder.is_some_and(|holder| !holder.is_empty())
        });
        Ok(held.map(kube::ResourceExt::name_any).collect())
    }

    /// The only Lease of a judging process.
    pub(super) async fn lease(&self) -> String {
        eventually("one Lease is held", async || {
            let held = self.held_leases().await?;
            if let [one] = held.as_slice() { Ok(one.clone()) } else { Err(format!("{held:?}")) }
        })
        .await
    }

    pub(super) fn leases(&self) -> Api<Lease> {
        self.namespace.api()
    }

    /// What the verifier at this address says to that string: a code, or `ALLOWED`.
    pub(super) async fn ask(&self, verifier: &HttpClient, string: &str) -> Result<String, String> {
        ask(verifier, self.namespace.name(), string).await
    }

    /// Waits until the verifier answers so.
    pub(super) async fn answers(&self, verifier: &HttpClient, string: &str, expected: &str) {
        eventually(&format!("the verifier answers {expected}"), async || {
            let code = self.ask(verifier, string).await?;
            if code == expected { Ok(()) } else { Err(code) }
        })
        .await;
    }
}

/// Of the ProtectedApi `transcripts`.
pub(super) fn api_spec() -> Value {
    json!({"keyFormat": {"prefix": "sk"}, "credentials": [{"header": "X-API-Key"}]})
}

/// What the verifier at this address says to the string of a key for the API `transcripts` of that namespace: a code, or
/// `ALLOWED`.
pub(super) async fn ask(verifier: &HttpClient, namespace: &str, string: &str) -> Result<String, String> {
    let target = format!("/auth/nginx/{namespace}/transcripts");
    let headers =
        [("x-original-method", "GET"), ("x-original-uri", "/"), ("x-real-ip", "127.0.0.1"), ("x-api-key", string)];
    let answer = verifier.get(&target, &headers).await?;
    if answer.status.is_success() {
        return Ok("ALLOWED".to_owned());
    }
    answer.header("x-auth-code").map(str::to_owned).ok_or_else(|| format!("{answer:?}"))
}

/// Talks to a verifier.
pub(super) fn client(verifier: &Keyturn) -> HttpClient {
    HttpClient::new(verifier.auth())
}
