//! Lines that were written and whose status was not: what the next look at the key makes of them.

use super::{Action, Entry, HISTORY};

/// What there is to write after a look at a key.
#[derive(Debug, Default, PartialEq)]
pub struct Outbox {
    /// Lines to write now.
    pub to_tell: Vec<Entry>,
    /// Lines that were written and must be taken back.
    pub to_withdraw: Vec<Entry>,
    /// What the history gains, the earliest first.
    pub to_store: Vec<Entry>,
}

/// Puts what was told before a status write failed together with what there is to tell now.
///
/// An edit stays true although the status was not written. What Keyturn itself was about to do may be given up for
/// something else, and then its line is taken back.
#[must_use]
pub fn merge(unstored: Vec<Entry>, now: Vec<Entry>) -> Outbox {
    let mut outbox = Outbox::default();
    for told in &unstored {
        if is_edit(told) {
            outbox.to_store.push(told.clone());
        } else if !now.iter().any(|entry| is_same(entry, told)) {
            outbox.to_withdraw.push(told.clone());
        }
    }
    for entry in now {
        match unstored.iter().find(|told| is_same(told, &entry)) {
            // With the time and the actor that its line says.
            Some(told) if is_edit(told) => {}
            Some(told) => outbox.to_store.push(told.clone()),
            None => {
                outbox.to_tell.push(entry.clone());
                outbox.to_store.push(entry);
            }
        }
    }
    outbox
}

/// The history with new entries, the newest first.
#[must_use]
pub fn add<T>(history: Vec<T>, newest_last: impl DoubleEndedIterator<Item = T>) -> Vec<T> {
    newest_last.rev().chain(history).take(HISTORY).collect()
}

fn is_same(a: &Entry, b: &Entry) -> bool {
    a.change.action == b.change.action && a.change.subject == b.change.subject
}

fn is_edit(entry: &Entry) -> bool {
    match entry.change.action {
        Action::Created
        | Action::Changed
        | Action::RotationRequested
        | Action::Disabled
        | Action::Enabled
        | Action::Revoked
        | Action::Reinstated
        | Action::Deleted => true,
        Action::Minted
        | Action::Imported
        | Action::Adopted
        | Action::Rotated
        | Action::Retired
        | Action::Delivered
        | Action::DeliveryTimedOut
        | Action::Expired
        | Action::Withdrawn => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::audit::{Actor, Change, Subject};

    fn entry(action: Action, number: u32, at: i64) -> Entry {
        let change = Change { action, subject: Subject::Version(number), detail: None, fields: vec![] };
        Entry { at: Timestamp::from_second(at).unwrap(), actor: Actor::keyturn(), change }
    }

    #[test]
    fn what_was_told_is_not_told_again_and_keeps_its_time() {
        let rotated = |at| entry(Action::Rotated, 2, at);
        let outbox = merge(vec![rotated(1)], vec![rotated(5)]);
        assert_eq!(outbox, Outbox { to_store: vec![rotated(1)], ..Outbox::default() });
        let created = |at| entry(Action::Created, 1, at);
        let outbox = merge(vec![created(1)], vec![created(5)]);
        assert_eq!(outbox, Outbox { to_store: vec![created(1)], ..Outbox::default() });
    }

    #[test]
    fn an_edit_stays_true_and_what_was_given_up_is_taken_back() {
        let (changed, minted) = (entry(Action::Changed, 1, 1), entry(Action::Minted, 1, 1));
        let revoked = entry(Action::Revoked, 2, 5);
        let expected = Outbox {
            to_tell: vec![revoked.clone()],
            to_withdraw: vec![minted.clone()],
            to_store: vec![changed.clone(), revoked.clone()],
        };
        assert_eq!(merge(vec![changed, minted], vec![revoked]), expected);
    }

    #[test]
    fn nothing_comes_of_nothing() {
        assert_eq!(merge(vec![], vec![]), Outbox::default());
    }

    #[test]
    fn the_history_is_newest_first_and_bounded() {
        assert_eq!(add(vec![2, 1], [3, 4].into_iter()), [4, 3, 2, 1]);
        assert_eq!(add((0..8).rev().collect(), [8, 9].into_iter()), [9, 8, 7, 6, 5, 4, 3, 2]);
        assert_eq!(add(vec![], 0..20), [19, 18, 17, 16, 15, 14, 13, 12]);
    }
}
