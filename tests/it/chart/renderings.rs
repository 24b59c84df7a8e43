//! Every rendering is taken by a real API server, and its pods by the strictest profile of Pod Security.

use clap::Parser as _;
use keyturn::cli::Cli;
use serde_json::{Value, json};

use super::helm::{CHART, NAMESPACE, VERSION, helm, object, objects, template, value_files};
use crate::support::own_cluster::OwnCluster;

async fn cluster() -> OwnCluster {
    let cluster = OwnCluster::start().await;
    cluster.know_other_kinds();
    for namespace in [NAMESPACE, "team-a"] {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    cluster
}

#[test]
fn helm_finds_no_fault_with_any_set_of_values() {
    for file in value_files() {
        helm(&["lint", "--strict", VERSION, CHART, "--values", &file])
            .unwrap_or_else(|error| panic!("{file}: {error}"));
    }
    helm(&["lint", "--strict", VERSION, CHART]).expect("the chart is right with its defaults");
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    for (value, complaint) in [
        ("verifier.replica=3", "'replica' not allowed"),
        ("maxStaleness=1h", "'maxStaleness' not allowed"),
        ("verifier.replicas=0", "minimum"),
        ("verifier.maxStaleness=1 week", "pattern"),
        ("verifier.rateLimits.store=redis", "one of"),
        ("verifier.rateLimits.store=valkey", "minItems"),
        ("verifier.rateLimits.valkey.urls={valkey://user:password@store:6379}", "pattern"),
        ("networkPolicy.enabled=true", "minItems"),
        ("verifier.report.enabled=true", "let anybody report anything"),
        ("verifier.report.enabled=true,verifier.report.tokenSecretName=token", "sent in the clear"),
        ("verifier.grpc.tls.clientCaSecretName=ca", "needs a certificate"),
        ("verifier.autoscaling.enabled=true,verifier.autoscaling.maxReplicas=1", "less than minReplicas=2"),
        ("image.digest=latest", "pattern"),
    ] {
        let error = template(&["--set", value]).expect_err(value);
        assert!(error.contains(complaint), "{value}: {error}");
    }
}

#[tokio::test]
async fn an_api_server_takes_every_rendering() {
    let cluster = cluster().await;
    let sets = value_files();
    assert!(sets.len() >= 5, "{sets:?}");
    let further = sets.iter().map(|file| vec!["--values", file.as_str()]);
    for further in further.chain([vec![]]) {
        let manifest = template(&further).unwrap_or_else(|error| panic!("{further:?}: {error}"));
        let tried = cluster.apply(&manifest, &["--dry-run=server"]);
        tried.unwrap_or_else(|error| panic!("{further:?}: {error}"));
        // What shows that it looks: the same with a field that there is not.
        let mistaken = manifest.replacen("topologySpreadConstraints:", "topologySpreadConstraint:", 1);
        let error = cluster.apply(&mistaken, &["--dry-run=server"]).expect_err("a field that there is not is refused");
        assert!(error.contains("topologySpreadConstraint"), "{error}");
    }
}

#[test]
fn every_process_understands_its_arguments() {
    let sets = value_files();
    for file in &sets {
        let objects = objects(&["--values", file]);
        for name in ["keyturn-controller", "keyturn-verifier"] {
            let container = &object(&objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0];
            let arguments = container["args"].as_array().expect("it has arguments").iter();
            let line = arguments.map(|argument| argument.as_str().expect("an argument is text"));
            let understood = Cli::try_parse_from(std::iter::once("keyturn").chain(line));
            understood.unwrap_or_else(|error| panic!("{name} of {file}: {error}"));
        }
    }
}

/// A pod as a Deployment makes it.
fn pod(deployment: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod"});
    pod["metadata"] = deployment["spec"]["template"]["metadata"].clone();
    pod["metadata"]["name"] = deployment["metadata"]["name"].clone();
    pod["metadata"]["namespace"] = json!(NAMESPACE);
    pod["spec"] = deployment["spec"]["template"]["spec"].clone();
    pod
}

#[tokio::test]
async fn pods_keep_to_the_restricted_profile() {
    let cluster = cluster().await;
    cluster.kubectl(&["label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted"]);
    let sets = value_files();
    let further = sets.iter().map(|file| vec!["--values", file.as_str()]);
    for further in further.chain([vec![]]) {
        let objects = objects(&further);
        let accounts = objects.iter().filter(|object| object["kind"] == "ServiceAccount");
        accounts.for_each(|account| drop(cluster.apply(&account.to_string(), &[]).expect("an account is made")));
        for name in ["keyturn-controller", "keyturn-verifier"] {
            let pod = pod(object(&objects, "Deployment", name));
            let tried = cluster.apply(&pod.to_string(), &["--dry-run=server"]);
            tried.unwrap_or_else(|error| panic!("{name} with {further:?}: {error}"));
            let mut looser = pod;
            looser["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
            let error = cluster.apply(&looser.to_string(), &["--dry-run=server"]).expect_err("it is refused");
            assert!(error.contains("violates PodSecurity \"restricted"), "{error}");
        }
    }
}
