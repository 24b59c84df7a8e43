//! The Secrets of a key, to the byte: pure functions of what they are to hold.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;

use super::template;
use crate::core::digest::Pepper;
use crate::core::key::PlainKey;
use crate::core::policy::Key;
use crate::resources::ApiKey;
use crate::resources::names::{
    APIKEY_NAME_ANNOTATION, APIKEY_UID_LABEL, DEFAULT_SECRET_KEY, MANAGED_BY, MANAGED_BY_LABEL, NO_BACKUP_LABEL,
    SECRET_ID_KEY, SECRET_PROOF_KEY, SECRET_VERSION_KEY, STAGED_LABEL, staged_secret,
};

/// What the Secret of a key holds.
pub(super) struct Contents<'a> {
    pub(super) id: &'a str,
    /// What lists may show of the string.
    pub(super) start: &'a str,
    pub(super) number: u32,
    pub(super) string: &'a PlainKey,
    /// The previous version's string, where the manifest wants it in the Secret during its grace.
    pub(super) previous: Option<&'a PlainKey>,
}

/// The Secret that workloads mount.
pub(super) fn secret(object: &ApiKey, key: &Key, pepper: &Pepper, contents: &Contents<'_>) -> Secret {
    let spec = &object.spec.secret;
    let mut data = template::data(spec, contents);
    data.extend([
        (spec.key.clone(), bytes(contents.string.expose())),
        (SECRET_ID_KEY.to_owned(), bytes(contents.id)),
        (SECRET_VERSION_KEY.to_owned(), bytes(&contents.number.to_string())),
        (SECRET_PROOF_KEY.to_owned(), bytes(&proof(key, pepper, contents))),
    ]);
    if let (Some(name), Some(previous)) = (&spec.previous_key, contents.previous) {
        data.insert(name.clone(), bytes(previous.expose()));
    }
    let mut secret = shell(object, key, key.secret_name.to_string());
    secret.metadata.labels.get_or_insert_default().extend(spec.labels.clone());
    secret.metadata.annotations.get_or_insert_default().extend(spec.annotations.clone());
    Secret { data: Some(data), type_: Some(template::type_of(spec).to_owned()), ..secret }
}

/// The Secret in which a string waits until every verifier knows it. Immutable: it is created and deleted only.
pub(super) fn staged(object: &ApiKey, key: &Key, number: u32, string: &PlainKey) -> Secret {
    let mut secret = shell(object, key, staged_secret(&key.uid, number));
    let labels = [STAGED_LABEL, NO_BACKUP_LABEL].map(|label| (label.to_owned(), "true".to_owned()));
    secret.metadata.labels.get_or_insert_default().extend(labels);
    let data = BTreeMap::from([(DEFAULT_SECRET_KEY.to_owned(), bytes(string.expose()))]);
    Secret { data: Some(data), immutable: Some(true), type_: Some("Opaque".to_owned()), ..secret }
}

/// Whether a Secret is as it should be. Labels and annotations of others are theirs; data is ours alone.
pub(super) fn is_in_order(found: &Secret, wanted: &Secret) -> bool {
    let includes = |found: &Option<BTreeMap<String, String>>, wanted: &Option<BTreeMap<String, String>>| {
        let found = found.as_ref();
        wanted.iter().flatten().all(|(name, value)| found.and_then(|found| found.get(name)) == Some(value))
    };
    found.data == wanted.data
        && found.metadata.owner_references == wanted.metadata.owner_references
        && includes(&found.metadata.labels, &wanted.metadata.labels)
        && includes(&found.metadata.annotations, &wanted.metadata.annotations)
}

/// Whether what is to change in a Secret cannot be written.
pub(super) fn is_fixed(found: &Secret, wanted: &Secret) -> bool {
    found.type_ != wanted.type_ || (found.immutable == Some(true) && !is_in_order(found, wanted))
}

/// The Secret as it is to be written over one that is there: with its version, so that a change that was not
/// seen is never lost, and with what others have added to its metadata.
pub(super) fn over(found: &Secret, mut wanted: Secret) -> Secret {
    let merge = |found: Option<&BTreeMap<String, String>>, wanted: Option<BTreeMap<String, String>>| {
        let mut merged = found.cloned().unwrap_or_default();
        merged.extend(wanted.unwrap_or_default());
        Some(merged)
    };
    wanted.metadata.resource_version.clone_from(&found.metadata.resource_version);
    wanted.metadata.uid.clone_from(&found.metadata.uid);
    wanted.metadata.labels = merge(found.metadata.labels.as_ref(), wanted.metadata.labels.take());
    wanted.metadata.annotations = merge(found.metadata.annotations.as_ref(), wanted.metadata.annotations.take());
    wanted.metadata.finalizers.clone_from(&found.metadata.finalizers);
    wanted
}

/// The reference by which garbage collection takes a Secret along with its key.
pub(super) fn owner(key: &Key) -> OwnerReference {
    OwnerReference {
        api_version: ApiKey::api_version(&()).into_owned(),
        kind: ApiKey::kind(&()).into_owned(),
        name: key.name.name.to_string(),
        uid: key.uid.to_string(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn shell(object: &ApiKey, key: &Key, name: String) -> Secret {
    let labels = [(MANAGED_BY_LABEL, MANAGED_BY), (APIKEY_UID_LABEL, &key.uid)];
    let annotations = [(APIKEY_NAME_ANNOTATION, &*key.name.name)];
    let map = |pairs: &[(&str, &str)]| {
        Some(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    };
    Secret {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: object.metadata.namespace.clone(),
            labels: map(&labels),
            annotations: map(&annotations),
            owner_references: Some(vec![owner(key)]),
            ..ObjectMeta::default()
        },
        ..Secret::default()
    }
}

/// Proves, after a restore, that this string was this key's.
fn proof(key: &Key, pepper: &Pepper, contents: &Contents<'_>) -> String {
    over_parts(key, contents, |parts| pepper.prove(parts))
}

/// Whether the proof found in a Secret is the one for these contents.
pub(super) fn proves(key: &Key, pepper: &Pepper, contents: &Contents<'_>, proof: &str) -> bool {
    over_parts(key, contents, |parts| pepper.has_proven(parts, proof))
}

fn over_parts<T>(key: &Key, contents: &Contents<'_>, judge: impl FnOnce(&[&[u8]]) -> T) -> T {
    judge(&[
        b"adopt",
        key.name.namespace.as_bytes(),
        key.name.name.as_bytes(),
        key.api.to_string().as_bytes(),
        contents.id.as_bytes(),
        contents.number.to_string().as_bytes(),
        contents.string.expose().as_bytes(),
    ])
}

fn bytes(text: &str) -> ByteString {
    ByteString(text.as_bytes().to_vec())
}
