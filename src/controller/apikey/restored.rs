//! A Secret that has no owner: whether it is this key's own, brought back by a restore, as the proof in it tells.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::build;
use crate::core::key::PlainKey;
use crate::core::lifecycle::{Minted, Record, Restored};
use crate::core::pepper::Peppers;
use crate::core::policy::Key;
use crate::core::source;
use crate::resources::names::{SECRET_ID_KEY, SECRET_PROOF_KEY, SECRET_VERSION_KEY};

/// What a Secret says of itself, once its proof has been found to hold.
struct Proven<'a> {
    id: &'a str,
    number: u32,
    string: PlainKey,
}

/// The string that a key without status takes over.
pub(super) fn of_new_key(secret: &Secret, data_key: &str, key: &Key, peppers: &Peppers) -> Option<Restored> {
    let proven = proven(secret, data_key, key, peppers)?;
    let active = peppers.active();
    let minted = Minted {
        digest: active.digest(&proven.string),
        pepper: active.name().into(),
        start: source::start(&proven.string).into(),
        at: secret.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |at| at.0),
        id: Arc::from(proven.id),
    };
    Some(Restored { number: proven.number, minted })
}

/// Whether the Secret was this key's as its status has it.
pub(super) fn is_of(secret: &Secret, data_key: &str, key: &Key, record: &Record, peppers: &Peppers) -> bool {
    proven(secret, data_key, key, peppers).is_some_and(|proven| {
        let version = record.versions.by_number(proven.number);
        let same = version.is_some_and(|version| {
            let pepper = peppers.by_name(&version.pepper);
            pepper.is_some_and(|pepper| pepper.digest(&proven.string) == version.digest)
        });
        record.id.as_deref() == Some(proven.id) && same
    })
}

/// One that has an owner is never considered: it may be about to go with a key that was deleted.
fn proven<'a>(secret: &'a Secret, data_key: &str, key: &Key, peppers: &Peppers) -> Option<Proven<'a>> {
    if !secret.owner_references().is_empty() {
        return None;
    }
    let data = secret.data.as_ref()?;
    let text = |name: &str| std::str::from_utf8(&data.get(name)?.0).ok();
    let (id, number, string) = (text(SECRET_ID_KEY)?, text(SECRET_VERSION_KEY)?, text(data_key)?);
    let string = PlainKey::new(string.to_owned());
    // As it was written: "01" is no number of ours, and 0 none of anybody.
    let number: u32 = number.parse().ok().filter(|parsed: &u32| *parsed > 0 && parsed.to_string() == number)?;
    let contents = build::Contents { id, start: "", number, string: &string, previous: None };
    let holds =
        peppers.iter().any(|pepper| build::proves(key, pepper, &contents, text(SECRET_PROOF_KEY).unwrap_or("")));
    holds.then_some(Proven { id, number, string })
}
