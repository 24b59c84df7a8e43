//! The Secret of the operator's namespace under whose contents digests are made. Kubernetes gives it to the
//! controller, which makes it, and to verifiers, which only read it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroize as _;

use super::names::{PEPPER_ACTIVE, PEPPER_SECRET};
use crate::core::digest::{PEPPER_BYTES, Pepper};

/// Why a Secret holds no pepper that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    #[error("Secret {PEPPER_SECRET} does not say in data.{PEPPER_ACTIVE} which of its peppers is in use")]
    NoActive,
    #[error("Secret {PEPPER_SECRET} has no pepper {0:?}, which its data.{PEPPER_ACTIVE} names")]
    NoSuchPepper(String),
    #[error("pepper {0:?} in Secret {PEPPER_SECRET} has fewer than {PEPPER_BYTES} bytes")]
    TooShort(String),
}

/// The pepper in use. Wipes the Secret's data, which nobody needs afterwards.
///
/// # Errors
/// When the Secret names no pepper, or none that is there and long enough.
pub fn parse(secret: &mut Secret) -> Result<Pepper, PepperError> {
    let mut data = secret.data.take().unwrap_or_default();
    let pepper = active(&data);
    data.values_mut().for_each(|value| value.0.zeroize());
    secret.data = Some(data);
    pepper
}

fn active(data: &BTreeMap<String, ByteString>) -> Result<Pepper, PepperError> {
    let name =
        data.get(PEPPER_ACTIVE).and_then(|value| std::str::from_utf8(&value.0).ok()).ok_or(PepperError::NoActive)?;
    let secret = data.get(name).ok_or_else(|| PepperError::NoSuchPepper(name.to_owned()))?;
    Pepper::new(name, &secret.0).ok_or_else(|| PepperError::TooShort(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(entries: &[(&str, &[u8])]) -> Secret {
        let data = entries.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.to_vec())));
        Secret { data: Some(data.collect()), ..Secret::default() }
    }

    #[test]
    fn says_what_is_wrong_with_the_secret() {
        for (entries, reason) in [
            (&[][..], "Secret keyturn-pepper does not say in data.active which of its peppers is in use"),
            (
                &[("active", &b"\xff"[..])],
                "Secret keyturn-pepper does not say in data.active which of its peppers is in use",
            ),
            (&[("active", &b"p1"[..])], "Secret keyturn-pepper has no pepper \"p1\", which its data.active names"),
            (
                &[("active", &b"p1"[..]), ("p1", &[7; 31])],
                "pepper \"p1\" in Secret keyturn-pepper has fewer than 32 bytes",
            ),
        ] {
            assert_eq!(parse(&mut secret(entries)).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn takes_the_pepper_that_is_named() {
        let mut secret = secret(&[("active", b"p2"), ("p1", &[1; 32]), ("p2", &[2; 32])]);
        let pepper = parse(&mut secret).unwrap();
        assert!(secret.data.unwrap().values().all(|value| value.0.is_empty()), "left in memory");
        assert_eq!(pepper.name(), "p2");
        assert_eq!(pepper.digest_of(b"x"), Pepper::new("p2", &[2; 32]).unwrap().digest_of(b"x"));
    }
}
