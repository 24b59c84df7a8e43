//! The Secret of the operator's namespace under whose contents digests are made: peppers by name, and beside
//! them the name of the active one. Kubernetes gives it to the controller, which makes it, and to verifiers, which
//! only read it.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use zeroize::Zeroize as _;

use super::names::{PEPPER_ACTIVE, PEPPER_SECRET};
use crate::core::digest::{PEPPER_BYTES, Pepper};
use crate::core::pepper::{MAX_PEPPERS, Peppers};

/// Why a Secret holds no pepper that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    #[error("Secret {PEPPER_SECRET} does not say in data.{PEPPER_ACTIVE} which of its peppers is in use")]
    NoActive,
    #[error("Secret {PEPPER_SECRET} has no pepper {0:?}, which its data.{PEPPER_ACTIVE} names")]
    NoSuchPepper(String),
    #[error("pepper {0:?} in Secret {PEPPER_SECRET} has fewer than {PEPPER_BYTES} bytes")]
    TooShort(String),
    #[error("Secret {PEPPER_SECRET} has {0} peppers; remove those that no key uses any more, down to {MAX_PEPPERS}")]
    TooMany(usize),
}

/// The peppers. Wipes the Secret's data, which nobody needs afterwards.
///
/// # Errors
/// When the Secret names no active pepper that is there, has too many, or any that is too short.
pub fn parse(secret: &mut Secret) -> Result<Peppers, PepperError> {
    let mut data = secret.data.take().unwrap_or_default();
    let peppers = peppers(&data);
    data.values_mut().for_each(|value| value.0.zeroize());
    secret.data = Some(data);
    peppers
}

fn peppers(data: &BTreeMap<String, ByteString>) -> Result<Peppers, PepperError> {
    let active =
        data.get(PEPPER_ACTIVE).and_then(|value| std::str::from_utf8(&value.0).ok()).ok_or(PepperError::NoActive)?;
    let named = |name: &str, secret: &ByteString| {
        Pepper::new(name, &secret.0).ok_or_else(|| PepperError::TooShort(name.to_owned()))
    };
    let secret = data.get(active).ok_or_else(|| PepperError::NoSuchPepper(active.to_owned()))?;
    let first = named(active, secret)?;
    let others = data.iter().filter(|(name, _)| *name != PEPPER_ACTIVE && *name != active);
    let others = others.map(|(name, secret)| named(name, secret)).collect::<Result<Vec<_>, _>>()?;
    if others.len() >= MAX_PEPPERS {
        return Err(PepperError::TooMany(others.len() + 1));
    }
    Ok(Peppers::new(first, others))
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
            (
                &[("active", &b"p1"[..]), ("p1", &[7; 32]), ("p2", &[7; 31])],
                "pepper \"p2\" in Secret keyturn-pepper has fewer than 32 bytes",
            ),
            (
                &[
                    ("active", &b"a"[..]),
                    ("a", &[7; 32]),
                    ("b", &[7; 32]),
                    ("c", &[7; 32]),
                    ("d", &[7; 32]),
                    ("e", &[7; 32]),
                ],
                "Secret keyturn-pepper has 5 peppers; remove those that no key uses any more, down to 4",
            ),
        ] {
            assert_eq!(parse(&mut secret(entries)).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn takes_all_peppers_and_makes_the_named_one_active() {
        let mut secret = secret(&[("active", b"p2"), ("p1", &[1; 32]), ("p2", &[2; 32])]);
        let peppers = parse(&mut secret).unwrap();
        assert!(secret.data.unwrap().values().all(|value| value.0.is_empty()), "left in memory");
        let digests: Vec<_> = peppers.iter().map(|pepper| (pepper.name(), pepper.digest_of(b"x"))).collect();
        let digest = |name, byte| Pepper::new(name, &[byte; 32]).unwrap().digest_of(b"x");
        assert_eq!(digests, [("p2", digest("p2", 2)), ("p1", digest("p1", 1))]);
    }
}
