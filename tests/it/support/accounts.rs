//! Accounts of Keyturn's processes, with the rights of `config/rbac` and no others.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::apply::manifests;
use super::cluster;
use super::process::scratch;
use super::wait::eventually;

/// Roles that belong to the cluster are the same for every test; two must not create one at the same time.
static APPLYING: Mutex<()> = Mutex::new(());

/// A kubeconfig that logs in as the process of that role (`controller`, `verifier`, `all`), bound in one namespace only, as
/// `config/rbac/README.md` says for `--namespace`.
pub(crate) fn in_namespace(namespace: &str, role: &str) -> PathBuf {
    let file = scratch(&format!("{role}.kubeconfig"));
    let _one_at_a_time = APPLYING.lock().unwrap_or_else(PoisonError::into_inner);
    // A runtime of its own: whoever starts a process need not await.
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(make(namespace, role, &file));
        });
        made.join().expect("the account is made");
    });
    file
}

async fn make(namespace: &str, role: &str, file: &Path) {
    let client = cluster::client().await;
    // The account of both roles is the controller's, to which the verifier's rights are bound too.
    let (name, files) = match role {
        "all" => ("keyturn-controller".to_owned(), &["controller", "verifier"][..]),
        role => (format!("keyturn-{role}"), &[role][..]),
    };
    for manifest in files.iter().flat_map(|file| manifests(&format!("config/rbac/{file}.yaml"))) {
        let mut manifest = bound_in(namespace, manifest);
        let subjects = manifest.get_mut("subjects").and_then(Value::as_array_mut);
        subjects.into_iter().flatten().for_each(|subject| subject["name"] = json!(name));
        apply(&client, &manifest).await;
    }
    let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
    let request: TokenRequest = serde_json::from_value(json!({"spec": {"audiences": []}})).expect("it is a request");
    let token = accounts.create_token_request(&name, &PostParams::default(), &request).await;
    let token = token.expect("a token is given").status.expect("it is answered").token;
    let kubeconfig = log_in(cluster::kubeconfig(), &token, file);
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let client = Client::try_from(config.expect("it is complete")).expect("a kubeconfig makes a client");
    // The API server hears of its own roles a moment later.
    for (group, resource, verb) in [("keyturn.dev", "apikeys", "list"), ("coordination.k8s.io", "leases", "create")] {
        eventually(&format!("{name} may {verb} {resource}"), async || {
            may(&client, namespace, group, resource, verb).await
        })
        .await;
    }
}

/// The manifest with everything in that namespace, and nothing bound in the whole cluster.
fn bound_in(namespace: &str, manifest: Value) -> Value {
    let text = manifest.to_string().replace("keyturn-system", namespace);
    let mut manifest: Value = serde_json::from_str(&text).expect("a namespace's name needs no quotes");
    if manifest["kind"] == "ClusterRoleBinding" {
        manifest["kind"] = json!("RoleBinding");
        manifest["metadata"]["namespace"] = json!(namespace);
    }
    manifest
}

async fn apply(client: &Client, manifest: &Value) {
    let object: DynamicObject = serde_json::from_value(manifest.clone()).expect("it is an object");
    let types = object.types.clone().expect("it says what it is");
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types).expect("its apiVersion is one"));
    let name = object.metadata.name.as_deref().expect("it has a name");
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let applied = api.patch(name, &PatchParams::apply("keyturn-tests").force(), &Patch::Apply(manifest)).await;
    applied.unwrap_or_else(|error| panic!("applying {} {name}: {error}", types.kind));
}

async fn may(client: &Client, namespace: &str, group: &str, resource: &str, verb: &str) -> Result<(), String> {
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
    let status = answer.status.unwrap_or_default();
    if status.allowed { Ok(()) } else { Err(format!("{status:?}")) }
}

/// Writes a kubeconfig that differs in who logs in.
pub(super) fn log_in(mut kubeconfig: Kubeconfig, token: &str, file: &Path) -> Kubeconfig {
    for user in &mut kubeconfig.auth_infos {
        let token = Some(SecretString::from(token.to_owned()));
        user.auth_info = Some(AuthInfo { token, ..AuthInfo::default() });
    }
    let text = serde_json::to_string(&kubeconfig).expect("a kubeconfig can be written");
    std::fs::write(file, text).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
    kubeconfig
}
