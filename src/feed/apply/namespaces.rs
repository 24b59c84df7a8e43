//! What the watch of Namespaces tells: their labels, by which grants select them.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::PartialObjectMeta;
use tracing::info;

use crate::core::selector::Labels;
use crate::feed::watch::Change;

/// Brings a change into the labels by namespace; answers whether there was one. Most changes of a Namespace are
/// about something else.
pub(super) fn merge(known: &mut HashMap<Arc<str>, Labels>, change: Change<PartialObjectMeta<Namespace>>) -> bool {
    match change {
        Change::Listed(objects) => {
            info!(kind = "namespaces", count = objects.len(), "objects are listed");
            *known = objects.into_iter().filter_map(labels).collect();
            true
        }
        Change::Applied(object) => labels(object).is_some_and(|(name, labels)| {
            let changed = known.get(&name) != Some(&labels);
            known.insert(name, labels);
            changed
        }),
        Change::Deleted(object) => object.metadata.name.is_some_and(|name| known.remove(&*name).is_some()),
        Change::Bookmark => false,
    }
}

fn labels(object: PartialObjectMeta<Namespace>) -> Option<(Arc<str>, Labels)> {
    Some((object.metadata.name?.into(), object.metadata.labels.unwrap_or_default()))
}
