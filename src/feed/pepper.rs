//! The secret under which digests are made, as the controller wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::sleep;
use tracing::{info, warn};
use zeroize::Zeroize as _;

use crate::core::digest::{PEPPER_BYTES, Pepper};
use crate::resources::names::{PEPPER_ACTIVE, PEPPER_SECRET};
use crate::telemetry::chain;

/// How often a Secret that is not there yet is looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no pepper to use.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    #[error("Secret {PEPPER_SECRET} does not exist; the controller makes it when it starts")]
    Missing,
    #[error("reading Secret {PEPPER_SECRET}")]
    Read(#[source] kube::Error),
    #[error(
        "Secret {PEPPER_SECRET} does not say in data.{PEPPER_ACTIVE} which of its peppers is in use"
    )]
    NoActive,
    #[error("Secret {PEPPER_SECRET} has no pepper {0:?}, which its data.{PEPPER_ACTIVE} names")]
    NoSuchPepper(String),
    #[error("pepper {0:?} in Secret {PEPPER_SECRET} has fewer than {PEPPER_BYTES} bytes")]
    TooShort(String),
}

/// Waits until there is a pepper. `tell` hears each new reason why there is none.
pub(super) async fn wait(secrets: &Api<Secret>, tell: impl Fn(String)) -> Pepper {
    let mut said = String::new();
    loop {
        match read(secrets).await {
            Ok(pepper) => {
                info!(pepper = pepper.name(), "the pepper is read");
                return pepper;
            }
            Err(error) => {
                let reason = chain(&error);
                if reason != said {
                    warn!(reason, "there is no pepper yet");
                    tell(reason.clone());
                    said = reason;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

async fn read(secrets: &Api<Secret>) -> Result<Pepper, PepperError> {
    let secret = secrets
        .get_opt(PEPPER_SECRET)
        .await
        .map_err(PepperError::Read)?
        .ok_or(PepperError::Missing)?;
    let mut data = secret.data.unwrap_or_default();
    let pepper = active(&data);
    data.values_mut().for_each(|value| value.0.zeroize());
    pepper
}

/// The pepper that `active` names.
fn active(data: &BTreeMap<String, ByteString>) -> Result<Pepper, PepperError> {
    let name = data
        .get(PEPPER_ACTIVE)
        .and_then(|value| std::str::from_utf8(&value.0).ok())
        .ok_or(PepperError::NoActive)?;
    let secret = data
        .get(name)
        .ok_or_else(|| PepperError::NoSuchPepper(name.to_owned()))?;
    Pepper::new(name, &secret.0).ok_or_else(|| PepperError::TooShort(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(entries: &[(&str, &[u8])]) -> BTreeMap<String, ByteString> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())))
            .collect()
    }

    #[test]
    fn says_what_is_wrong_with_the_secret() {
        for (entries, reason) in [
            (
                &[][..],
                "Secret keyturn-pepper does not say in data.active which of its peppers is in use",
            ),
            (
                &[("active", &b"\xff"[..])],
                "Secret keyturn-pepper does not say in data.active which of its peppers is in use",
            ),
            (
                &[("active", &b"p1"[..])],
                "Secret keyturn-pepper has no pepper \"p1\", which its data.active names",
            ),
            (
                &[("active", &b"p1"[..]), ("p1", &[7; 31])],
                "pepper \"p1\" in Secret keyturn-pepper has fewer than 32 bytes",
            ),
        ] {
            assert_eq!(active(&data(entries)).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn takes_the_pepper_that_is_named() {
        let pepper = active(&data(&[
            ("active", b"p2"),
            ("p1", &[1; 32]),
            ("p2", &[2; 32]),
        ]))
        .unwrap();
        assert_eq!(pepper.name(), "p2");
        assert_eq!(
            pepper.digest_of(b"x"),
            Pepper::new("p2", &[2; 32]).unwrap().digest_of(b"x")
        );
    }
}
