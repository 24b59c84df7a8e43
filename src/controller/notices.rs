//! Counts the keys of which people were told in time, by API: gauges beside the events; and all keys.

mod overall;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use tokio::time::sleep;

use crate::clock;
use crate::core::lifecycle::EXPIRY_NOTICE;
use crate::metrics::{ApiLabel, Metrics};
use crate::resources::ApiKey;
use crate::resources::apikey::{ApiKeyStatus, KeyState, VersionState};
use overall::Overall;

/// How often they are counted.
const PERIOD: Duration = Duration::from_secs(15);

/// Namespace and name of an API.
type ApiName = (Arc<str>, Arc<str>);

/// Of one API the keys that expire soon, and those with an old version in use.
type Counts = (usize, usize);

/// Counts again and again. What was counted is taken back when it is dropped: another controller leads then.
pub(super) async fn count(keys: Store<DeserializeGuard<ApiKey>>, metrics: Arc<Metrics>) {
    let mut told = Told { metrics, apis: BTreeMap::new(), overall: Overall::default() };
    loop {
        let now = clock::now();
        let (mut counts, mut overall) = (BTreeMap::new(), Overall::default());
        for key in keys.state() {
            if let Ok(key) = &key.0 {
                add(&mut counts, key, now);
                overall.add(key, now);
            }
        }
        told.tell(counts, overall);
        sleep(PERIOD).await;
    }
}

struct Told {
    metrics: Arc<Metrics>,
    apis: BTreeMap<ApiName, Counts>,
    overall: Overall,
}

impl Told {
    fn tell(&mut self, counts: BTreeMap<ApiName, Counts>, overall: Overall) {
        for api in self.apis.keys().filter(|api| !counts.contains_key(*api)) {
            self.metrics.set_notices(ApiLabel(Some(api.clone())), 0, 0);
        }
        for (api, (expiring, in_use)) in &counts {
            self.metrics.set_notices(ApiLabel(Some(api.clone())), *expiring, *in_use);
        }
        overall.tell(&self.overall, self.metrics.leading());
        (self.apis, self.overall) = (counts, overall);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.tell(BTreeMap::new(), Overall::default());
    }
}

fn add(counts: &mut BTreeMap<ApiName, Counts>, key: &ApiKey, now: Timestamp) {
    let Some(status) = &key.status else { return };
    let (expires, in_use) = (expires_soon(status, now), old_version_is_in_use(status, now));
    if !expires && !in_use {
        return;
    }
    let api = &key.spec.api_ref;
    let namespace = api.namespace.clone().or_else(|| key.namespace()).unwrap_or_default();
    let (expiring, old) = counts.entry((namespace.into(), api.name.as_str().into())).or_default();
    *expiring += usize::from(expires);
    *old += usize::from(in_use);
}

fn expires_soon(status: &ApiKeyStatus, now: Timestamp) -> bool {
    let lives = matches!(status.state, Some(KeyState::Active | KeyState::Rotating | KeyState::Disabled));
    let left = status.expires_at.as_ref().map(|at| at.0.duration_since(now));
    lives && left.is_some_and(|left| left.is_positive() && left.unsigned_abs() <= EXPIRY_NOTICE)
}

fn old_version_is_in_use(status: &ApiKeyStatus, now: Timestamp) -> bool {
    let told = status.notices.iter().flat_map(|notices| &notices.old_versions);
    let in_grace = |number: u32| {
        status.versions.iter().any(|version| {
            version.number == number
                && version.state == VersionState::Grace
                && version.not_after.as_ref().is_some_and(|end| end.0 > now)
        })
    };
    told.into_iter().any(|version| in_grace(version.number))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn counted(keys: &[(Value, Value)]) -> BTreeMap<ApiName, Counts> {
        let mut counts = BTreeMap::new();
        for (api, status) in keys {
            let key = json!({
                "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey",
                "metadata": {"name": "ci", "namespace": "team-a"}, "spec": {"apiRef": api}, "status": status,
            });
            add(&mut counts, &serde_json::from_value(key).unwrap(), "2026-11-22T12:00:00Z".parse().unwrap());
        }
        counts
    }

    fn expiring(state: &str, at: &str) -> Value {
        json!({"state": state, "expiresAt": at})
    }

    fn in_grace(until: &str, told: Value) -> Value {
        let version = json!({
            "number": 1, "digest": "", "pepper": "p1", "start": "", "mintedAt": "2026-01-01T00:00:00Z",
            "state": "Grace", "notAfter": until,
        });
        json!({"state": "Active", "versions": [version], "notices": {"oldVersions": told}})
    }

    #[test]
    fn keys_are_counted_by_api_while_what_was_told_is_so() {
        let own = || json!({"name": "transcripts"});
        let other = || json!({"name": "transcripts", "namespace": "speech"});
        let told = || json!([{"number": 1, "lastUsedAt": "2026-11-22T11:00:00Z"}]);
        let counts = counted(&[
            (own(), Value::Null),
            (own(), expiring("Active", "2026-11-29T12:00:00Z")),
            (own(), expiring("Active", "2026-11-29T12:00:01Z")),
            (own(), expiring("Active", "2026-11-22T12:00:00Z")),
            (own(), expiring("Revoked", "2026-11-23T12:00:00Z")),
            (other(), expiring("Disabled", "2026-11-22T12:00:01Z")),
            (other(), in_grace("2026-11-22T12:00:01Z", told())),
            (other(), in_grace("2026-11-22T12:00:00Z", told())),
            (other(), in_grace("2026-11-22T12:00:01Z", json!([]))),
        ]);
        let api = |namespace: &str| (Arc::from(namespace), Arc::from("transcripts"));
        assert_eq!(counts, [(api("team-a"), (1, 0)), (api("speech"), (1, 1))].into());
    }
}
