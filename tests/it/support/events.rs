//! What people are told about an object.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use super::cluster::Namespace;
use super::wait::eventually;

/// Waits for an event with this reason about the object of that name, and answers what it says.
pub(crate) async fn event(namespace: &Namespace, about: &str, reason: &str) -> String {
    let events: Api<Event> = namespace.api();
    eventually(&format!("event {reason} about {about}"), async || {
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let concerned = |event: &&Event| event.involved_object.name.as_deref() == Some(about);
        let reasons: Vec<_> = all.iter().filter(concerned).filter_map(|event| event.reason.clone()).collect();
        let found = all.iter().filter(concerned).find(|event| event.reason.as_deref() == Some(reason));
        found.map(|event| event.message.clone().unwrap_or_default()).ok_or_else(|| format!("{reasons:?}"))
    })
    .await
}
