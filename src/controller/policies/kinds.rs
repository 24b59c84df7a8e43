//! What the kinds that keys refer to have in common.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::acceptance::{Reason, Rejection};
use crate::core::policy::{ObjectName, Policies};
use crate::resources::apikeyowner::OwnerStatus;
use crate::resources::condition::{ObjectStatus, TellsAcceptance};
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
    type Status: TellsAcceptance + Clone + Default + PartialEq + Send;

    /// Takes an object over. One that can't be read stays as its rejection, so that it is not taken for missing.
    fn enter(name: &ObjectName, object: &DeserializeGuard<Self>, policies: &mut Policies);

    fn remove(name: &ObjectName, policies: &mut Policies);

    fn clear(policies: &mut Policies);

    /// What the `Accepted` of the object of that name is to say.
    fn judgement(name: &ObjectName, policies: &Policies) -> Result<(), Rejection>;

    /// Objects of the kind that contend with the one of that name: each has to be told when it comes, changes or
    /// goes.
    fn rivals(_: &ObjectName, _: &Policies) -> Vec<ObjectName> {
        Vec::new()
    }

    /// Whether a change of the object could change what becomes of a key.
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool;

    fn status(&mut self) -> &mut Option<Self::Status>;
}

/// A kind with a table among the policies, whose objects are judged each by itself.
macro_rules! entered_in {
    ($table:ident) => {
        type Status = ObjectStatus;

        fn enter(name: &ObjectName, object: &DeserializeGuard<Self>, policies: &mut Policies) {
            let parsed = object.0.as_ref().map_err(unreadable).and_then(Self::parse);
            policies.$table.insert(name.clone(), parsed.map(Arc::new));
        }

        fn remove(name: &ObjectName, policies: &mut Policies) {
            policies.$table.remove(name);
        }

        fn clear(policies: &mut Policies) {
            policies.$table.clear();
        }

        fn judgement(name: &ObjectName, policies: &Policies) -> Result<(), Rejection> {
            policies.$table.get(name).map_or(Ok(()), |parsed| parsed.as_ref().map(drop).map_err(Clone::clone))
        }

        fn status(&mut self) -> &mut Option<ObjectStatus> {
            &mut self.status
        }
    };
}

impl Kind for ProtectedApi {
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        *name.name == *key.spec.api_ref.name && *name.namespace == *api_namespace(key)
    }

    entered_in!(apis);
}

impl Kind for ApiKeyTier {
    /// A key that names no tier may have this one from its API.
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        key.spec.tier.as_deref().is_none_or(|tier| tier == &*name.name) && *name.namespace == *api_namespace(key)
    }

    entered_in!(tiers);
}

impl Kind for ApiKeyRole {
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        key.spec.roles.iter().any(|role| **role == *name.name) && *name.namespace == *api_namespace(key)
    }

    entered_in!(roles);
}

impl Kind for ApiKeyOwner {
    type Status = OwnerStatus;

    fn enter(name: &ObjectName, object: &DeserializeGuard<Self>, policies: &mut Policies) {
        let claim = match &object.0 {
            Ok(owner) => owner.claim(),
            Err(error) => Self::unreadable(object.meta(), unreadable(error)),
        };
        policies.owners.enter(name, claim);
    }

    fn remove(name: &ObjectName, policies: &mut Policies) {
        policies.owners.remove(name);
    }

    fn clear(policies: &mut Policies) {
        policies.owners.clear();
    }

    fn judgement(name: &ObjectName, policies: &Policies) -> Result<(), Rejection> {
        policies.owners.judge(name)
    }

    fn rivals(name: &ObjectName, policies: &Policies) -> Vec<ObjectName> {
        policies.owners.rivals(name).collect()
    }

    /// Whom it speaks for may have changed, so this concerns every key of this namespace's APIs that names an owner.
    fn concerns(name: &ObjectName, key: &ApiKey) -> bool {
        key.spec.owner.is_some() && *name.namespace == *api_namespace(key)
    }

    fn status(&mut self) -> &mut Option<OwnerStatus> {
        &mut self.status
    }
}

/// Whether the key belongs to an API of another namespace.
pub(super) fn is_foreign(key: &ApiKey) -> bool {
    key.metadata.namespace.as_deref() != Some(api_namespace(key))
}

fn api_namespace(key: &ApiKey) -> &str {
    let own = key.metadata.namespace.as_deref();
    key.spec.api_ref.namespace.as_deref().or(own).unwrap_or_default()
}

fn unreadable(error: &InvalidObject) -> Rejection {
    Rejection::new(Reason::Invalid, format!("it cannot be read ({}); apply it anew", error.error))
}
