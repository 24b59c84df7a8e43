//! Conditions: what an object's `status` says about it, and since when.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::core::acceptance::Rejection;

/// The object says nothing that cannot be honoured.
pub const ACCEPTED: &str = "Accepted";
/// The key can be used.
pub const READY: &str = "Ready";
/// The Secret holds what it should.
pub const SECRET_SYNCED: &str = "SecretSynced";

/// No process that judges keys accepts what the observed generation forbids.
pub const ENFORCED: &str = "Enforced";

/// What Keyturn says about an object that it only reads.
#[derive(Clone, Debug, Default, Deserialize, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted: whether the object counts, and if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// What a condition is to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Statement<'a> {
    /// Such as [`ACCEPTED`].
    pub kind: &'static str,
    /// `None`: not known.
    pub holds: Option<bool>,
    /// CamelCase, for programs.
    pub reason: &'a str,
    /// A sentence for people.
    pub message: &'a str,
}

impl<'a> Statement<'a> {
    /// What [`ACCEPTED`] says of a judgement.
    #[must_use]
    pub fn accepted(judgement: Result<(), &'a Rejection>) -> Self {
        match judgement {
            Ok(()) => Self { kind: ACCEPTED, holds: Some(true), reason: "Accepted", message: "" },
            Err(rejection) => {
                let reason = rejection.reason.as_str();
                Self { kind: ACCEPTED, holds: Some(false), reason, message: &rejection.message }
            }
        }
    }
}

/// Writes a statement into a list of conditions, each kind once. The time of transition moves only when the
/// status does, so that writing the same again changes nothing.
pub fn set(conditions: &mut Vec<Condition>, statement: Statement<'_>, generation: Option<i64>, now: Timestamp) {
    let status = match statement.holds {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let mut condition = Condition {
        type_: statement.kind.to_owned(),
        status: status.to_owned(),
        reason: statement.reason.to_owned(),
        message: statement.message.to_owned(),
        observed_generation: generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|known| known.type_ == statement.kind) {
        Some(known) => {
            if known.status == status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(holds: bool, reason: &str) -> Statement<'_> {
        Statement { kind: ACCEPTED, holds: Some(holds), reason, message: "a sentence" }
    }

    fn condition(status: &str, reason: &str, generation: i64, at: i64) -> Condition {
        Condition {
            type_: "Accepted".into(),
            status: status.into(),
            reason: reason.into(),
            message: "a sentence".into(),
            observed_generation: Some(generation),
            last_transition_time: Time(Timestamp::from_second(at).unwrap()),
        }
    }

    #[test]
    fn keeps_the_time_while_the_status_stays_and_moves_it_when_it_changes() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = Vec::new();
        for (statement, generation, now, expected) in [
            (accepted(false, "ApiNotFound"), 1, 10, condition("False", "ApiNotFound", 1, 10)),
            (accepted(false, "TierNotFound"), 2, 20, condition("False", "TierNotFound", 2, 10)),
            (accepted(true, "Accepted"), 2, 30, condition("True", "Accepted", 2, 30)),
        ] {
            set(&mut conditions, statement, Some(generation), at(now));
            assert_eq!(conditions, [expected]);
        }
    }

    #[test]
    fn leaves_other_conditions_alone() {
        let mut conditions = vec![condition("True", "Accepted", 1, 1)];
        let ready = Statement { kind: READY, holds: None, reason: "Waiting", message: "" };
        set(&mut conditions, ready, None, Timestamp::from_second(5).unwrap());
        assert_eq!(conditions[0], condition("True", "Accepted", 1, 1));
        assert_eq!((conditions[1].type_.as_str(), conditions[1].status.as_str()), ("Ready", "Unknown"));
    }
}
