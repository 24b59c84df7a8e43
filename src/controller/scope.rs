//! Which part of the cluster is looked after.

use k8s_openapi::NamespaceResourceScope;
use kube::core::{ApiResource, DynamicObject};
use kube::{Api, Client, Resource};

/// One namespace, or all of them.
#[derive(Clone, Debug)]
pub(super) struct Scope(Option<String>);

impl Scope {
    pub(super) fn new(namespace: Option<String>) -> Self {
        Self(namespace)
    }

    pub(super) fn is_whole_cluster(&self) -> bool {
        self.0.is_none()
    }

    /// For lists and watches.
    pub(super) fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }

    /// For reading objects without their type.
    pub(super) fn dynamic(&self, client: &Client, resource: &ApiResource) -> Api<DynamicObject> {
        match &self.0 {
            Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
            None => Api::all_with(client.clone(), resource),
        }
    }
}
