//! Refuses a key whose string an older key of the same API has. Verifiers go by the older one on their own.

use kube::runtime::reflector::ObjectRef;

use super::Context;
use super::gather::Observed;
use super::record;
use crate::controller::strings::Held;
use crate::core::acceptance::{Reason, Rejection};
use crate::core::digest::{Digest, StringHash};
use crate::core::policy::{Key, ObjectName};
use crate::core::rotation::VersionState;
use crate::core::source::Source;

/// Notes the strings of all keys before the first is judged: an older one may come later in the queue.
pub(super) fn learn_all(context: &Context) {
    if !context.strings.begin() {
        return;
    }
    for object in context.keys.state() {
        let Ok(object) = &object.0 else { continue };
        if let (Ok(key), Ok(record)) = (object.parse(), record::read(object.status.as_ref())) {
            context.strings.hold(&key, Held::of(&key, &record.versions));
        }
    }
}

/// Notes what this key has, and says if it has to stand back.
pub(super) fn refuse(context: &Context, observed: &mut Observed) {
    let Ok(key) = &observed.key else { return };
    let versions = &observed.record.versions;
    let about_to_be = about_to_be(observed);
    let mut held = Held::of(key, versions);
    held.digests.extend(&about_to_be);
    context.strings.hold(key, held);
    // An older version of this key that somebody else has, too, is no reason to give up the present one.
    let present = versions.iter().filter(|it| matches!(it.state, VersionState::Staged | VersionState::Current));
    let present: Vec<Digest> = present.map(|version| version.digest).chain(about_to_be).collect();
    observed.duplicate = older(context, key, &present).map(|older| {
        let message = format!(
            "ApiKey {older} of the same ProtectedApi is older and has the same string, so that requests with it are judged by that key; delete one of the two"
        );
        Err(Rejection::new(Reason::DuplicateKey, message))
    });
}

fn older(context: &Context, key: &Key, digests: &[Digest]) -> Option<ObjectName> {
    while let Some(older) = context.strings.older_than(key, digests) {
        if context.keys.get(&ObjectRef::new(&older.name).within(&older.namespace)).is_some() {
            return Some(older);
        }
        // A deletion that happened while the watch was interrupted is told to nobody.
        context.strings.forget(&older);
    }
    None
}

/// What a key that has no version yet is about to take over, under every pepper that digests may be made with.
fn about_to_be(observed: &Observed) -> Vec<Digest> {
    if observed.record.last_rotated_at.is_some() {
        return Vec::new();
    }
    let of_string = observed.imported.as_ref().map(|string| StringHash::of(string.expose().as_bytes()));
    let of_hash = match observed.key.as_ref().ok().and_then(|key| key.source.as_ref()) {
        Some(Source::Digest(hash)) if observed.import.is_some() => Some(*hash),
        _ => None,
    };
    let hash = of_string.or(of_hash);
    hash.into_iter()
        .flat_map(|hash| observed.peppers.all.iter().map(move |pepper| pepper.digest_of_hash(hash)))
        .collect()
}
