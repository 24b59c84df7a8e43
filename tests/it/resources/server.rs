//! Objects of our kinds as plain JSON, so that a test can write what the types could not.

use keyturn::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ApiKeyUsage, ProtectedApi};
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, CustomResourceExt, Error};
use serde_json::{Value, json};

use crate::support::cluster::Namespace;

/// The name that the server makes up for objects that are only tried.
const TRIED: &str = "tried";

/// A namespace, and the objects of one kind in it.
pub(super) struct Server {
    kind: &'static str,
    api: Api<DynamicObject>,
    pub(super) namespace: Namespace,
}

/// Which endpoint a change is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Endpoint {
    Main,
    Status,
}

impl Server {
    pub(super) async fn new(kind: &'static str) -> Self {
        let namespace = Namespace::create().await;
        let api = Api::namespaced_with(namespace.client().clone(), namespace.name(), &resource(kind));
        Self { kind, api, namespace }
    }

    /// What the server makes of an object with this spec; nothing is stored.
    pub(super) async fn try_create(&self, spec: &Value) -> Result<DynamicObject, String> {
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        self.api.create(&dry_run, &self.object(TRIED, spec)).await.map_err(|error| message(&error))
    }

    /// Stores an object.
    ///
    /// # Panics
    /// When the server refuses it.
    pub(super) async fn create(&self, name: &str, spec: &Value) -> DynamicObject {
        let object = self.object(name, spec);
        let created = self.api.create(&PostParams::default(), &object).await;
        created.unwrap_or_else(|error| panic!("creating {name} with {spec}: {error}"))
    }

    /// Merges `change` into a stored object.
    pub(super) async fn merge(&self, name: &str, endpoint: Endpoint, change: &Value) -> Result<DynamicObject, String> {
        let (patch, parameters) = (Patch::Merge(change), PatchParams::default());
        match endpoint {
            Endpoint::Main => self.api.patch(name, &parameters, &patch).await,
            Endpoint::Status => self.api.patch_status(name, &parameters, &patch).await,
        }
        .map_err(|error| message(&error))
    }

    fn object(&self, name: &str, spec: &Value) -> DynamicObject {
        let mut object = json!({
            "apiVersion": "keyturn.dev/v1alpha1",
            "kind": self.kind,
            "metadata": {"name": name},
            "spec": minimal(self.kind),
        });
        for (field, value) in spec.as_object().expect("a spec is an object") {
            object["spec"][field] = value.clone();
        }
        serde_json::from_value(object).expect("this is an object")
    }
}

/// The least that the server takes for a spec.
fn minimal(kind: &str) -> Value {
    match kind {
        "ApiKey" => json!({"apiRef": {"name": "transcripts"}}),
        _ => json!({}),
    }
}

fn resource(kind: &str) -> ApiResource {
    match kind {
        "ApiKey" => ApiKey::api_resource(),
        "ApiKeyOwner" => ApiKeyOwner::api_resource(),
        "ApiKeyRole" => ApiKeyRole::api_resource(),
        "ApiKeyTier" => ApiKeyTier::api_resource(),
        "ApiKeyUsage" => ApiKeyUsage::api_resource(),
        "ProtectedApi" => ProtectedApi::api_resource(),
        _ => panic!("{kind} is no kind of ours"),
    }
}

/// The server's own words.
fn message(error: &Error) -> String {
    match error {
        Error::Api(status) => format!("{}: {}", status.code, status.message),
        other => other.to_string(),
    }
}
