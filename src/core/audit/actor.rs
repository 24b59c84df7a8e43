//! Who has changed a key.

use std::sync::Arc;

use jiff::Timestamp;

/// Who, and how that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Actor {
    pub name: Arc<str>,
    pub source: ActorSource,
}

/// What the name of an actor rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ActorSource {
    /// The API server has authenticated it.
    Policy,
    /// The client has said so: a hint, not a proof.
    FieldManager,
    /// It is this program.
    Keyturn,
    /// Nothing; there is no name.
    Unknown,
}

impl ActorSource {
    /// As lines and the history spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "Policy",
            Self::FieldManager => "FieldManager",
            Self::Keyturn => "Keyturn",
            Self::Unknown => "Unknown",
        }
    }
}

impl Actor {
    #[must_use]
    pub fn keyturn() -> Self {
        Self { name: "keyturn".into(), source: ActorSource::Keyturn }
    }

    #[must_use]
    pub fn unknown() -> Self {
        Self { name: "unknown".into(), source: ActorSource::Unknown }
    }
}

/// One that has written fields of the spec, as `metadata.managedFields` has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manager<'a> {
    pub name: &'a str,
    pub at: Option<Timestamp>,
    /// Members of the spec of which it has written something that stands.
    pub members: Vec<&'a str>,
}

/// Who made the edit that led to `generation` and has changed something of these members of the spec.
///
/// `stamp` is the annotation of the admission policy, `token` what its stamps begin with while it is in force: a
/// stamp counts only with this token, which nobody could know before, and for the very generation that it was made for.
#[must_use]
pub fn of_edit(
    stamp: Option<&str>,
    token: Option<&str>,
    generation: i64,
    changed: &[&str],
    managers: &[Manager<'_>],
) -> Actor {
    let proven = stamp.zip(token).and_then(|(stamp, token)| proven(stamp, token, generation));
    if let Some(name) = proven {
        return Actor { name: name.into(), source: ActorSource::Policy };
    }
    // Instants there are whole seconds, and whoever removes something has written nothing that stands.
    let wrote = |manager: &&Manager<'_>| manager.members.iter().any(|member| changed.contains(member));
    let last = managers.iter().filter(wrote).max_by_key(|manager| manager.at);
    let last = last.or_else(|| managers.iter().max_by_key(|manager| manager.at));
    last.map_or_else(Actor::unknown, |last| Actor { name: last.name.into(), source: ActorSource::FieldManager })
}

/// The user name in `<generation>/<token>/<user name>`.
fn proven<'s>(stamp: &'s str, token: &str, generation: i64) -> Option<&'s str> {
    let mut parts = stamp.splitn(3, '/');
    let (stamped, with, name) = (parts.next()?, parts.next()?, parts.next()?);
    let holds = !token.is_empty() && with == token && stamped == generation.to_string() && !name.is_empty();
    holds.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &str, at: i64) -> Manager<'_> {
        Manager { name, at: Timestamp::from_second(at).ok(), members: vec!["tier"] }
    }

    #[test]
    fn a_stamp_proves_nothing_without_the_token_and_for_another_generation() {
        let managers = [manager("kubectl", 7)];
        for (stamp, token) in [
            (None, Some("t0")),
            (Some("3/t0/alice"), None),
            (Some("3/t1/alice"), Some("t0")),
            (Some("3//alice"), Some("")),
            (Some("2/t0/alice"), Some("t0")),
            (Some("03/t0/alice"), Some("t0")),
            (Some("4/t0/alice"), Some("t0")),
            (Some("3/t0/"), Some("t0")),
            (Some("3/t0"), Some("t0")),
            (Some("alice"), Some("t0")),
            (Some(""), Some("t0")),
        ] {
            let expected = Actor { name: "kubectl".into(), source: ActorSource::FieldManager };
            assert_eq!(of_edit(stamp, token, 3, &["tier"], &managers), expected, "{stamp:?} {token:?}");
        }
    }

    #[test]
    fn a_stamp_of_this_generation_names_the_user_whatever_the_managers_say() {
        for name in ["alice", "system:serviceaccount:team-a:ci", "https://issuer/alice", "keyturn"] {
            let stamp = format!("12/t0/{name}");
            let expected = Actor { name: name.into(), source: ActorSource::Policy };
            assert_eq!(of_edit(Some(&stamp), Some("t0"), 12, &["tier"], &[manager("kubectl", 7)]), expected);
        }
    }

    #[test]
    fn the_manager_of_the_last_edit_is_a_hint() {
        let other = |name, at| Manager { members: vec!["owner"], ..manager(name, at) };
        for (managers, name) in [
            (vec![manager("argocd", 9), manager("kubectl", 7)], "argocd"),
            (vec![manager("argocd", 7), manager("kubectl", 7)], "kubectl"),
            (vec![Manager { at: None, ..manager("old", 0) }, manager("kubectl", 1)], "kubectl"),
            // Who has written what has changed comes before who was last.
            (vec![manager("argocd", 7), other("kubectl", 9)], "argocd"),
            // Removed, so that nobody has written it.
            (vec![other("argocd", 7), other("kubectl", 9)], "kubectl"),
        ] {
            let expected = Actor { name: name.into(), source: ActorSource::FieldManager };
            assert_eq!(of_edit(None, None, 1, &["tier"], &managers), expected);
        }
        assert_eq!(of_edit(None, None, 1, &["tier"], &[]), Actor::unknown());
    }
}
