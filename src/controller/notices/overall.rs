//! How the keys are, all together.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::metrics::LeadingMetrics;
use crate::resources::ApiKey;

/// How late a rotation may be: verifiers are waited for, and many are not begun at once.
const LATENESS: Duration = Duration::from_mins(5);

/// The keys by state, and those whose rotation is late.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Overall {
    states: BTreeMap<String, usize>,
    overdue: usize,
}

impl Overall {
    pub(super) fn add(&mut self, key: &ApiKey, now: Timestamp) {
        let Some(status) = &key.status else { return };
        *self.states.entry(format!("{:?}", status.state.unwrap_or_default())).or_default() += 1;
        let due = status.next_rotation_at.as_ref();
        let late = due.map(|due| now.duration_since(due.0)).filter(jiff::SignedDuration::is_positive);
        self.overdue += usize::from(late.is_some_and(|late| late.unsigned_abs() >= LATENESS));
    }

    /// Sets the metrics; states in which there was a key `before`, and is none, to 0.
    pub(super) fn tell(&self, before: &Self, metrics: &LeadingMetrics) {
        for state in before.states.keys().filter(|state| !self.states.contains_key(*state)) {
            metrics.set_keys(state, 0);
        }
        for (state, count) in &self.states {
            metrics.set_keys(state, *count);
        }
        metrics.set_overdue(self.overdue);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_counted_by_state_and_late_rotations_with_them() {
        let mut overall = Overall::default();
        for status in [
            json!({"state": "Active"}),
            json!({"state": "Active", "nextRotationAt": "2026-11-22T12:00:01Z"}),
            json!({"state": "Active", "nextRotationAt": "2026-11-22T11:55:01Z"}),
            json!({"state": "Rotating", "nextRotationAt": "2026-11-22T11:55:00Z"}),
            json!({"state": "Revoked"}),
            json!(null),
        ] {
            let key = json!({
                "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "ci", "namespace": "team-a"},
                "spec": {"apiRef": {"name": "transcripts"}}, "status": status,
            });
            overall.add(&serde_json::from_value(key).unwrap(), "2026-11-22T12:00:00Z".parse().unwrap());
        }
        let states = [("Active", 3), ("Revoked", 1), ("Rotating", 1)].map(|(state, count)| (state.to_owned(), count));
        assert_eq!(overall, Overall { states: states.into(), overdue: 1 });
    }
}
