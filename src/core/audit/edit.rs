//! What somebody has changed in a spec.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Action, Change, Field, Subject};
use crate::core::key;

/// Members whose values are nobody's business but the reader's of the object: templates of Secrets may hold
/// passwords beside the placeholders, and the hash of an imported key is as good as its digest.
const HIDDEN: [&str; 2] = ["/secret/data", "/source/digest"];

/// Stands for a value that is not shown.
const NOT_SHOWN: &str = "(not shown)";

/// Characters of a detail at the most; the fields of the line tell all.
const LONGEST_DETAIL: usize = 1000;

/// A spec at one generation, as [`super::kept::keep`] keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    pub generation: i64,
    pub members: &'a BTreeMap<String, Value>,
}

/// What has been done since a spec was told of last.
#[derive(Clone, Copy, Debug)]
pub enum Told<'a> {
    /// The key is new.
    Nothing,
    /// A spec of this generation, of which no copy was kept.
    Generation(i64),
    Spec(Spec<'a>),
}

/// The edit that led from what was told last to the spec as it is now, if there was one. `deleting`: the key is about
/// to go, which counts as a generation too.
#[must_use]
pub fn edit(told: Told<'_>, now: Spec<'_>, deleting: bool) -> Option<Change> {
    let nothing = BTreeMap::new();
    let (before, subject) = match told {
        Told::Nothing => (&nothing, Subject::Key),
        Told::Generation(generation) | Told::Spec(Spec { generation, .. }) if generation == now.generation => {
            return None;
        }
        // Everything would look new.
        Told::Generation(_) => (now.members, Subject::Generation(now.generation)),
        Told::Spec(spec) => (spec.members, Subject::Generation(now.generation)),
    };
    let mut changed = Vec::new();
    compare(&mut String::new(), &object(before), &object(now.members), &mut changed);
    if changed.is_empty() && deleting {
        return None;
    }
    let action = match told {
        Told::Nothing => Action::Created,
        Told::Generation(_) | Told::Spec(_) => action(before, now.members),
    };
    let paths: Vec<&str> = changed.iter().map(|field| field.path.as_str()).collect();
    let detail: String = paths.join(", ").chars().take(LONGEST_DETAIL).collect();
    let detail = Some(detail).filter(|detail| !detail.is_empty() && action != Action::Created);
    Some(Change { action, subject, detail, fields: changed.into_iter().map(shown).collect() })
}

fn object(members: &BTreeMap<String, Value>) -> Map<String, Value> {
    members.clone().into_iter().collect()
}

/// The gravest of what an edit does names it.
fn action(before: &BTreeMap<String, Value>, after: &BTreeMap<String, Value>) -> Action {
    let becomes = |name: &str, value: bool| {
        after.get(name) == Some(&Value::Bool(value)) && before.get(name).is_some_and(|was| *was != Value::Bool(value))
    };
    let request = |members: &BTreeMap<String, Value>| members.get("rotation")?.pointer("/request/id").cloned();
    if becomes("revoked", true) {
        Action::Revoked
    } else if becomes("revoked", false) {
        Action::Reinstated
    } else if becomes("enabled", false) {
        Action::Disabled
    } else if becomes("enabled", true) {
        Action::Enabled
    } else if request(after).is_some_and(|id| request(before) != Some(id)) {
        Action::RotationRequested
    } else {
        Action::Changed
    }
}

/// Objects are looked into, everything else counts as one value.
fn compare(path: &mut String, before: &Map<String, Value>, after: &Map<String, Value>, changed: &mut Vec<Field>) {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    for name in names {
        let length = path.len();
        path.push('/');
        path.push_str(&name.replace('~', "~0").replace('/', "~1"));
        match (before.get(name), after.get(name)) {
            (before, after) if before == after => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => compare(path, before, after, changed),
            (before, after) => {
                changed.push(Field { path: path.clone(), before: before.cloned(), after: after.cloned() });
            }
        }
        path.truncate(length);
    }
}

fn shown(field: Field) -> Field {
    let Field { path, before, after } = field;
    let [before, after] = [before, after].map(|value| value.map(|value| show(&path, value)));
    Field { path, before, after }
}

fn show(path: &str, value: Value) -> Value {
    let hidden = HIDDEN.iter().any(|hidden| {
        let within = path.strip_prefix(hidden).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // Only its hash was kept, and what may be secret is part of it.
        let around = hidden.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) && !value.is_object();
        within || around
    });
    if hidden {
        return NOT_SHOWN.into();
    }
    match value {
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| {
                let shown = show(&format!("{path}/{name}"), value);
                (name, shown)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.into_iter().map(|item| show(path, item)).collect(),
        // Somebody has written a key where everybody can read it; it need not be repeated.
        Value::String(text) if key::is_mentioned_in(&text) => NOT_SHOWN.into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn members(value: Value) -> BTreeMap<String, Value> {
        value.as_object().unwrap().clone().into_iter().collect()
    }

    fn edited(before: Value, after: Value) -> Option<Change> {
        let (before, after) = (members(before), members(after));
        let told = Told::Spec(Spec { generation: 2, members: &before });
        edit(told, Spec { generation: 3, members: &after }, false)
    }

    fn field(path: &str, before: Value, after: Value) -> Field {
        let there = |value: Value| Some(value).filter(|value| !value.is_null());
        Field { path: path.into(), before: there(before), after: there(after) }
    }

    #[test]
    fn what_was_told_already_is_no_edit() {
        let (old, new) = (members(json!({"tier": "free"})), members(json!({"tier": "pro"})));
        let now = Spec { generation: 3, members: &new };
        for told in [
            Told::Generation(3),
            Told::Spec(Spec { generation: 3, members: &new }),
            // Written by a program that kept something else of the same spec.
            Told::Spec(Spec { generation: 3, members: &old }),
        ] {
            assert_eq!(edit(told, now, false), None, "{told:?}");
        }
        let told = Told::Spec(Spec { generation: 2, members: &new });
        assert_eq!(edit(told, now, true), None, "asking for its deletion is no edit");
    }

    #[test]
    fn every_changed_field_is_told_with_its_value_before_and_after() {
        let before =
            json!({"tier": "free", "scopes": ["a"], "secret": {"name": "ci", "key": "k"}, "metadata": {"a/b": 1}});
        let after = json!({"owner": "acme", "scopes": ["b"], "secret": {"name": "cd", "key": "k"}, "metadata": {"a/b": {"~": 2}}});
        let expected = Change {
            action: Action::Changed,
            subject: Subject::Generation(3),
            detail: Some("/metadata/a~1b, /scopes, /secret/name, /tier, /owner".to_owned()),
            fields: vec![
                field("/metadata/a~1b", json!(1), json!({"~": 2})),
                field("/scopes", json!(["a"]), json!(["b"])),
                field("/secret/name", json!("ci"), json!("cd")),
                field("/tier", json!("free"), Value::Null),
                field("/owner", Value::Null, json!("acme")),
            ],
        };
        assert_eq!(edited(before, after), Some(expected));
    }

    #[test]
    fn the_gravest_of_what_an_edit_does_names_it() {
        let of = |request: Value| json!({"rotation": {"interval": "1h", "request": request}});
        for (before, after, action) in [
            (json!({"revoked": false, "enabled": true}), json!({"revoked": true, "enabled": false}), Action::Revoked),
            (json!({"revoked": true}), json!({"revoked": false, "tier": "pro"}), Action::Reinstated),
            (json!({"enabled": true}), json!({"enabled": false, "tier": "pro"}), Action::Disabled),
            (
                json!({"enabled": false}),
                json!({"enabled": true, "rotation": {"request": {"id": "r"}}}),
                Action::Enabled,
            ),
            (
                json!({"enabled": true}),
                json!({"enabled": true, "rotation": {"request": {"id": "r"}}}),
                Action::RotationRequested,
            ),
            (of(json!({"id": "r1"})), of(json!({"id": "r2"})), Action::RotationRequested),
            (of(json!({"id": "r1"})), json!({"rotation": {"interval": "1h"}}), Action::Changed),
            (json!({"rotation": {"interval": "1h"}}), json!({"rotation": {"interval": "2h"}}), Action::Changed),
        ] {
            let change = edited(before.clone(), after.clone()).unwrap();
            assert_eq!(change.action, action, "{before} {after}");
        }
    }

    #[test]
    fn a_new_key_is_told_whole() {
        let spec = members(json!({"apiRef": {"name": "transcripts"}, "enabled": true}));
        let expected = Change {
            action: Action::Created,
            subject: Subject::Key,
            detail: None,
            fields: vec![
                field("/apiRef", Value::Null, json!({"name": "transcripts"})),
                field("/enabled", Value::Null, json!(true)),
            ],
        };
        assert_eq!(edit(Told::Nothing, Spec { generation: 4, members: &spec }, false), Some(expected));
    }

    #[test]
    fn an_edit_whose_beginning_nobody_has_kept_is_told_without_fields() {
        let spec = members(json!({"enabled": true}));
        let change = edit(Told::Generation(2), Spec { generation: 3, members: &spec }, false);
        let (action, subject) = (Action::Changed, Subject::Generation(3));
        assert_eq!(change, Some(Change { action, subject, detail: None, fields: vec![] }));
    }

    #[expect(clippy::unnecessary_wraps, reason = "entropy can fail")]
    fn entropy_of_sevens(bytes: &mut [u8]) -> Result<(), std::convert::Infallible> {
        bytes.fill(7);
        Ok(())
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let hidden = json!(NOT_SHOWN);
        let format = key::KeyFormat { prefix: "sk".into(), length: 32 };
        let string = format.mint(key::Environment::Live, entropy_of_sevens).unwrap();
        let leaked = format!("{} was in a build log", string.expose());
        for (before, after, expected) in [
            (
                json!({"secret": {"data": {"a": "x", "c": "y"}}}),
                json!({"secret": {"data": {"b": "x", "c": "z"}}}),
                vec![
                    field("/secret/data/a", hidden.clone(), Value::Null),
                    field("/secret/data/c", hidden.clone(), hidden.clone()),
                    field("/secret/data/b", Value::Null, hidden.clone()),
                ],
            ),
            (
                json!({}),
                json!({"secret": {"name": "ci", "data": {"a": "x"}, "database": "d"}}),
                vec![field("/secret", Value::Null, json!({"name": "ci", "data": hidden, "database": "d"}))],
            ),
            (
                json!({"secret": {"name": "ci"}}),
                json!({"secret": "5000 bytes, sha-256 ab"}),
                vec![field("/secret", json!({"name": "ci"}), hidden.clone())],
            ),
            (
                json!({}),
                json!({"source": {"digest": {"algorithm": "SHA-256", "value": "abc"}}}),
                vec![field("/source", Value::Null, json!({"digest": hidden}))],
            ),
            (
                json!({"revocationReason": "leaked"}),
                json!({"revocationReason": leaked, "metadata": {"a": [{"b": leaked}]}}),
                vec![
                    field("/revocationReason", json!("leaked"), hidden.clone()),
                    field("/metadata", Value::Null, json!({"a": [{"b": hidden}]})),
                ],
            ),
        ] {
            assert_eq!(edited(before, after.clone()).unwrap().fields, expected, "{after}");
        }
    }

    #[test]
    fn a_detail_is_no_longer_than_the_history_takes() {
        let many: Map<String, Value> = (0..100).map(|at| (format!("property-number-{at}"), json!(at))).collect();
        let change = edited(json!({}), many.clone().into()).unwrap();
        assert_eq!((change.detail.unwrap().chars().count(), change.fields.len()), (LONGEST_DETAIL, many.len()));
    }
}
