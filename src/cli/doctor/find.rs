//! The verifiers of an installation: which there are, and asking them by way of the API server, which reaches pods from
//! wherever it is reached itself.

use futures::future::join_all;
use http::Request;
use http_body_util::{BodyExt as _, Limited};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::client::Body;
use kube::{Api, Client, ResourceExt as _};
use tokio::time::timeout;

use super::ask::{AskError, LONGEST_ANSWER, TIMEOUT, path, read};
use super::report::Answer;
use crate::call::CallError;
use crate::core::decision::Decision;

/// How the chart labels their pods.
const VERIFIERS: &str = "app.kubernetes.io/name=keyturn,app.kubernetes.io/component=verifier";

/// What it calls their health port.
const HEALTH: &str = "health";

/// Why it is not known whom to ask.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(
        "finding verifiers: listing pods in namespace {0}; get the right to (config/rbac/doctor.yaml), or name verifiers \
         with --verifier"
    )]
    List(String, #[source] kube::Error),
    #[error(
        "finding verifiers: no pod that runs in namespace {0} has the labels {VERIFIERS} and a port {HEALTH}; say where \
         Keyturn is with --operator-namespace, or name verifiers with --verifier"
    )]
    Nobody(String),
}

/// Asks every verifier that runs in that namespace.
pub(super) async fn ask_installed(
    client: &Client,
    namespace: &str,
    request_id: &str,
) -> Result<Vec<Answer>, FindError> {
    let running = ListParams::default().labels(VERIFIERS).fields("status.phase=Running");
    let pods = Api::<Pod>::namespaced(client.clone(), namespace).list(&running).await;
    let pods = pods.map_err(|error| FindError::List(namespace.to_owned(), error))?;
    let ports: Vec<_> = pods.items.iter().filter_map(|pod| Some((pod.name_any(), health_port(pod)?))).collect();
    if ports.is_empty() {
        return Err(FindError::Nobody(namespace.to_owned()));
    }
    let ask_one = async |(pod, port): (String, i32)| {
        let target = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{}", path(request_id));
        Answer { told: timeout(TIMEOUT, ask(client, &target)).await.unwrap_or(Err(AskError::TimedOut)), verifier: pod }
    };
    Ok(join_all(ports.into_iter().map(ask_one)).await)
}

fn health_port(pod: &Pod) -> Option<i32> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports.find_map(|port| (port.name.as_deref() == Some(HEALTH)).then_some(port.container_port))
}

async fn ask(client: &Client, target: &str) -> Result<Vec<Decision>, AskError> {
    let request = Request::get(target).body(Body::empty())?;
    let (head, body) = client.send(request).await?.into_parts();
    let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(CallError::Answer)?.to_bytes();
    read(head.status, &body)
}
