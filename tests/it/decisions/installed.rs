//! `keyturn doctor` where nobody has told it of a verifier: it finds those of the chart, and asks them through the API server.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use serde_json::{Value, json};

use super::{doctor, doctor_as, refused, text};
use crate::support::accounts;
use crate::support::apply::manifests;
use crate::support::cluster::{self, Namespace};
use crate::support::http::HttpClient;
use crate::support::network::Network;
use crate::support::process::{Process, scratch};
use crate::support::wait::eventually;
use crate::verifier::{create_api, create_pepper};

/// A person without any rights.
fn somebody() -> PathBuf {
    let mut kubeconfig = cluster::kubeconfig();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info.iter_mut().for_each(|login| login.impersonate = Some("somebody".to_owned()));
    }
    let file = scratch("somebody.kubeconfig");
    std::fs::write(&file, serde_json::to_string(&kubeconfig).expect("a kubeconfig can be written"))
        .unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
    file
}

/// Gives that person the rights of `config/rbac/doctor.yaml`.
async fn allow(namespace: &Namespace) {
    let role = manifests("config/rbac/doctor.yaml").remove(0).to_string().replace("keyturn-system", namespace.name());
    let role: Role = serde_json::from_str(&role).expect("it is a Role");
    namespace.api().create(&PostParams::default(), &role).await.expect("the Role is created");
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": "keyturn-doctor"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "keyturn-doctor"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "somebody"}],
    }))
    .expect("it is a RoleBinding");
    namespace.api().create(&PostParams::default(), &binding).await.expect("the Role is bound");
}

/// A pod as the chart makes it, which runs with that address.
async fn pod(namespace: &Namespace, name: &str, address: &str, health: u16) {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/name": "keyturn", "app.kubernetes.io/component": "verifier"},
        },
        "spec": {"containers": [{
            "name": "keyturn", "image": "keyturn", "ports": [{"name": "health", "containerPort": health}],
        }]},
    }))
    .expect("it is a Pod");
    let pods = namespace.api::<Pod>();
    eventually("a pod is created", async || {
        // The account that pods run under comes a moment after its namespace.
        pods.create(&PostParams::default(), &pod).await.map_err(|error| error.to_string())
    })
    .await;
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    let patched = pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
    patched.expect("the pod runs");
}

#[tokio::test]
async fn the_doctor_finds_the_verifiers_of_the_chart() {
    let namespace = Namespace::create().await;
    create_api(&namespace).await;
    create_pepper(&namespace).await;
    let own = format!("--operator-namespace={}", namespace.name());
    let asked = [own.clone(), "--request=r-1".to_owned()];

    let told = doctor(&asked).await;
    let log = text(&told.stderr);
    assert!(!told.status.success(), "{log}");
    assert!(log.contains("no --verifier is named, and the cluster cannot be asked which there are"), "{log}");
    let person = somebody();
    let log = text(&doctor_as(&person, &asked).await.stderr);
    assert!(log.contains("get the right to (config/rbac/doctor.yaml), or name verifiers with --verifier"), "{log}");
    allow(&namespace).await;
    eventually("the right is known, and nobody is found", async || {
        let log = text(&doctor_as(&person, &asked).await.stderr);
        if log.contains("no pod that runs in namespace") { Ok(()) } else { Err(log) }
    })
    .await;

    // The API server asks no pod on loopback.
    let account = accounts::in_namespace(namespace.name(), "verifier");
    let (network, kubeconfig) = Network::connected(Kubeconfig::read_from(account).expect("it is complete")).await;
    let mut command = network.command(env!("CARGO_BIN_EXE_keyturn"));
    command.env("KUBECONFIG", kubeconfig).arg("verifier").arg(&own).arg(format!("--namespace={}", namespace.name()));
    let verifier = Process::spawn("verifier in a pod", command);
    let health = network.inside(8081);
    eventually("the verifier is ready", async || {
        let answer = HttpClient::new(health).get("/readyz", &[]).await?;
        if answer.status.is_success() { Ok(()) } else { Err(format!("{}\n{}", answer.body, verifier.log())) }
    })
    .await;
    refused(network.inside(8080), &namespace, "r-1").await;
    let address = health.ip().to_string();
    pod(&namespace, "keyturn-verifier-a", &address, 8081).await;
    // Nobody listens there.
    pod(&namespace, "keyturn-verifier-b", &address, 9).await;

    let told = doctor_as(&person, &asked).await;
    let (table, log) = (text(&told.stdout), text(&told.stderr));
    assert!(told.status.success(), "{table}{log}");
    assert!(table.contains("judged by keyturn-verifier-a\n"), "{table}");
    assert!(table.contains("not told  keyturn-verifier-b: the API server answers: "), "{table}");
    let unknown = doctor_as(&person, &[own.clone(), "--request=r-2".to_owned()]).await;
    let log = text(&unknown.stderr);
    assert!(!unknown.status.success() && log.contains("among the last 1000 that this process has refused"), "{log}");
    let document = doctor_as(&person, &[own, "--request=r-1".to_owned(), "-ojson".to_owned()]).await;
    let document: Value = serde_json::from_slice(&document.stdout).expect("it is JSON");
    assert_eq!(document["decisions"][0]["verifier"], "keyturn-verifier-a");
}
