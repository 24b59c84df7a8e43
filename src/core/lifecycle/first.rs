//! A key's first version where its string exists already: restored from a backup, or known by its hash only.
//! Nobody has to wait for such a string to become known, since its holders have it; so it is current at once.

use std::sync::Arc;

use jiff::Timestamp;

use super::outcome::{Event, Step};
use super::world::{Minted, Record, Restored, Secret, World};
use crate::core::handover::Handover;
use crate::core::rotation::{self, Version, VersionState, Versions};

/// The number of an imported version.
pub const IMPORTED: u32 = 1;

/// Takes over what is there, if anything is.
pub(super) fn take_over(world: &World<'_>, now: Timestamp) -> Option<Step> {
    if world.record.versions.current().is_some() || world.record.last_rotated_at.is_some() {
        return None;
    }
    if let Secret::Restored(Restored { number, minted }) = &world.secret {
        let secret_name = Some(Arc::clone(&world.key.secret_name));
        let record = Record { secret_name, ..begin(world, *number, minted, None, now) };
        return Some(Step::Record { record, event: Some(Event::Adopted { number: *number }) });
    }
    // Whoever presents it has it, and nobody else is to get it from here.
    let handover = Some(Handover::Done);
    let record = begin(world, IMPORTED, world.import.as_ref()?, handover, now);
    Some(Step::Record { record, event: Some(Event::Imported { number: IMPORTED }) })
}

fn begin(world: &World<'_>, number: u32, minted: &Minted, handover: Option<Handover>, now: Timestamp) -> Record {
    let version = Version { state: VersionState::Current, handover, ..minted.staged(number) };
    Record {
        id: Some(Arc::clone(&minted.id)),
        versions: Versions::new(vec![version]),
        // The request that is there at first counts as answered, as with a minted key.
        rotation_request: world.key.rotation_request.as_ref().map(|request| Arc::clone(&request.id)),
        last_rotated_at: Some(rotation::next_whole_second(now)),
        ..world.record.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::{Cause, SecretState, State};
    use super::super::{Plan, plan};
    use super::*;
    use crate::core::acceptance::{Accepted, Reason, Rejection, accept};
    use crate::core::digest::{Pepper, StringHash};
    use crate::core::fixtures;
    use crate::core::policy::{Key, ObjectName, Policies, RotationRequest};
    use crate::core::source::Source;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn minted(id: &str) -> Minted {
        let digest = Pepper::new("p1", &[7; 32]).unwrap().digest_of(b"abc");
        Minted { digest, pepper: "p1".into(), start: "sk_live_a1b2".into(), at: NOW, id: id.into() }
    }

    fn by_hash() -> Key {
        Key { source: Some(Source::Digest(StringHash::of(b"abc"))), ..fixtures::key() }
    }

    /// The plan for a key in a world that has nothing but what `change` puts there.
    fn planned(key: &Key, change: impl FnOnce(&mut World<'_>)) -> Plan {
        let api = ObjectName::new("speech", "transcripts");
        let policies = Policies { apis: [(api, Ok(Arc::new(fixtures::api())))].into(), ..Policies::default() };
        judged(key, &accept(key, &policies), change)
    }

    fn judged(key: &Key, acceptance: &Result<Accepted, Rejection>, change: impl FnOnce(&mut World<'_>)) -> Plan {
        let mut world = fixtures::world(key, acceptance);
        change(&mut world);
        plan(&world, NOW)
    }

    fn recorded(plan: Plan) -> (Record, Option<Event>) {
        match plan.step {
            Some(Step::Record { record, event }) => (record, event),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_restored_string_keeps_its_number_and_id() {
        let request = RotationRequest { id: "r1".into(), grace_period: None };
        let key = Key { rotation_request: Some(request), ..fixtures::key() };
        let restored = Restored { number: 7, minted: minted("key_7") };
        let (record, event) = recorded(planned(&key, |world| world.secret = Secret::Restored(restored)));
        assert_eq!(event, Some(Event::Adopted { number: 7 }));
        assert_eq!((record.id.as_deref(), record.secret_name.as_deref()), (Some("key_7"), Some("ci")));
        assert_eq!(record.rotation_request.as_deref(), Some("r1"), "it counts as answered");
        let current = record.versions.current().unwrap();
        assert_eq!((current.number, current.digest, &*current.start), (7, minted("").digest, "sk_live_a1b2"));
        // Nothing but its owner is left to be put right.
        let ours = Secret::Ours { holds: vec![7], in_order_for: None, fixed: false };
        let next = planned(&key, |world| (world.record, world.secret) = (record, ours));
        assert!(matches!(next.step, Some(Step::Publish { number: 7, .. })), "{:?}", next.step);
    }

    #[test]
    fn a_restored_string_of_a_revoked_key_is_deleted() {
        let key = Key { revoked: true, ..fixtures::key() };
        let restored = || Secret::Restored(Restored { number: 7, minted: minted("key_7") });
        let (record, event) = recorded(planned(&key, |world| world.secret = restored()));
        assert_eq!((event, record.versions.current()), (Some(Event::Revoked { reversible: false }), None));
        let next = planned(&key, |world| (world.record, world.secret) = (record, restored()));
        assert_eq!(next.step, Some(Step::DeleteSecret { name: "ci".into() }));
    }

    #[test]
    fn a_hash_is_a_version_at_once_and_needs_no_secret() {
        let key = by_hash();
        for secret in [Secret::Absent, Secret::Foreign] {
            let imported =
                planned(&key, |world| (world.import, world.secret) = (Some(minted("key_1")), secret.clone()));
            let (record, event) = recorded(imported);
            assert_eq!((event, record.secret_name.as_deref()), (Some(Event::Imported { number: 1 }), None));
            let rest = planned(&key, |world| (world.record, world.secret) = (record, secret));
            assert_eq!((rest.step, rest.report.state), (None, State::Active));
            assert_eq!((rest.report.secret, rest.report.accepted), (SecretState::Delivered, Ok(())));
        }
    }

    #[test]
    fn a_request_replaces_a_hash_by_a_string_that_is_minted_unless_its_place_is_taken() {
        let key = by_hash();
        let (record, _) = recorded(planned(&key, |world| world.import = Some(minted("key_1"))));
        let request = RotationRequest { id: "r1".into(), grace_period: None };
        let key = Key { rotation_request: Some(request), ..key };
        let asked = planned(&key, |world| world.record = record.clone());
        assert_eq!(asked.step, Some(Step::Stage { number: 2 }));
        let taken = planned(&key, |world| (world.record, world.secret) = (record, Secret::Foreign));
        // The imported string works on meanwhile.
        assert_eq!((taken.step, taken.report.accepted), (None, Ok(())));
        assert_eq!((taken.report.state, taken.report.secret), (State::Active, SecretState::NameTaken));
    }

    #[test]
    fn a_source_that_is_not_there_is_looked_for_again() {
        let missing = Err(Rejection::new(Reason::SourceNotFound, "nowhere"));
        let plan = judged(&fixtures::key(), &missing, |_| {});
        assert_eq!((plan.step, plan.report.state), (None, State::Rejected));
        assert_eq!(plan.next_look, Some(Timestamp::from_second(30).unwrap()));
    }

    #[test]
    fn a_lost_pepper_is_told_and_the_next_version_heals() {
        let key = fixtures::key();
        let restored = Restored { number: 1, minted: minted("key_1") };
        let (record, _) = recorded(planned(&key, |world| world.secret = Secret::Restored(restored)));
        let lost = |staged: bool, record: Record| {
            planned(&key, |world| {
                world.lost_pepper = Some("p1".into());
                world.secret = Secret::Ours { holds: vec![], in_order_for: None, fixed: false };
                world.record = record;
                if staged {
                    let fresh = Some(Minted { pepper: "p2".into(), ..minted("key_2") });
                    world.staged = vec![super::super::StagedSecret { number: 2, digest: None, fresh }];
                }
            })
        };
        let first = lost(false, record.clone());
        assert_eq!((first.step, first.report.locked_out_by.as_deref()), (Some(Step::Stage { number: 2 }), Some("p1")));
        let (staged, event) = recorded(lost(true, record));
        assert_eq!(event, Some(Event::RotationStarted { number: 2, cause: Cause::PepperLost }));
        let promoted = planned(&key, |world| {
            world.lost_pepper = Some("p1".into());
            world.secret = Secret::Ours { holds: vec![2], in_order_for: Some(2), fixed: false };
            world.record = staged;
        });
        assert_eq!(promoted.report.locked_out_by, None, "the write that heals does not say that it is lost");
    }
}
