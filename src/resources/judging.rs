//! What the Lease of a judging process says.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::ResourceExt as _;

use super::names::APPLIED_ANNOTATION;
use crate::core::enforced::judgement;

/// As decisions need it.
#[must_use]
pub fn read(lease: &Lease) -> judgement::Lease {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref());
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    judgement::Lease {
        uid: lease.metadata.uid.as_deref().unwrap_or_default().into(),
        version: lease.resource_version().and_then(|version| version.parse().ok()),
        held: holder.is_some_and(|holder| !holder.is_empty()),
        applied: lease.annotations().get(APPLIED_ANNOTATION).and_then(|applied| applied.parse().ok()),
        duration: seconds.map(Duration::from_secs),
    }
}

/// A consistent list of all of them, asked for at `begun`.
#[must_use]
pub fn list(leases: &kube::api::ObjectList<Lease>, begun: Duration) -> judgement::List {
    let version = leases.metadata.resource_version.as_deref().and_then(|version| version.parse().ok());
    let leases = leases.items.iter().map(|lease| (lease.name_any().into(), read(lease))).collect();
    judgement::List { begun, version, leases }
}
