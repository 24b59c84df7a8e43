//! Manifests, as a person would apply them.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Api, Error};
use serde_json::{Value, json};

use super::cluster::Namespace;
use super::wait::eventually;

/// The objects of `kind` (one of ours, such as `ApiKey`) in `namespace`.
pub(crate) fn objects(namespace: &Namespace, kind: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("keyturn.dev", "v1alpha1", kind));
    Api::namespaced_with(namespace.client().clone(), namespace.name(), &resource)
}

/// Applies a manifest of one object, as `kubectl apply --server-side` does.
pub(crate) async fn apply(namespace: &Namespace, manifest: &Value) -> Result<DynamicObject, Error> {
    let text =
        |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).expect("a manifest has a kind and a name");
    let parameters = PatchParams::apply("keyturn-tests").force();
    objects(namespace, text("/kind")).patch(text("/metadata/name"), &parameters, &Patch::Apply(manifest)).await
}

/// Applies an object of ours with that spec, which the server takes.
pub(crate) async fn apply_spec(namespace: &Namespace, kind: &str, name: &str, spec: &Value) -> DynamicObject {
    let manifest =
        json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    apply(namespace, &manifest).await.unwrap_or_else(|error| panic!("applying {kind} {name}: {error}"))
}

/// Applies every object of the YAML files `paths`, relative to the repository.
pub(crate) async fn apply_files(namespace: &Namespace, paths: &[impl AsRef<str>]) {
    for path in paths.iter().map(AsRef::as_ref) {
        for manifest in manifests(path) {
            apply(namespace, &manifest).await.unwrap_or_else(|error| panic!("applying {path}: {error}"));
        }
    }
}

/// The string of a key, as soon as the Secret of that name has one.
pub(crate) async fn string_when_minted(namespace: &Namespace, secret: &str) -> String {
    let secrets: Api<Secret> = namespace.api();
    eventually(&format!("there is a string in {secret}"), async || {
        let found = secrets.get(secret).await.map_err(|error| error.to_string())?;
        let string = found.data.unwrap_or_default().remove("api-key").ok_or("it has no string")?;
        Ok(String::from_utf8(string.0).expect("a key is text"))
    })
    .await
}

/// The objects in a YAML file of the repository.
pub(crate) fn manifests(path: &str) -> Vec<Value> {
    let file = super::root().join(path);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("reading {path}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("reading {path}: {error}"))
}

/// What `pointer` leads to in an object; null when nothing is there.
pub(crate) fn field<'o>(object: &'o DynamicObject, pointer: &str) -> &'o Value {
    object.data.pointer(pointer).unwrap_or(&Value::Null)
}

/// Status, reason and message of a condition.
pub(crate) fn condition(object: &DynamicObject, kind: &str) -> Option<[String; 3]> {
    let conditions = field(object, "/status/conditions").as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == kind)?;
    Some(["status", "reason", "message"].map(|member| found[member].as_str().unwrap_or_default().to_owned()))
}
