//! What a restore of etcd has undone: what the audit log tells of the time since the snapshot.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, whole_second};

/// The target of lines in a log that has other lines too.
const TARGET: &str = "audit";

/// Reads an audit log line by line.
#[derive(Debug)]
pub struct Search {
    since: Timestamp,
    /// By the id of the change, so that doubles count once.
    changes: BTreeMap<String, Undone>,
    read: usize,
    unreadable: usize,
}

/// What was done to a key and is not so any more.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Undone {
    #[serde(rename = "time")]
    pub at: Timestamp,
    pub action: Action,
    pub key: Named,
    pub actor: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// A key by what its manifest calls it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Named {
    pub namespace: String,
    pub name: String,
}

/// All that was found.
#[derive(Debug, Eq, PartialEq)]
pub struct Found {
    /// What is accepted again and should not be comes first, then by time.
    pub undone: Vec<Undone>,
    /// Lines of an audit log that were understood, of whatever time.
    pub read: usize,
    /// Lines that say that they are of an audit log, and are not whole.
    pub unreadable: usize,
}

#[derive(Deserialize)]
struct Line {
    id: String,
    time: Timestamp,
    key: Named,
    actor: String,
    action: Action,
}

impl Search {
    /// The snapshot may be from any moment of its second.
    #[must_use]
    pub fn new(since: Timestamp) -> Self {
        Self { since: whole_second(since), changes: BTreeMap::new(), read: 0, unreadable: 0 }
    }

    /// A line of the audit log, or of the log of a controller. Other lines of that count for nothing.
    pub fn add(&mut self, line: &str) {
        if !line.contains("actorSource") {
            return;
        }
        let Some(Line { id, time, key, actor, action }) = parse(line) else {
            self.unreadable += 1;
            return;
        };
        self.read += 1;
        if action == Action::Withdrawn {
            self.changes.remove(&id.replacen(".Withdrawn", "", 1));
        } else if time >= self.since {
            self.changes.insert(id, Undone { at: time, action, key, actor, remedy: remedy(action) });
        }
    }

    #[must_use]
    pub fn finish(self) -> Found {
        let mut undone: Vec<_> = self.changes.into_values().collect();
        undone.sort_by_key(|change| (!lets_in(change.action), change.at));
        Found { undone, read: self.read, unreadable: self.unreadable }
    }
}

/// A line of the file, of a log in JSON, or of one for people.
fn parse(line: &str) -> Option<Line> {
    let object: Value = serde_json::from_str(&line[line.find('{')?..]).ok()?;
    if object.get("target").is_some_and(|target| target == TARGET) {
        serde_json::from_str(object.get("message")?.as_str()?).ok()
    } else {
        serde_json::from_value(object).ok()
    }
}

/// Whether requests may be let in that should not be, now that it is undone.
const fn lets_in(action: Action) -> bool {
    matches!(action, Action::Revoked | Action::Disabled | Action::Deleted)
}

const fn remedy(action: Action) -> &'static str {
    match action {
        Action::Revoked => "it is accepted again: revoke it again",
        Action::Disabled => "it is accepted again: disable it again",
        Action::Deleted => "it is there again, and accepted: delete it again",
        Action::Created => "it is unknown: apply its manifest again; it gets another string",
        Action::Minted | Action::Imported | Action::Adopted => {
            "this string is unknown: its holders need the one that the key has now"
        }
        Action::Rotated => "the version before is current, the new string unknown: replace copies of that",
        Action::Changed => "it is as it was before: apply its manifest again",
        Action::Enabled => "it is disabled again: enable it again",
        Action::Reinstated => "it is revoked again: take spec.revoked back again",
        Action::RotationRequested
        | Action::Retired
        | Action::Delivered
        | Action::DeliveryTimedOut
        | Action::Expired
        | Action::Withdrawn => "nothing: it comes about again by itself, if its manifest says so",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::audit::{self, Actor, Change, Entry, Subject, Subjected};

    const KEY: Subjected<'_> = Subjected { namespace: "team-a", name: "ci", uid: "u1", id: Some("key_1") };

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(time: &str, action: Action, subject: Subject) -> Entry {
        let change = Change { action, subject, detail: None, fields: Vec::new() };
        Entry { at: at(time), actor: Actor::keyturn(), change }
    }

    fn found(lines: &[String]) -> Found {
        let mut search = Search::new(at("2026-11-22T10:00:00.7Z"));
        lines.iter().for_each(|line| search.add(line));
        search.finish()
    }

    #[test]
    fn what_is_no_whole_line_of_an_audit_log_is_not_taken_for_one() {
        let whole = audit::line(KEY, &entry("2026-11-22T10:00:01Z", Action::Revoked, Subject::Key));
        let other = json!({"target": "keyturn::feed", "message": "reading {} failed"}).to_string();
        let lines = [String::new(), "{}".to_owned(), other, whole[..whole.len() - 1].to_owned()];
        assert_eq!(found(&lines), Found { undone: Vec::new(), read: 0, unreadable: 1 });
    }

    #[test]
    fn what_was_done_before_the_snapshot_or_did_not_come_about_is_not_undone() {
        let rotated = entry("2026-11-22T10:00:02Z", Action::Rotated, Subject::Version(2));
        let lines = [
            audit::line(KEY, &entry("2026-11-22T09:59:59Z", Action::Revoked, Subject::Generation(2))),
            audit::line(KEY, &rotated),
            audit::line(KEY, &audit::withdrawn(&rotated, at("2026-11-22T10:00:03Z"))),
        ];
        assert_eq!(found(&lines), Found { undone: Vec::new(), read: 3, unreadable: 0 });
    }

    #[test]
    fn what_lets_in_comes_first_however_the_log_is_written() {
        let minted = audit::line(KEY, &entry("2026-11-22T10:00:00Z", Action::Minted, Subject::Version(1)));
        let revoked = audit::line(KEY, &entry("2026-11-22T10:00:05Z", Action::Revoked, Subject::Generation(2)));
        let expired = audit::line(KEY, &entry("2026-11-22T10:00:04Z", Action::Expired, Subject::Key));
        let in_json = json!({"level": "INFO", "target": "audit", "message": minted}).to_string();
        let in_text = format!("2026-11-22T10:00:05.1Z  INFO audit: {revoked}");
        let key = || Named { namespace: "team-a".to_owned(), name: "ci".to_owned() };
        let undone = |time: &str, action| Undone {
            at: at(time),
            action,
            key: key(),
            actor: Actor::keyturn().name.to_string(),
            remedy: remedy(action),
        };
        let expected = [
            undone("2026-11-22T10:00:05Z", Action::Revoked),
            undone("2026-11-22T10:00:00Z", Action::Minted),
            undone("2026-11-22T10:00:04Z", Action::Expired),
        ];
        let told = found(&[in_json, expired, in_text, revoked]);
        assert_eq!(told, Found { undone: expected.into(), read: 4, unreadable: 0 });
    }
}
