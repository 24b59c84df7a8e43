//! The manifests of `config/ingress` for what no test here runs say nothing that the kinds in them do not have. Their
//! definitions are those that each project publishes (tests/tools/schemas.txt).

use serde_json::{Value, json};

use crate::support::apply::manifests;
use crate::support::own_cluster::OwnCluster;

/// Each with a place where a field that there is not would be a mistake easily made.
const FILES: [(&str, &str); 7] = [
    ("envoy-gateway", "/spec/extAuth/grpc"),
    ("gateway-api", "/spec/rules/0/filters/0/externalAuth"),
    ("nginx-gateway-fabric", "/spec/rules/0/filters/0/externalAuth/http"),
    ("istio", "/spec/rules/0/to/0/operation"),
    ("contour", "/spec/virtualhost/authorization"),
    ("ingress-nginx", "/spec/rules/0/http/paths/0"),
    ("apisix", "/spec/rules/0/http/paths/0"),
];

/// Whose definitions are published nowhere that tests fetch from.
const UNKNOWN: &str = "apisix.apache.org/v2";

fn tried(cluster: &OwnCluster, manifest: &Value) -> Result<String, String> {
    cluster.apply(&manifest.to_string(), &["--dry-run=server"])
}

/// The manifest with a field in that place which its kind does not have, where there is such a place.
fn mistaken(manifest: &Value, place: &str) -> Option<Value> {
    let mut mistaken = manifest.clone();
    mistaken.pointer_mut(place)?.as_object_mut()?.insert("misspelt".to_owned(), json!("x"));
    Some(mistaken)
}

#[tokio::test]
async fn manifests_for_other_proxies_are_what_their_definitions_say() {
    let cluster = OwnCluster::start().await;
    cluster.know_other_kinds();
    for namespace in ["gateways", "istio-system", "keyturn-system", "speech"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    for (proxy, place) in FILES {
        let known = manifests(&format!("config/ingress/{proxy}/keyturn.yaml"));
        let known: Vec<_> = known.into_iter().filter(|manifest| manifest["apiVersion"] != UNKNOWN).collect();
        for manifest in &known {
            tried(&cluster, manifest).unwrap_or_else(|error| panic!("{proxy}: {error}"));
        }
        let mistaken: Vec<_> = known.iter().filter_map(|manifest| mistaken(manifest, place)).collect();
        assert!(!mistaken.is_empty(), "{proxy} has nothing at {place}");
        for manifest in &mistaken {
            let error = tried(&cluster, manifest).expect_err(proxy);
            assert!(error.contains("misspelt"), "{proxy}: {error}");
        }
    }
}
