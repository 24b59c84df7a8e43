//! What a revocation does, and what bringing a key back takes.

use jiff::Timestamp;

use super::outcome::{Event, Step};
use super::world::{Record, Revocation, World};
use super::{delete_leftover, delete_secret};
use crate::core::handover::Handover;

/// Whether every verifier refuses the key.
pub(super) fn is_revoked(world: &World<'_>) -> bool {
    world.key.revoked || is_permanent(world)
}

pub(super) fn is_permanent(world: &World<'_>) -> bool {
    world.record.revocation.is_some_and(|revocation| !revocation.reversible)
}

/// Writes down that the key is revoked, for good unless the API lets it be brought back, or that it is no more.
pub(super) fn record(world: &World<'_>, now: Timestamp) -> Option<Step> {
    match (world.key.revoked, world.record.revocation) {
        (true, None) => {
            let revocation = Some(Revocation { at: now, reversible: world.reversible_revocation });
            let record = Record { revocation, ..world.record.clone() };
            let record = if world.reversible_revocation { record } else { without_strings(record) };
            Some(Step::Record { record, event: Some(Event::Revoked { reversible: world.reversible_revocation }) })
        }
        (false, Some(Revocation { reversible: true, .. })) => {
            let record = Record { revocation: None, ..world.record.clone() };
            Some(Step::Record { record, event: Some(Event::Reinstated) })
        }
        _ => None,
    }
}

/// Digests stay, to be answered as revoked.
fn without_strings(record: Record) -> Record {
    let versions = record.versions.abandon_staged();
    let versions = versions.hand_over(|version| version.handover.as_ref().map(|_| Handover::Done));
    Record { versions, ..record }
}

/// Takes every string of a key away that is revoked for good. The record comes first, so that un-revoking is
/// refused from then on.
pub(super) fn remove_strings(world: &World<'_>) -> Option<Step> {
    delete_leftover(world).or_else(|| delete_secret(world))
}
