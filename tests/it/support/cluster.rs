//! The API server that the tests run against, and a namespace in it for each test.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Secret};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};

use super::wait::eventually;

const HINT: &str = "run the tests with `make test` or `tests/cluster/run.sh cargo test`";

/// A client of the cluster that KUBECONFIG names.
pub(crate) async fn client() -> Client {
    let config = Config::from_custom_kubeconfig(kubeconfig(), &KubeConfigOptions::default())
        .await
        .unwrap_or_else(|error| panic!("reading KUBECONFIG: {error}; {HINT}"));
    Client::try_from(config).expect("a kubeconfig of the test cluster makes a client")
}

/// What KUBECONFIG names.
pub(crate) fn kubeconfig() -> Kubeconfig {
    Kubeconfig::from_env()
        .unwrap_or_else(|error| panic!("reading the file that KUBECONFIG names: {error}; {HINT}"))
        .unwrap_or_else(|| panic!("KUBECONFIG is not set, so there is no API server to test against; {HINT}"))
}

/// A namespace of the test's own; deleted, with everything in it, when it is dropped.
pub(crate) struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    pub(crate) async fn create() -> Self {
        let client = client().await;
        let metadata = ObjectMeta { generate_name: Some("it-".into()), ..ObjectMeta::default() };
        let namespaces: Api<NamespaceObject> = Api::all(client.clone());
        // An API server that has just started may be busy.
        let created = eventually("a namespace is created", async || {
            let object = NamespaceObject { metadata: metadata.clone(), ..NamespaceObject::default() };
            namespaces.create(&PostParams::default(), &object).await.map_err(|error| format!("{error}; {HINT}"))
        })
        .await;
        Self { client, name: created.metadata.name.expect("the server has named it") }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The objects of kind `K` in this namespace.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    /// The string of a key in the Secret of that name, if there is one.
    pub(crate) async fn string_in(&self, secret: &str) -> Option<String> {
        let secret = self.api::<Secret>().get_opt(secret).await.expect("the server answers")?;
        let string = secret.data?.remove("api-key")?;
        Some(String::from_utf8(string.0).expect("a key is text"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // The test's own runtime is at rest while this runs, and its client with it.
        let deleted = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(async {
                let namespaces: Api<NamespaceObject> = Api::all(client().await);
                namespaces.delete(&name, &DeleteParams::background()).await
            })
        });
        let deleted = deleted.join();
        if !std::thread::panicking() {
            deleted.expect("the thread ends").expect("the test's namespace is deleted");
        }
    }
}
