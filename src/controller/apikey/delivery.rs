//! What the manifest and the readers of strings say about deliveries.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::template;
use crate::core::lifecycle::{Obstacle, SecretState};
use crate::core::policy::Delivery;
use crate::resources::ApiKey;
use crate::resources::names::DELIVERED_ANNOTATION;
use crate::seal::{PublicKey, PublicKeyError};

/// Reasons of [`told`] that somebody has to act upon.
pub(super) const WARNINGS: [&str; 4] = [ROTATION_DUE, ROTATION_UNDELIVERED, SEAL_TO_INVALID, SECRET_INVALID];

const ROTATION_DUE: &str = "RotationDue";
const ROTATION_UNDELIVERED: &str = "RotationUndelivered";
const SEAL_TO_INVALID: &str = "SealToInvalid";
const SECRET_INVALID: &str = "SecretInvalid";

/// What keeps strings from being handed out as the manifest says, though the schema let it pass.
pub(super) fn obstacle(object: &ApiKey, delivery: Delivery) -> Option<Obstacle> {
    if delivery.is_sealed() {
        let error = seal_to(object).err()?;
        let message = format!(
            "spec.secret.sealTo: {error}; write what `keyturn seal-keygen` prints, or another ML-KEM-768 public key in base64"
        );
        return Some(Obstacle { reason: SEAL_TO_INVALID, message });
    }
    let message = template::mistake(&object.spec.secret)?;
    Some(Obstacle { reason: SECRET_INVALID, message })
}

/// The public key that the next version is sealed to.
pub(super) fn seal_to(object: &ApiKey) -> Result<PublicKey, PublicKeyError> {
    PublicKey::parse(object.spec.secret.seal_to.as_deref().unwrap_or_default())
}

/// Versions whose readers say that they have the string, on the ApiKey or on its Secret.
pub(super) fn acknowledged(object: &ApiKey, secret: Option<&Secret>) -> Vec<u32> {
    said(object, secret).filter_map(|text| text.parse().ok()).collect()
}

/// What is to be told about an acknowledgement that nobody can read.
pub(super) fn misread(object: &ApiKey, secret: Option<&Secret>) -> Option<String> {
    let text = said(object, secret).find(|text| text.parse::<u32>().is_err())?;
    // Anybody may have written it, at any length.
    let text: String = text.chars().take(20).collect();
    Some(format!("annotation {DELIVERED_ANNOTATION} {text:?} is no number of a version; write one such as \"1\""))
}

/// Whether the strings are where the manifest wants them, a reason for programs and a sentence for people.
/// `misread` is added where an acknowledgement is waited for.
pub(super) fn told<'a>(state: &'a SecretState, misread: Option<&str>) -> (bool, &'a str, Cow<'a, str>) {
    let waits = |sentence: &'static str| match misread {
        None => Cow::Borrowed(sentence),
        Some(misread) => format!("{sentence}; {misread}").into(),
    };
    let (holds, reason, sentence) = match state {
        SecretState::Synced => (true, "Synced", "the Secret holds the current version"),
        SecretState::Waiting => {
            let sentence = "the Secret holds the current version until annotation keyturn.dev/delivered says its number, the Secret is deleted, or status.versions[].deliverBy has passed";
            return (true, "Waiting", waits(sentence));
        }
        SecretState::Undelivered => {
            let sentence = "three quarters of the previous version's grace have passed and nobody has acknowledged the current one; read the Secret and say its number in annotation keyturn.dev/delivered";
            return (true, ROTATION_UNDELIVERED, waits(sentence));
        }
        SecretState::Sealed => {
            let sentence = "status.versions[].sealed holds the current version for whoever has the private key, until annotation keyturn.dev/delivered says its number or deliverBy has passed";
            return (true, "Sealed", waits(sentence));
        }
        SecretState::Delivered => (
            true,
            "Delivered",
            "the current version was handed over and is kept nowhere; rotation.request makes another",
        ),
        SecretState::RotationDue => (
            true,
            ROTATION_DUE,
            "rotation.interval asks for the next version, which nobody could open; set rotation.request with a new id and secret.sealTo to a fresh public key",
        ),
        SecretState::Pending => (false, "Pending", "there is no current version yet"),
        SecretState::Lost => {
            (false, "StringLost", "the string in the Secret was removed or changed; the next version replaces it")
        }
        SecretState::Deleted => (false, "Revoked", "the Secret of a revoked key is deleted"),
        SecretState::NameTaken => (false, "SecretNameTaken", "another object has the Secret's name"),
        SecretState::Obstructed(obstacle) => return (false, obstacle.reason, Cow::Borrowed(&obstacle.message)),
    };
    (holds, reason, Cow::Borrowed(sentence))
}

fn said<'a>(object: &'a ApiKey, secret: Option<&'a Secret>) -> impl Iterator<Item = &'a String> {
    let on_secret = secret.and_then(|secret| secret.annotations().get(DELIVERED_ANNOTATION));
    object.annotations().get(DELIVERED_ANNOTATION).into_iter().chain(on_secret)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::core::policy::Delivery::{Once, Retain, Sealed};
    use crate::seal::PrivateKey;

    const TTL: std::time::Duration = std::time::Duration::from_secs(60);

    fn key(secret: Value, annotation: Option<&str>) -> ApiKey {
        serde_json::from_value(json!({
            "apiVersion": "keyturn.dev/v1alpha1", "kind": "ApiKey",
            "metadata": {"name": "ci", "annotations": annotation.map(|it| json!({DELIVERED_ANNOTATION: it}))},
            "spec": {"apiRef": {"name": "transcripts"}, "secret": secret},
        }))
        .unwrap()
    }

    fn secret(annotation: &str) -> Secret {
        serde_json::from_value(json!({"metadata": {"annotations": {DELIVERED_ANNOTATION: annotation}}})).unwrap()
    }

    #[test]
    fn an_acknowledgement_is_read_from_the_key_and_from_its_secret() {
        for (on_key, on_secret, numbers, mistaken) in [
            (None, None, vec![], false),
            (Some("2"), None, vec![2], false),
            (Some("2"), Some("1"), vec![2, 1], false),
            (Some("v2"), Some("2"), vec![2], true),
            (Some(""), None, vec![], true),
            (None, Some("-1"), vec![], true),
            (Some("99999999999"), None, vec![], true),
        ] {
            let (key, secret) = (key(json!({}), on_key), on_secret.map(secret));
            assert_eq!(acknowledged(&key, secret.as_ref()), numbers, "{on_key:?} {on_secret:?}");
            assert_eq!(misread(&key, secret.as_ref()).is_some(), mistaken, "{on_key:?} {on_secret:?}");
        }
        let told = misread(&key(json!({}), Some("v2")), None).unwrap();
        assert_eq!(told, "annotation keyturn.dev/delivered \"v2\" is no number of a version; write one such as \"1\"");
    }

    #[test]
    fn what_no_string_can_be_handed_out_as_is_an_obstacle() {
        let (_, public) = PrivateKey::generate().unwrap();
        let config =
            |json: &str| json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": json}});
        for (secret, delivery, reason) in [
            (json!({"sealTo": public}), Sealed { ttl: TTL }, None),
            (json!({"sealTo": format!("{}=", "A".repeat(1579))}), Sealed { ttl: TTL }, None),
            (json!({"sealTo": format!("{}=", "/".repeat(1579))}), Sealed { ttl: TTL }, Some("SealToInvalid")),
            (json!({}), Sealed { ttl: TTL }, Some("SealToInvalid")),
            (config("{"), Once { ttl: TTL }, Some("SecretInvalid")),
            (config(r#"{"auths": {}}"#), Retain, None),
        ] {
            let found = obstacle(&key(secret.clone(), None), delivery).map(|obstacle| obstacle.reason);
            assert_eq!(found, reason, "{secret}");
        }
    }
}
