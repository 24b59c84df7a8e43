//! A line of the audit log: one JSON object.

use serde_json::{Value, json};

use super::{Entry, Field, Subjected};

/// One entry about one key, without the line break.
#[must_use]
pub fn line(about: Subjected<'_>, entry: &Entry) -> String {
    let Subjected { namespace, name, uid, id } = about;
    let mut line = json!({
        "id": entry.change.id(uid),
        "time": entry.at.to_string(),
        "key": {"namespace": namespace, "name": name, "uid": uid},
        "actor": &*entry.actor.name,
        "actorSource": entry.actor.source.as_str(),
        "action": entry.change.action.as_str(),
    });
    if let Some(id) = id {
        line["key"]["id"] = id.into();
    }
    if let Some(detail) = &entry.change.detail {
        line["detail"] = detail.as_str().into();
    }
    if !entry.change.fields.is_empty() {
        line["fields"] = entry.change.fields.iter().map(field).collect();
    }
    line.to_string()
}

fn field(field: &Field) -> Value {
    let mut line = json!({"path": field.path});
    for (member, value) in [("before", &field.before), ("after", &field.after)] {
        if let Some(value) = value {
            line[member] = value.clone();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::core::audit::{self, Action, Actor, ActorSource, Change, Subject};

    const KEY: Subjected<'_> = Subjected { namespace: "team-a", name: "ci", uid: "u1", id: Some("key_1") };

    #[test]
    fn a_line_says_who_what_and_when() {
        let fields = vec![
            Field { path: "/tier".into(), before: Some("free".into()), after: Some("pro".into()) },
            Field { path: "/owner".into(), before: None, after: Some("a\nb".into()) },
        ];
        let detail = Some("/tier, /owner".to_owned());
        let change = Change { action: Action::Changed, subject: Subject::Generation(3), detail, fields };
        let actor = Actor { name: "alice".into(), source: ActorSource::Policy };
        let entry = Entry { at: Timestamp::UNIX_EPOCH, actor, change };
        let written = line(KEY, &entry);
        assert!(!written.contains('\n'));
        let expected = json!({
            "id": "u1.Changed.3", "time": "1970-01-01T00:00:00Z",
            "key": {"namespace": "team-a", "name": "ci", "uid": "u1", "id": "key_1"},
            "actor": "alice", "actorSource": "Policy", "action": "Changed", "detail": "/tier, /owner",
            "fields": [
                {"path": "/tier", "before": "free", "after": "pro"},
                {"path": "/owner", "after": "a\nb"},
            ],
        });
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let at = "2026-11-22T10:00:00.9Z".parse().unwrap();
        let expected = json!({
            "id": "u1.Deleted", "time": "2026-11-22T10:00:00Z",
            "key": {"namespace": "team-a", "name": "ci", "uid": "u1"},
            "actor": "unknown", "actorSource": "Unknown", "action": "Deleted",
        });
        let written = line(Subjected { id: None, ..KEY }, &audit::deleted(at));
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
    }

    #[test]
    fn what_is_taken_back_names_what_it_takes_back() {
        let at = Timestamp::UNIX_EPOCH;
        let change = Change { action: Action::Rotated, subject: Subject::Version(2), detail: None, fields: vec![] };
        let rotated = Entry { at, actor: Actor::keyturn(), change };
        let written: Value = serde_json::from_str(&line(KEY, &audit::withdrawn(&rotated, at))).unwrap();
        assert_eq!((&written["id"], &written["action"]), (&json!("u1.Withdrawn.Rotated.2"), &json!("Withdrawn")));
    }
}
