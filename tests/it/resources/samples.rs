//! The manifests in `config/samples/` apply as they stand, and mean something.

use std::path::PathBuf;

use keyturn::core::acceptance::Rejection;
use keyturn::core::budget::{Period, Quota};
use keyturn::resources::{ApiKey, ApiKeyOwner, ApiKeyRole, ApiKeyTier, ProtectedApi};
use kube::api::{ListParams, ObjectList};
use serde::de::DeserializeOwned;

use crate::support::cluster::Namespace;
use crate::support::process::tool;

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "config", "samples"].iter().collect()
}

#[tokio::test]
async fn every_sample_applies_and_can_be_honoured() {
    let namespace = Namespace::create().await;
    let output = std::process::Command::new(tool("kubectl"))
        .args(["apply", "--server-side", "--validate=strict", "--namespace", namespace.name(), "--filename"])
        .arg(folder())
        .output()
        .expect("kubectl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let keys: ObjectList<ApiKey> = list(&namespace).await;
    assert!(!keys.items.is_empty());
    for key in keys {
        key.parse().unwrap();
    }
    let apis: ObjectList<ProtectedApi> = list(&namespace).await;
    assert!(apis.items.iter().all(|api| api.parse().is_ok()) && !apis.items.is_empty());
    let roles: ObjectList<ApiKeyRole> = list(&namespace).await;
    assert!(roles.items.iter().all(|role| role.parse().is_ok()) && !roles.items.is_empty());
    let owners: ObjectList<ApiKeyOwner> = list(&namespace).await;
    let said = owners.items.iter().map(|owner| {
        let owner = owner.claim().owner?;
        let shared = owner.rate_limits.iter().map(|limit| (limit.limit, limit.window.as_secs())).collect::<Vec<_>>();
        Ok::<_, Rejection>((owner.tier.clone(), owner.max_active_keys, shared))
    });
    assert_eq!(said.collect::<Vec<_>>(), [Ok((Some("basic".into()), Some(20), vec![(2_000, 60)]))]);
    let tiers: ObjectList<ApiKeyTier> = list(&namespace).await;
    let keys = tiers.items.iter().filter_map(|tier| tier.parse().unwrap().max_active_keys_per_owner);
    assert_eq!(keys.collect::<Vec<_>>(), [3], "of the free tier");
    let limits: Vec<_> = tiers
        .items
        .iter()
        .map(|tier| tier.parse().unwrap())
        .map(|tier| (tier.name.to_string(), tier.rate_limits[0].limit, tier.rate_limits[0].window.as_secs()))
        .collect();
    let limits: Vec<_> = limits.iter().map(|(name, limit, window)| (name.as_str(), *limit, *window)).collect();
    assert_eq!(
        limits,
        [("basic", 100, 60), ("enterprise", 10_000, 60), ("free", 10, 60), ("pro", 1_000, 60), ("scale", 100, 1)]
    );
    let quotas = tiers.items.iter().flat_map(|tier| tier.parse().unwrap().quotas);
    let daily = Quota { name: "daily".into(), limit: 500_000, period: Period::Day };
    assert_eq!(quotas.collect::<Vec<_>>(), [daily], "of the tier scale");
}

async fn list<K>(namespace: &Namespace) -> ObjectList<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    namespace.api::<K>().list(&ListParams::default()).await.expect("our kinds can be listed")
}
