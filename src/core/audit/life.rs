//! What became of a key by Keyturn's own doing, or by the passing of time.

use jiff::Timestamp;

use super::{Action, Change, Subject};
use crate::core::handover::Handover;
use crate::core::lifecycle::Record;
use crate::core::rotation::{Version, VersionState};

/// Two states of a key's record, of which the second is about to be stored.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    pub before: &'a Record,
    pub after: &'a Record,
    /// The instant from which the key is expired, if it was not known to be so before.
    pub expired: Option<Timestamp>,
    /// The first string comes from `spec.source`.
    pub imported: bool,
}

/// Everything that there is to tell, the earliest first.
#[must_use]
pub fn life(turn: Turn<'_>, now: Timestamp) -> Vec<Change> {
    let Turn { before, after, expired, .. } = turn;
    let of_version = |action, version: &Version, detail| Change {
        action,
        subject: Subject::Version(version.number),
        detail: Some(detail),
        fields: Vec::new(),
    };
    let mut changes = Vec::new();
    for version in before.versions.iter() {
        if let Some(action) = handed_over(turn, version, now) {
            changes.push(of_version(action, version, format!("version {}", version.number)));
        }
    }
    if let Some(current) = after.versions.current().filter(|current| !was_current(before, current.number)) {
        changes.push(of_version(came(turn, current), current, describe(current)));
    }
    for version in before.versions.iter().filter(|version| is_accepted(version)) {
        if !after.versions.by_number(version.number).is_some_and(is_accepted) {
            changes.push(of_version(Action::Retired, version, format!("version {}", version.number)));
        }
    }
    changes.extend(expired.map(|at| Change {
        action: Action::Expired,
        subject: Subject::Instant(at),
        detail: None,
        fields: Vec::new(),
    }));
    changes
}

fn describe(version: &Version) -> String {
    let Version { number, request, .. } = version;
    request.as_ref().map_or_else(|| format!("version {number}"), |id| format!("version {number}, for request {id}"))
}

/// How the version came that is current now.
fn came(turn: Turn<'_>, current: &Version) -> Action {
    if turn.before.last_rotated_at.is_some() {
        return Action::Rotated;
    }
    let was_staged = turn.before.versions.by_number(current.number).is_some();
    match (was_staged, turn.imported, &current.handover) {
        (true, false, _) => Action::Minted,
        (true, true, _) | (false, _, Some(Handover::Done)) => Action::Imported,
        (false, ..) => Action::Adopted,
    }
}

/// Whether the string was taken away after its reader had it, or had had the time to take it. One whose successor
/// stands in its place, or that a revocation takes away, was not handed over.
fn handed_over(turn: Turn<'_>, version: &Version, now: Timestamp) -> Option<Action> {
    let waited = version.handover.as_ref().filter(|handover| **handover != Handover::Done)?;
    let after = turn.after.versions.by_number(version.number)?;
    let over = after.handover == Some(Handover::Done) && after.state == version.state;
    if !over || turn.before.revocation != turn.after.revocation {
        return None;
    }
    let timed_out = waited.until().is_some_and(|until| until <= now);
    Some(if timed_out { Action::DeliveryTimedOut } else { Action::Delivered })
}

fn was_current(record: &Record, number: u32) -> bool {
    record.versions.by_number(number).is_some_and(|version| version.state == VersionState::Current)
}

/// Whether somebody who has the string is let in. Nobody has one that is only staged.
fn is_accepted(version: &Version) -> bool {
    matches!(version.state, VersionState::Current | VersionState::Grace)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::fixtures::version;
    use crate::core::lifecycle::Revocation;
    use crate::core::rotation::Versions;
    use VersionState::{Current, Grace, Retired, Staged};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn record(versions: &[(u32, VersionState)]) -> Record {
        let versions: Vec<_> = versions.iter().map(|(number, state)| version(*number, *state)).collect();
        // A version that is current, or that another follows, was handed out.
        let begun = versions.iter().any(|version| version.state != Staged);
        Record { versions: Versions::new(versions), last_rotated_at: begun.then_some(NOW), ..Record::default() }
    }

    fn told(turn: Turn<'_>) -> Vec<String> {
        life(turn, NOW).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_nobody_notices_is_not_told() {
        for (before, after) in [
            (record(&[]), record(&[])),
            (record(&[]), record(&[(1, Staged)])),
            (record(&[(1, Current)]), record(&[(1, Current)])),
            (record(&[(1, Current)]), record(&[(2, Staged), (1, Current)])),
            (record(&[(2, Staged), (1, Current)]), record(&[(2, Retired), (1, Current)])),
        ] {
            let turn = Turn { before: &before, after: &after, expired: None, imported: false };
            assert_eq!(told(turn), [""; 0], "{before:?} {after:?}");
        }
    }

    #[test]
    fn versions_come_and_go() {
        for (before, after, imported, expected) in [
            (record(&[(1, Staged)]), record(&[(1, Current)]), false, &["Minted.1"][..]),
            (record(&[(1, Staged)]), record(&[(1, Current)]), true, &["Imported.1"]),
            (record(&[]), record(&[(7, Current)]), false, &["Adopted.7"]),
            (record(&[]), record(&[(7, Current)]), true, &["Adopted.7"]),
            (record(&[(2, Staged), (1, Current)]), record(&[(2, Current), (1, Grace)]), false, &["Rotated.2"]),
            (
                record(&[(2, Staged), (1, Current)]),
                record(&[(2, Current), (1, Retired)]),
                true,
                &["Rotated.2", "Retired.1"],
            ),
            (record(&[(2, Staged), (1, Retired)]), record(&[(2, Current), (1, Retired)]), false, &["Rotated.2"]),
            (record(&[(2, Current), (1, Grace)]), record(&[(2, Current), (1, Retired)]), false, &["Retired.1"]),
            (record(&[(1, Current)]), record(&[(2, Staged), (1, Retired)]), false, &["Retired.1"]),
            (record(&[(5, Current), (2, Grace)]), record(&[(6, Staged), (5, Current)]), false, &["Retired.2"]),
        ] {
            let turn = Turn { before: &before, after: &after, expired: None, imported };
            assert_eq!(told(turn), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn a_rotation_names_the_request_that_it_answers() {
        let before = record(&[(2, Staged), (1, Current)]);
        let mut answer = version(2, Current);
        answer.request = Some("leak".into());
        let after = Record { versions: Versions::new(vec![answer, version(1, Grace)]), ..before.clone() };
        let changes = life(Turn { before: &before, after: &after, expired: None, imported: false }, NOW);
        assert_eq!(changes[0].detail.as_deref(), Some("version 2, for request leak"));
    }

    /// The current version's handover as it was, and as it is.
    fn handed(before: Handover, after: Option<Handover>, state: VersionState) -> [Record; 2] {
        let with = |handover, state| {
            let versions = Versions::new(vec![Version { handover, ..version(1, state) }]);
            Record { versions, ..record(&[(1, Current)]) }
        };
        [with(Some(before), Current), with(after, state)]
    }

    #[test]
    fn a_delivery_ends_by_its_reader_or_by_its_time() {
        let sealed = |until| Handover::Sealed { text: Arc::from("x"), until };
        let later = NOW + std::time::Duration::from_secs(1);
        for (before, after, state, expected) in [
            (Handover::InSecret { until: None }, Some(Handover::Done), Current, &["Delivered.1"][..]),
            (Handover::InSecret { until: Some(later) }, Some(Handover::Done), Current, &["Delivered.1"]),
            (sealed(later), Some(Handover::Done), Current, &["Delivered.1"]),
            (sealed(NOW), Some(Handover::Done), Current, &["DeliveryTimedOut.1"]),
            (Handover::InSecret { until: Some(NOW) }, Some(Handover::Done), Current, &["DeliveryTimedOut.1"]),
            // Superseded, kept for good, and done before.
            (Handover::InSecret { until: None }, Some(Handover::Done), Grace, &[]),
            (Handover::InSecret { until: None }, None, Current, &[]),
            (Handover::Done, Some(Handover::Done), Current, &[]),
        ] {
            let [before, after] = handed(before, after, state);
            let turn = Turn { before: &before, after: &after, expired: None, imported: false };
            assert_eq!(told(turn), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_a_revocation_takes_away_was_not_delivered() {
        let [before, mut after] = handed(Handover::InSecret { until: None }, Some(Handover::Done), Current);
        after.revocation = Some(Revocation { at: NOW, reversible: false });
        assert_eq!(told(Turn { before: &before, after: &after, expired: None, imported: false }), [""; 0]);
    }

    #[test]
    fn a_hash_that_is_taken_over_is_imported() {
        let before = Record::default();
        let [_, after] = handed(Handover::Done, Some(Handover::Done), Current);
        let turn = Turn { before: &before, after: &after, expired: None, imported: true };
        assert_eq!(told(turn), ["Imported.1"]);
    }

    #[test]
    fn an_expiry_is_told_with_its_instant() {
        let record = record(&[(1, Current)]);
        let turn = Turn { before: &record, after: &record, expired: Some(NOW), imported: false };
        assert_eq!(told(turn), ["Expired.1970-01-01T00:00:00Z"]);
    }
}
