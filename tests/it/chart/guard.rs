//! The delete guard: keys in use are not deleted by mistake, and nothing else is in its way.

use kube::api::{DeleteParams, ObjectMeta};
use kube::{Api, Client};
use serde_json::json;

use keyturn::resources::ApiKey;

use super::helm::{NAMESPACE, template};
use crate::support::own_cluster::OwnCluster;
use crate::support::wait::eventually;

async fn guarded() -> OwnCluster {
    let cluster = OwnCluster::start().await;
    cluster.kubectl(&["create", "namespace", NAMESPACE]);
    let chart = template(&["--set", "policies.deleteGuard=true,policies.actor=Never"]).expect("the chart renders");
    cluster.apply(&chart, &[]).expect("it is installed");
    let client = cluster.client(None).await;
    // It takes up a policy a moment later.
    eventually("the guard is in force", async || {
        key(&cluster, "default", "probe", json!({}));
        refused(&client, "default", "probe").await.map(drop).ok_or_else(|| "deleted".to_owned())
    })
    .await;
    cluster
}

/// Makes a key with these fields in its spec.
fn key(cluster: &OwnCluster, namespace: &str, name: &str, mut spec: serde_json::Value) {
    spec["apiRef"] = json!({"name": "transcripts"});
    let key = json!({
        "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    cluster.apply(&key.to_string(), &[]).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Deletes a key; what it was refused with.
async fn refused(client: &Client, namespace: &str, name: &str) -> Option<String> {
    let keys: Api<ApiKey> = Api::namespaced(client.clone(), namespace);
    keys.delete(name, &DeleteParams::default()).await.err().map(|error| error.to_string())
}

#[tokio::test]
async fn keys_in_use_are_not_deleted() {
    let cluster = guarded().await;
    let client = cluster.client(None).await;
    for (name, spec) in [("plain", json!({})), ("enabled", json!({"enabled": true, "revoked": false}))] {
        key(&cluster, "default", name, spec);
        let told = refused(&client, "default", name).await.expect("it is refused");
        let remedy = "is in use: set spec.revoked or spec.enabled=false first, or annotate it with keyturn.dev/allow-deletion=true";
        assert!(told.contains(&format!("ApiKey {name} {remedy}")), "{told}");
    }
    let error = cluster.try_kubectl(&["delete", "apikeys", "--all", "--namespace=default"]).expect_err("all are kept");
    assert!(error.contains("ApiKey plain is in use"), "{error}");
    for (name, spec) in [("disabled", json!({"enabled": false})), ("revoked", json!({"revoked": true}))] {
        key(&cluster, "default", name, spec);
        assert_eq!(refused(&client, "default", name).await, None);
    }
    for (value, goes) in [("false", false), ("true", true)] {
        let annotation = format!("keyturn.dev/allow-deletion={value}");
        cluster.kubectl(&["annotate", "--overwrite", "apikey", "plain", &annotation, "--namespace=default"]);
        assert_eq!(refused(&client, "default", "plain").await.is_none(), goes, "{value}");
    }
}

#[tokio::test]
async fn a_namespace_goes_with_its_keys_and_a_key_with_its_owner() {
    let cluster = guarded().await;
    cluster.kubectl(&["create", "namespace", "team-a"]);
    key(&cluster, "team-a", "in-use", json!({}));
    cluster.kubectl(&["delete", "namespace", "team-a", "--timeout=60s"]);

    cluster.kubectl(&["create", "configmap", "owner", "--namespace=default"]);
    let uid = cluster.kubectl(&["get", "configmap", "owner", "--namespace=default", "-o", "jsonpath={.metadata.uid}"]);
    let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
    let metadata: ObjectMeta =
        serde_json::from_value(json!({"name": "owned", "ownerReferences": owner})).expect("it is metadata");
    let mut owned = ApiKey::new("owned", serde_json::from_value(json!({"apiRef": {"name": "a"}})).expect("a spec"));
    owned.metadata = metadata;
    let keys: Api<ApiKey> = Api::namespaced(cluster.client(None).await, "default");
    keys.create(&kube::api::PostParams::default(), &owned).await.expect("it is made");
    cluster.kubectl(&["delete", "configmap", "owner", "--namespace=default"]);
    eventually("the key has gone with its owner", async || match keys.get_opt("owned").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
