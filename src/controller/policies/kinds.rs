//! What the kinds that keys refer to have in common.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::{Teller, status};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::policy::{ObjectName, Policies};
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};
use crate::telemetry::chain;

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
    /// Takes an object over. One that can't be read stays as its rejection, so that it is not taken for missing.
    fn enter(name: &ObjectName, object: &DeserializeGuard<Self>, policies: &mut Policies);

    fn remove(name: &ObjectName, policies: &mut Policies);

    fn clear(policies: &mut Policies);

    /// Has the object's status say what is made of it.
    fn tell(self, name: &ObjectName, policies: &Policies, teller: &Teller) -> impl Future<Output = ()> + Send;

    /// Objects that contend with the one of that name: each has to be told anew when it comes, changes or goes.
    fn rivals(_: &ObjectName, _: &Policies) -> Vec<ObjectName> {
        Vec::new()
    }

    /// Has the object of that name, which contends with one that has changed, say what is made of it now.
    fn tell_rival(_: &ObjectName, _: &Policies, _: &Teller) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether a change of the object could change what becomes of a key; with the policies before and after.
    fn concerns(name: &ObjectName, change: (&Policies, &Policies), key: &ApiKey) -> bool;
}

/// A kind with a table among the policies, whose objects are judged each by itself.
macro_rules! entered_in {
    ($table:ident) => {
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

        async fn tell(self, name: &ObjectName, policies: &Policies, teller: &Teller) {
            let judgement = policies.$table.get(name).map_or(Ok(()), |parsed| parsed.as_ref().map(drop));
            status::tell(&teller.client, self, |object| &mut object.status, judgement).await;
        }
    };
}

impl Kind for ProtectedApi {
    fn enter(name: &ObjectName, object: &DeserializeGuard<Self>, policies: &mut Policies) {
        let parsed = object.0.as_ref().map_err(unreadable).and_then(Self::parse);
        policies.apis.insert(name.clone(), parsed.map(Arc::new));
        // One that cannot be read keeps the hosts that it had.
        if let Ok(api) = &object.0 {
            policies.hosts.enter(name, api.host_claim());
        }
    }

    fn remove(name: &ObjectName, policies: &mut Policies) {
        policies.apis.remove(name);
        policies.hosts.remove(name);
    }

    fn clear(policies: &mut Policies) {
        policies.apis.clear();
        policies.hosts.clear();
    }

    /// One that lacks a host is served by its name all the same: nobody can put another's API out of service by
    /// claiming its host.
    async fn tell(self, name: &ObjectName, policies: &Policies, teller: &Teller) {
        let parsed = policies.apis.get(name).map_or(Ok(()), |parsed| parsed.as_ref().map(drop).map_err(Clone::clone));
        let judgement = parsed.and_then(|()| policies.hosts.judge(name));
        status::tell(&teller.client, self, |object| &mut object.status, judgement.as_ref().copied()).await;
    }

    fn rivals(name: &ObjectName, policies: &Policies) -> Vec<ObjectName> {
        policies.hosts.rivals(name).into_iter().collect()
    }

    async fn tell_rival(name: &ObjectName, policies: &Policies, teller: &Teller) {
        match Api::<Self>::namespaced(teller.client.clone(), &name.namespace).get_opt(&name.name).await {
            Ok(Some(object)) => object.tell(name, policies, teller).await,
            Ok(None) => {}
            Err(error) => warn!(api = %name, error = chain(&error), "an API that contends for a host cannot be read"),
        }
    }

    fn concerns(name: &ObjectName, _: (&Policies, &Policies), key: &ApiKey) -> bool {
        *name.name == *key.spec.api_ref.name && *name.namespace == *api_namespace(key)
    }
}

impl Kind for ApiKeyTier {
    /// A key that names no tier may have this one from its API.
    fn concerns(name: &ObjectName, _: (&Policies, &Policies), key: &ApiKey) -> bool {
        key.spec.tier.as_deref().is_none_or(|tier| tier == &*name.name) && *name.namespace == *api_namespace(key)
    }

    entered_in!(tiers);
}

impl Kind for ApiKeyRole {
    fn concerns(name: &ObjectName, _: (&Policies, &Policies), key: &ApiKey) -> bool {
        key.spec.roles.iter().any(|role| **role == *name.name) && *name.namespace == *api_namespace(key)
    }

    entered_in!(roles);
}

impl Kind for ApiKeyOwner {
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

    async fn tell(self, name: &ObjectName, _: &Policies, teller: &Teller) {
        teller.wake_owner(name);
    }

    fn rivals(name: &ObjectName, policies: &Policies) -> Vec<ObjectName> {
        policies.owners.rivals(name).collect()
    }

    async fn tell_rival(name: &ObjectName, _: &Policies, teller: &Teller) {
        teller.wake_owner(name);
    }

    /// Of those for whom it speaks, or spoke, all keys: what it says has changed.
    fn concerns(name: &ObjectName, (before, after): (&Policies, &Policies), key: &ApiKey) -> bool {
        let claims = [before, after].map(|policies| policies.owners.claim(name));
        let spoken_for = claims.iter().flatten().any(|claim| key.spec.owner.as_deref() == Some(&*claim.external_id));
        spoken_for && claims[0] != claims[1] && *name.namespace == *api_namespace(key)
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
