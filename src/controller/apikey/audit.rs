//! Writes down what is done to a key: into the audit log before the status is written, and into the history with it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, Time};
use kube::ResourceExt as _;

use super::{Context, record};
use crate::core::audit::actor::{self, Manager};
use crate::core::audit::edit::{Spec, Told, edit};
use crate::core::audit::kept::keep;
use crate::core::audit::life::{Turn, life};
use crate::core::audit::{Actor, Change, Entry, Subjected, outbox, whole_second, withdrawn};
use crate::core::policy::ObjectName;
use crate::resources::ApiKey;
use crate::resources::apikey::{ApiKeyStatus, HistoryEntry, KeyState};
use crate::resources::metadata::Metadata;
use crate::resources::names::ACTOR_ANNOTATION;

/// Characters of a name in the history at the most.
const LONGEST_ACTOR: usize = 253;

/// Lines whose status may not have been written, by key. Nothing but doubles in the log comes of losing them.
#[derive(Debug, Default)]
pub(in crate::controller) struct Unstored(Mutex<HashMap<ObjectName, Lines>>);

#[derive(Debug)]
struct Lines {
    /// Of the object that they are about; its name may be used again.
    uid: Option<String>,
    /// What the last line has told of.
    generation: i64,
    spec: Metadata,
    entries: Vec<Entry>,
}

impl Unstored {
    fn take(&self, key: &ApiKey) -> Option<Lines> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&name_of(key));
        lines.filter(|lines| lines.uid == key.metadata.uid)
    }

    fn put(&self, key: &ApiKey, lines: Lines) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name_of(key), lines);
    }

    /// The status that tells the same as the lines is stored.
    pub(super) fn stored(&self, key: &ApiKey) {
        drop(self.take(key));
    }

    /// The key is gone.
    pub(super) fn forget(&self, name: &ObjectName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

fn name_of(key: &ApiKey) -> ObjectName {
    ObjectName::new(&key.namespace().unwrap_or_default(), &key.name_any())
}

/// Tells everything that the status `after` is the first to know, and puts it into its history.
pub(super) async fn tell(
    context: &Context,
    object: &ApiKey,
    before: &ApiKeyStatus,
    after: &mut ApiKeyStatus,
    now: Timestamp,
) {
    let generation = object.metadata.generation.unwrap_or_default();
    let mut unstored = context.unstored.take(object);
    if let Some(lines) = &mut unstored {
        // A write whose answer was lost may have taken place.
        lines.entries.retain(|entry| !before.history.contains(&stored(entry)));
    }
    let unstored = unstored.filter(|lines| !lines.entries.is_empty());
    let spec = match &before.audited_spec {
        Some(spec) if before.observed_generation == Some(generation) => spec.clone(),
        _ => kept(object),
    };
    let told = match (&unstored, &before.audited_spec, before.observed_generation) {
        (Some(lines), ..) => Told::Spec(Spec { generation: lines.generation, members: &lines.spec.0 }),
        (None, _, None) => Told::Nothing,
        (None, Some(spec), Some(generation)) => Told::Spec(Spec { generation, members: &spec.0 }),
        (None, None, Some(generation)) => Told::Generation(generation),
    };
    let deleting = object.metadata.deletion_timestamp.is_some();
    let edit = edit(told, Spec { generation, members: &spec.0 }, deleting);
    let at = whole_second(now);
    let mut entries = Vec::new();
    if let Some(change) = edit {
        entries.push(Entry { at, actor: actor_of(context, object, generation, &change).await, change });
    }
    let lived = lived(object, before, after, now);
    entries.extend(lived.into_iter().map(|change| Entry { at, actor: Actor::keyturn(), change }));

    let outbox = outbox::merge(unstored.map(|lines| lines.entries).unwrap_or_default(), entries);
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let about = Subjected {
        namespace: &namespace,
        name: &name,
        uid: object.metadata.uid.as_deref().unwrap_or_default(),
        id: after.id.as_deref(),
    };
    for entry in &outbox.to_withdraw {
        context.audit.write(about, &withdrawn(entry, now)).await;
    }
    for entry in &outbox.to_tell {
        context.audit.write(about, entry).await;
    }
    after.history = outbox::add(before.history.clone(), outbox.to_store.iter().map(stored));
    after.audited_spec = Some(spec.clone());
    if !outbox.to_store.is_empty() {
        let (uid, entries) = (object.uid(), outbox.to_store);
        context.unstored.put(object, Lines { uid, generation, spec, entries });
    }
}

fn kept(object: &ApiKey) -> Metadata {
    // What was read from JSON can be written as such.
    let spec = serde_json::to_value(&object.spec).unwrap_or_default();
    Metadata(keep(&spec))
}

fn lived(object: &ApiKey, before: &ApiKeyStatus, after: &ApiKeyStatus, now: Timestamp) -> Vec<Change> {
    // Of a record that cannot be read nothing is written in the first place.
    let (Ok(was), Ok(is)) = (record::read(Some(before)), record::read(Some(after))) else { return Vec::new() };
    let expired = after.state == Some(KeyState::Expired) && before.state != after.state;
    let expired = expired.then(|| after.expires_at.as_ref().map_or(now, |at| at.0));
    life(Turn { before: &was, after: &is, expired, imported: object.spec.source.is_some() }, now)
}

async fn actor_of(context: &Context, object: &ApiKey, generation: i64, change: &Change) -> Actor {
    let stamp = object.annotations().get(ACTOR_ANNOTATION).map(String::as_str);
    let token = match stamp {
        Some(_) => context.actors.token().await,
        None => None,
    };
    let managers: Vec<_> = object.managed_fields().iter().filter_map(manager).collect();
    let changed: Vec<_> = change.fields.iter().filter_map(|field| field.path.split('/').nth(1)).collect();
    actor::of_edit(stamp, token.as_deref(), generation, &changed, &managers)
}

/// One that has written something of the spec.
fn manager(entry: &ManagedFieldsEntry) -> Option<Manager<'_>> {
    if entry.subresource.as_deref().is_some_and(|subresource| !subresource.is_empty()) {
        return None;
    }
    let members = entry.fields_v1.as_ref()?.0.get("f:spec")?.as_object()?.keys();
    let members = members.filter_map(|name| name.strip_prefix("f:")).collect();
    Some(Manager { name: entry.manager.as_deref()?, at: entry.time.as_ref().map(|at| at.0), members })
}

fn stored(entry: &Entry) -> HistoryEntry {
    HistoryEntry {
        at: Time(entry.at),
        actor: entry.actor.name.chars().take(LONGEST_ACTOR).collect(),
        actor_source: Some(entry.actor.source.as_str().to_owned()),
        from: None,
        action: entry.change.action.as_str().to_owned(),
        detail: entry.change.detail.clone(),
    }
}
