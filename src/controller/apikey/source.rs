//! Reads the string that a key is to take over.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt as _};

use super::gather::{self, Error};
use crate::core::acceptance::{Reason, Rejection};
use crate::core::key::PlainKey;
use crate::core::source;
use crate::resources::names::IMPORTABLE_LABEL;

/// The string under that data key of a Secret that may be imported.
pub(super) async fn read(secrets: &Api<Secret>, name: &str, key: &str) -> Result<Result<PlainKey, Rejection>, Error> {
    let found = gather::read(secrets, name).await?;
    Ok(judge(found.as_ref().map(|held| &held.0), name, key))
}

/// One sentence for all that may be missing: whoever may not read Secrets does not learn here which there are.
fn judge(secret: Option<&Secret>, name: &str, key: &str) -> Result<PlainKey, Rejection> {
    let importable = secret.filter(|secret| secret.labels().get(IMPORTABLE_LABEL).is_some_and(|value| value == "true"));
    let Some(string) = importable.and_then(|secret| secret.data.as_ref()?.get(key)) else {
        let message = format!(
            "spec.source.secretRef: there is no Secret {name} with data key {key} and the label {IMPORTABLE_LABEL}: \"true\" in the key's namespace; create it or add what is missing"
        );
        return Err(Rejection::new(Reason::SourceNotFound, message));
    };
    source::importable(&string.0).map_err(|unfit| {
        let message = format!("spec.source.secretRef: data key {key} of Secret {name} {unfit}");
        Rejection::new(Reason::SourceNotFound, message)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn says_what_is_missing_without_telling_what_is_there() {
        let missing = "SourceNotFound: spec.source.secretRef: there is no Secret old with data key token and the label keyturn.dev/importable: \"true\" in the key's namespace; create it or add what is missing";
        let secret = |label: &str, key: &str, string: &[u8]| -> Secret {
            let data = json!({key: k8s_openapi::ByteString(string.to_vec())});
            serde_json::from_value(json!({"metadata": {"labels": {IMPORTABLE_LABEL: label}}, "data": data})).unwrap()
        };
        let good = b"0123456789abcdef";
        for (secret, expected) in [
            (None, missing),
            (Some(Secret::default()), missing),
            (Some(secret("yes", "token", good)), missing),
            (Some(secret("true", "other", good)), missing),
            (
                Some(secret("true", "token", b"short")),
                "SourceNotFound: spec.source.secretRef: data key token of Secret old has 5 bytes; a key has 16 to 256",
            ),
        ] {
            assert_eq!(judge(secret.as_ref(), "old", "token").unwrap_err().to_string(), expected);
        }
        let string = judge(Some(&secret("true", "token", good)), "old", "token").unwrap();
        assert_eq!(string.expose().as_bytes(), good);
    }
}
