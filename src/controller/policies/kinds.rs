//! What the kinds that keys refer to have in common.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::acceptance::Rejection;
use crate::core::policy::{Api, ObjectName, Policies, Role, Tier};
use crate::resources::condition::ObjectStatus;
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};

/// A kind that keys refer to.
pub(super) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// What acceptance works with.
    type Parsed;

    fn judge(&self) -> Result<Self::Parsed, Rejection>;

    fn enter(name: &ObjectName, parsed: Result<Self::Parsed, Rejection>, policies: &mut Policies);

    fn remove(name: &ObjectName, policies: &mut Policies);

    fn clear(policies: &mut Policies);

    /// Whether a change of the object could change what becomes of a key.
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool;

    fn status(&mut self) -> &mut Option<ObjectStatus>;
}

/// The table of one kind among the policies.
macro_rules! entered_in {
    ($table:ident) => {
        fn enter(name: &ObjectName, parsed: Result<Self::Parsed, Rejection>, policies: &mut Policies) {
            insert(&mut policies.$table, name, parsed);
        }

        fn remove(name: &ObjectName, policies: &mut Policies) {
            policies.$table.remove(name);
        }

        fn clear(policies: &mut Policies) {
            policies.$table.clear();
        }

        fn status(&mut self) -> &mut Option<ObjectStatus> {
            &mut self.status
        }
    };
}

impl Kind for ProtectedApi {
    type Parsed = Api;

    fn judge(&self) -> Result<Api, Rejection> {
        self.parse()
    }

    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        *name.name == *key.spec.api_ref.name && *name.namespace == *api_namespace(key)
    }

    entered_in!(apis);
}

impl Kind for ApiKeyTier {
    type Parsed = Tier;

    fn judge(&self) -> Result<Tier, Rejection> {
        self.parse()
    }

    /// A key that names no tier may have this one from its API.
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        key.spec.tier.as_deref().is_none_or(|tier| tier == &*name.name) && *name.namespace == *api_namespace(key)
    }

    entered_in!(tiers);
}

impl Kind for ApiKeyRole {
    type Parsed = Role;

    fn judge(&self) -> Result<Role, Rejection> {
        self.parse()
    }

    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        key.spec.roles.iter().any(|role| **role == *name.name) && *name.namespace == *api_namespace(key)
    }

    entered_in!(roles);
}

impl Kind for ApiKeyOwner {
    type Parsed = ();

    fn judge(&self) -> Result<(), Rejection> {
        Err(self.rejection())
    }

    fn enter(_: &ObjectName, _: Result<(), Rejection>, _: &mut Policies) {}

    fn remove(_: &ObjectName, _: &mut Policies) {}

    fn clear(_: &mut Policies) {}

    fn concerns(_: &ObjectName, _: &ApiKey) -> bool {
        false
    }

    fn status(&mut self) -> &mut Option<ObjectStatus> {
        &mut self.status
    }
}

fn api_namespace(key: &ApiKey) -> &str {
    let own = key.metadata.namespace.as_deref();
    key.spec.api_ref.namespace.as_deref().or(own).unwrap_or_default()
}

fn insert<T>(
    table: &mut HashMap<ObjectName, Result<Arc<T>, Rejection>>,
    name: &ObjectName,
    parsed: Result<T, Rejection>,
) {
    table.insert(name.clone(), parsed.map(Arc::new));
}
