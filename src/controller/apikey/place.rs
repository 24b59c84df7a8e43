//! Lets a key wait whose owner has as many keys as it may have.

use jiff::Timestamp;

use super::Context;
use super::gather::Observed;
use super::record;
use crate::core::acceptance::{self, Accepted, Reason, Rejection};
use crate::core::lifecycle::Record;
use crate::core::places::limit_reached;
use crate::core::policy::Key;
use crate::resources::ApiKey;
use crate::resources::apikey::KeyState;
use crate::resources::condition::ACCEPTED;

/// Notes which keys have a place and which will ask for one, before the first is judged: an older one may come later
/// in the queue.
pub(super) fn learn_all(context: &Context, now: Timestamp) {
    if !context.places.begin() {
        return;
    }
    let revision = context.policies.current();
    for object in context.keys.state() {
        let Ok(object) = &object.0 else { continue };
        if object.spec.owner.is_none() {
            continue;
        }
        let (Ok(key), Ok(record)) = (object.parse(), record::read(object.status.as_ref())) else { continue };
        let acceptance = acceptance::accept(&key, &revision.policies);
        match (is_over(&key, &record, acceptance.as_ref(), now), acceptance) {
            (false, _) if keeps_its_place(object) => context.places.keep(&key),
            (false, Ok(_)) => context.places.wait(&key),
            (true, _) | (false, Err(_)) => {}
        }
    }
}

/// Gives the key a place, or refuses it for want of one. One that is refused for something else has the place that it
/// has had, and gets none.
pub(super) fn take(context: &Context, observed: &mut Observed, now: Timestamp) {
    observed.limit_reached = None;
    let Ok(key) = &observed.key else { return };
    let acceptance = observed.judged().as_ref();
    let minted = observed.record.versions.iter().next().is_some();
    let has_one = context.places.has(key);
    match (is_over(key, &observed.record, acceptance, now), acceptance) {
        (false, _) if key.owner.is_none() => context.places.leave(&key.name),
        (false, Ok(_)) if has_one || keeps_its_place(&observed.object) => context.places.keep(key),
        // What it would expire by, and so whether it still has a place, is known only of a key that is accepted.
        (false, Err(_)) if has_one && minted => context.places.keep(key),
        (false, Ok(accepted)) => {
            if let (false, Some(owner)) = (context.places.ask(key), &key.owner) {
                observed.limit_reached = Some(Err(limit_reached(owner, accepted)));
            }
        }
        (true, _) | (false, Err(_)) => context.places.leave(&key.name),
    }
}

/// Whether the key is revoked or has expired.
fn is_over(key: &Key, record: &Record, acceptance: Result<&Accepted, &Rejection>, now: Timestamp) -> bool {
    let revoked = key.revoked || record.revocation.is_some_and(|revocation| !revocation.reversible);
    let expires_at = acceptance.map_or(key.expires_at, |accepted| accepted.expires_at);
    revoked || expires_at.is_some_and(|expires_at| expires_at <= now)
}

/// Whether the status tells of a key that has a place: it was minted, for the owner whom it still names, and has been
/// in use since.
fn keeps_its_place(object: &ApiKey) -> bool {
    let Some(status) = object.status.as_ref().filter(|status| !status.versions.is_empty()) else { return false };
    let was_over = matches!(status.state, Some(KeyState::Revoked | KeyState::Expired));
    let mut refusals = status.conditions.iter().filter(|it| it.type_ == ACCEPTED && it.status == "False");
    let waited = refusals.any(|refusal| refusal.reason == Reason::KeyLimitReached.as_str());
    // Whose it was when this was last written.
    let was_given = status
        .audited_spec
        .as_ref()
        .is_none_or(|spec| spec.0.get("owner").and_then(|owner| owner.as_str()) == object.spec.owner.as_deref());
    was_given && !was_over && !waited
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keeps(status: &Value) -> bool {
        let object = json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey", "metadata": {"name": "ci", "namespace": "speech"},
            "spec": {"apiRef": {"name": "transcripts"}, "owner": "acme"}, "status": status,
        });
        keeps_its_place(&serde_json::from_value(object).unwrap())
    }

    #[test]
    fn the_status_tells_who_has_a_place() {
        let version = json!({
            "number": 1, "digest": "", "pepper": "p1", "start": "", "mintedAt": "2026-01-01T00:00:00Z", "state": "Current",
        });
        let minted = |state: &str, reason: &str, owner: &str| {
            let holds = if reason == "Accepted" { "True" } else { "False" };
            let accepted = json!({
                "type": "Accepted", "status": holds, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            json!({"versions": [version], "state": state, "conditions": [accepted], "auditedSpec": {"owner": owner}})
        };
        for (status, expected) in [
            (Value::Null, false),
            (json!({"state": "Pending"}), false),
            (minted("Revoked", "Accepted", "acme"), false),
            (minted("Expired", "Accepted", "acme"), false),
            (minted("Rejected", "KeyLimitReached", "acme"), false),
            (minted("Active", "Accepted", "globex"), false),
            (minted("Active", "Accepted", "acme"), true),
            (minted("Disabled", "Accepted", "acme"), true),
            (minted("Rejected", "TierNotFound", "acme"), true),
            (json!({"versions": [version], "state": "Active"}), true),
        ] {
            assert_eq!(keeps(&status), expected, "{status}");
        }
    }
}
