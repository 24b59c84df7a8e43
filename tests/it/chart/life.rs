//! Helm installs, upgrades and uninstalls it, and no key is lost.

use std::fs;
use std::process::Command;

use super::helm::{CHART, NAMESPACE};
use crate::support::own_cluster::OwnCluster;
use crate::support::process::{scratch, tool};
use crate::support::program::printed;
use crate::support::root;

const KEY: &str = r#"{"apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "ci", "namespace": "default"},
  "spec": {"apiRef": {"name": "transcripts"}}}"#;

fn helm(cluster: &OwnCluster, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(tool("helm"));
    command.arg("--kubeconfig").arg(cluster.kubeconfig_file()).args(["--namespace", NAMESPACE]).args(arguments);
    printed(&mut command)
}

/// A chart like ours with a definition of another version.
fn older_chart() -> String {
    let copy = scratch("chart").to_string_lossy().into_owned();
    printed(Command::new("cp").args(["-r", CHART, &copy])).expect("the chart is copied");
    let file = format!("{copy}/files/crds/apikeys.yaml");
    let text = fs::read_to_string(&file).expect("the definition can be read");
    let older = text.replace("    - ak\n", "    - oldak\n");
    assert_ne!(older, text, "nothing differs");
    fs::write(&file, older).expect("the copy can be written to");
    copy
}

#[tokio::test]
async fn upgrading_brings_new_definitions_and_uninstalling_leaves_keys() {
    let cluster = OwnCluster::start().await;
    // As on a cluster that never had them.
    cluster.kubectl(&["delete", "--filename", &root().join("crds").to_string_lossy()]);
    let older = older_chart();
    let said = helm(&cluster, &["install", "keyturn", &older, "--create-namespace"]).expect("it is installed");
    for part in ["EVERY REQUEST IS REFUSED", "15m (verifier.maxStaleness)", "rollout status", "docs/ingress.md"] {
        assert!(said.contains(part), "{part:?} is not in what Helm says: {said}");
    }
    let short =
        || cluster.kubectl(&["get", "crd", "apikeys.keyturn.dev", "-o", "jsonpath={.spec.names.shortNames[0]}"]);
    assert_eq!(short(), "oldak");
    cluster.kubectl(&["wait", "--for=condition=Established", "crd", "apikeys.keyturn.dev"]);
    cluster.apply(KEY, &[]).expect("a key is made");

    helm(&cluster, &["upgrade", "keyturn", CHART]).expect("it is upgraded");
    assert_eq!(short(), "ak");
    helm(&cluster, &["rollback", "keyturn", "1"]).expect("it is rolled back");
    helm(&cluster, &["upgrade", "keyturn", CHART]).expect("it is upgraded again");

    helm(&cluster, &["uninstall", "keyturn", "--wait"]).expect("it is uninstalled");
    assert_eq!(cluster.kubectl(&["get", "deployments,services,roles", "--namespace", NAMESPACE, "-o", "name"]), "");
    assert_eq!(cluster.kubectl(&["get", "apikeys", "--namespace=default", "-o", "name"]), "apikey.keyturn.dev/ci\n");
    helm(&cluster, &["install", "keyturn", CHART]).expect("it is installed again beside what was left");
}
