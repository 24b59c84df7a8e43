//! Applies what the watches report, one report at a time and in order, so that the index never shows a state
//! that the API server never had within one kind.

mod apis;
mod namespaces;
mod owners;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use tracing::{info, warn};

use super::convert::key_record;
use super::permit::Held;
use super::watch::{Change, Report};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::policy::{ObjectName, Policies};
use crate::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};
use crate::verify::gate::{Gate, Watched};
use crate::verify::index::{Index, KeyRecord};

/// A report of one of the kinds.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are about ApiKeys, the largest; boxing would cost each of them"
)]
pub(super) enum Update {
    Keys(Report<DeserializeGuard<ApiKey>>),
    Apis(Report<DeserializeGuard<ProtectedApi>>),
    Tiers(Report<DeserializeGuard<ApiKeyTier>>),
    Roles(Report<DeserializeGuard<ApiKeyRole>>),
    Owners(Report<DeserializeGuard<ApiKeyOwner>>),
    Namespaces(Report<PartialObjectMeta<Namespace>>),
}

/// One kind's part of [`Policies`].
type Part<T> = HashMap<ObjectName, Result<Arc<T>, Rejection>>;

/// The one writer of the index.
pub(super) struct Applier {
    pub(super) index: Arc<Index>,
    pub(super) gate: Arc<Gate>,
    pub(super) held: Arc<Held>,
}

impl Applier {
    /// Applies one report; only then is it counted as heard.
    pub(super) fn apply(&self, update: Update) {
        match update {
            Update::Keys(Report { change, version, at }) => {
                let listed = matches!(change, Change::Listed(_));
                if listed {
                    self.held.apply_list(at, version, || self.keys(change));
                } else {
                    self.keys(change);
                    version.into_iter().for_each(|version| self.held.applied(version));
                }
                self.heard(Watched::ApiKeys, at, listed);
            }
            Update::Apis(Report { change, at, .. }) => {
                let listed = matches!(change, Change::Listed(_));
                self.index.change_policies_if(|policies| apis::merge(policies, change));
                self.heard(Watched::ProtectedApis, at, listed);
            }
            Update::Tiers(report) => {
                self.policies(Watched::Tiers, report, |policies| &mut policies.tiers, ApiKeyTier::parse);
            }
            Update::Roles(report) => {
                self.policies(Watched::Roles, report, |policies| &mut policies.roles, ApiKeyRole::parse);
            }
            Update::Owners(Report { change, at, .. }) => {
                let listed = matches!(change, Change::Listed(_));
                self.index.change_owners_if(|owners| owners::merge(owners, change));
                self.heard(Watched::Owners, at, listed);
            }
            Update::Namespaces(Report { change, at, .. }) => {
                let listed = matches!(change, Change::Listed(_));
                self.index.change_policies_if(|policies| namespaces::merge(&mut policies.namespaces, change));
                self.heard(Watched::Namespaces, at, listed);
            }
        }
    }

    fn keys(&self, change: Change<DeserializeGuard<ApiKey>>) {
        match change {
            Change::Listed(objects) => {
                let records: Vec<_> = objects.iter().filter_map(record).collect();
                info!(kind = "apikeys", count = records.len(), "objects are listed");
                self.index.reset(records);
            }
            Change::Applied(object) => match record(&object) {
                Some(record) => self.index.apply(record),
                // What the key was before must not stay valid because what it is now cannot be read.
                None => self.forget(&object),
            },
            Change::Deleted(object) => self.forget(&object),
            Change::Bookmark => {}
        }
    }

    fn forget(&self, object: &DeserializeGuard<ApiKey>) {
        if let Some(uid) = &object.meta().uid {
            self.index.delete(uid);
        }
    }

    fn policies<K, T>(
        &self,
        kind: Watched,
        report: Report<DeserializeGuard<K>>,
        part: fn(&mut Policies) -> &mut Part<T>,
        parse: fn(&K) -> Result<T, Rejection>,
    ) where
        K: Resource<DynamicType = ()>,
    {
        let Report { change, at, .. } = report;
        let listed = matches!(change, Change::Listed(_));
        if !matches!(change, Change::Bookmark) {
            self.index.change_policies(|policies| merge(part(policies), change, parse));
        }
        self.heard(kind, at, listed);
    }

    /// Told last: the gate may open by it.
    fn heard(&self, kind: Watched, at: Duration, listed: bool) {
        if listed {
            self.gate.listed(kind, at);
        } else {
            self.gate.heard(kind, at);
        }
    }
}

/// The record of a key that can be read.
fn record(object: &DeserializeGuard<ApiKey>) -> Option<KeyRecord> {
    let name = name(object)?;
    match &object.0 {
        Ok(key) => Some(key_record(name, key)),
        Err(error) => {
            warn_malformed("ApiKey", &name, error);
            None
        }
    }
}

/// Brings a change of one kind into its part of the policies. An object that cannot be read stays as its
/// rejection, so that it is not taken for one that does not exist.
fn merge<K, T>(part: &mut Part<T>, change: Change<DeserializeGuard<K>>, parse: fn(&K) -> Result<T, Rejection>)
where
    K: Resource<DynamicType = ()>,
{
    let entry = |object: DeserializeGuard<K>| {
        let name = name(&object)?;
        let parsed = match &object.0 {
            Ok(object) => parse(object).map(Arc::new),
            Err(error) => Err(malformed(&K::kind(&()), &name, error)),
        };
        Some((name, parsed))
    };
    match change {
        Change::Listed(objects) => {
            *part = objects.into_iter().filter_map(entry).collect();
            info!(kind = %K::plural(&()), count = part.len(), "objects are listed");
        }
        Change::Applied(object) => part.extend(entry(object)),
        Change::Deleted(object) => {
            if let Some(name) = name(&object) {
                part.remove(&name);
            }
        }
        Change::Bookmark => {}
    }
}

fn name<K: Resource>(object: &DeserializeGuard<K>) -> Option<ObjectName> {
    let metadata = object.meta();
    Some(ObjectName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

/// The rejection of an object that cannot be read.
fn malformed(kind: &str, name: &ObjectName, error: &dyn Display) -> Rejection {
    warn_malformed(kind, name, error);
    Rejection::new(Reason::Invalid, format!("the object cannot be read: {error}"))
}

fn warn_malformed(kind: &str, name: &ObjectName, error: &dyn Display) {
    warn!(kind, %name, %error, "an object cannot be read and counts for nothing until it is corrected");
}

#[cfg(test)]
mod tests;
