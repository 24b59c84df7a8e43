//! The key itself: `<prefix>_<environment>_<payload><checksum>`.
//!
//! The payload is 32 to 64 base62 characters from the operating system's entropy (190 bits and more); the
//! checksum is the CRC-32 (IEEE 802.3) of all characters before it in six base62 digits, so that a typo or a
//! made-up string is refused without a look-up. The prefix lets people and secret scanners recognise a key.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Digits in the order of their value.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Base62 digits that hold any CRC-32: 62⁶ > 2³².
const CHECKSUM_LENGTH: usize = 6;

/// Payload characters of a key: at least 190 bits, at most what a header value carries comfortably.
pub const PAYLOAD_LENGTHS: std::ops::RangeInclusive<u8> = 32..=64;

/// Characters of a prefix at the most.
const LONGEST_PREFIX: usize = 32;

/// Characters of the payload that lists show after the prefix.
const START_CHARACTERS: usize = 4;

/// A key's string. Not printable, not comparable, wiped from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PlainKey(String);

impl PlainKey {
    /// Takes over a string that is, or was, a key.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The string. Every place that needs it is found by searching for this name.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What lists may show: prefix, environment and the first four characters of the payload.
    #[must_use]
    pub fn start(&self) -> &str {
        let payload = self.0.rfind('_').map_or(0, |at| at + 1);
        self.0.get(..payload + START_CHARACTERS).unwrap_or("")
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(redacted)")
    }
}

/// Whether a key is for production or for trying out; part of the string.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Environment {
    #[default]
    Live,
    Test,
}

impl Environment {
    /// As the string and the manifests spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// What the keys of one API look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyFormat {
    /// `[a-zA-Z0-9_]{1,32}`.
    pub prefix: Box<str>,
    /// Payload characters of newly minted keys, within [`PAYLOAD_LENGTHS`]; older keys keep theirs.
    pub length: u8,
}

impl KeyFormat {
    /// Mints a key. `fill` overwrites a buffer with random bytes.
    ///
    /// # Errors
    /// What `fill` answers.
    pub fn mint<E>(
        &self,
        environment: Environment,
        fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<PlainKey, E> {
        let length = self.length.clamp(*PAYLOAD_LENGTHS.start(), *PAYLOAD_LENGTHS.end());
        // Reserved at once: growing would leave copies behind that nobody wipes.
        let mut text = String::with_capacity(self.prefix.len() + 6 + usize::from(length) + CHECKSUM_LENGTH);
        text.push_str(&self.prefix);
        text.push('_');
        text.push_str(environment.as_str());
        text.push('_');
        push_random(&mut text, length.into(), fill)?;
        let checksum = checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Ok(PlainKey(text))
    }

    /// Whether a presented string could be one of this API's minted keys: prefix, environment, alphabet,
    /// length and checksum are right. Says nothing about whether the key exists.
    #[must_use]
    pub fn recognises(&self, presented: &[u8]) -> bool {
        let Some(rest) = presented.strip_prefix(self.prefix.as_bytes()) else {
            return false;
        };
        let Some(payload) = rest.strip_prefix(b"_live_").or_else(|| rest.strip_prefix(b"_test_")) else {
            return false;
        };
        let lengths = usize::from(*PAYLOAD_LENGTHS.start())..=usize::from(*PAYLOAD_LENGTHS.end());
        let Some(length) = payload.len().checked_sub(CHECKSUM_LENGTH) else {
            return false;
        };
        if !lengths.contains(&length) || !payload.iter().all(u8::is_ascii_alphanumeric) {
            return false;
        }
        let (body, sum) = presented.split_at(presented.len() - CHECKSUM_LENGTH);
        checksum(body) == sum
    }
}

/// Whether a text mentions a string that some API could have minted, whatever its prefix.
#[must_use]
pub fn is_mentioned_in(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.into_iter().any(|word| {
        let Some(at) = word.rfind("_live_").or_else(|| word.rfind("_test_")) else { return false };
        // A prefix may hold underscores, and so may what stands before it.
        (at.saturating_sub(LONGEST_PREFIX)..at).any(|from| {
            let format = KeyFormat { prefix: word[from..at].into(), length: *PAYLOAD_LENGTHS.start() };
            format.recognises(&word.as_bytes()[from..])
        })
    })
}

/// Mints the public, random name of a key, `key_` and 22 base62 characters (131 bits).
///
/// # Errors
/// What `fill` answers.
pub fn mint_id<E>(fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<String, E> {
    let mut id = String::with_capacity(26);
    id.push_str("key_");
    push_random(&mut id, 22, fill)?;
    Ok(id)
}

/// Appends uniformly distributed base62 characters: bytes from 248 on are drawn again, since 256 is no
/// multiple of 62.
fn push_random<E>(text: &mut String, count: usize, mut fill: impl FnMut(&mut [u8]) -> Result<(), E>) -> Result<(), E> {
    let mut missing = count;
    let mut bytes = Zeroizing::new([0; 64]);
    while missing > 0 {
        fill(&mut bytes[..])?;
        for byte in bytes.iter().filter(|byte| **byte < 248).take(missing) {
            text.push(char::from(BASE62[usize::from(byte % 62)]));
            missing -= 1;
        }
    }
    Ok(())
}

fn checksum(text: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(text);
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn format(prefix: &str, length: u8) -> KeyFormat {
        KeyFormat { prefix: prefix.into(), length }
    }

    /// A deterministic stream of bytes that covers all values.
    fn counter(seed: u8) -> impl FnMut(&mut [u8]) -> Result<(), Infallible> {
        let mut next = seed;
        move |bytes| {
            for byte in bytes {
                *byte = next;
                next = next.wrapping_mul(5).wrapping_add(17);
            }
            Ok(())
        }
    }

    fn mint(prefix: &str, length: u8, seed: u8) -> PlainKey {
        format(prefix, length).mint(Environment::Live, counter(seed)).unwrap()
    }

    #[test]
    fn has_the_documented_shape() {
        let key = mint("sk", 32, 0);
        assert_eq!(key.expose().len(), "sk_live_".len() + 32 + 6);
        assert!(key.expose().starts_with("sk_live_"));
        assert_eq!(key.start(), &key.expose()["sk_live_".len() - 8..12]);
    }

    /// CRC-32 of "123456789" is 0xCBF43926 (the check value of CRC-32/ISO-HDLC); in base62 that is 3jZNFy.
    #[test]
    fn checksum_is_crc_32_in_base62() {
        let mut value: u64 = 0;
        for digit in checksum(b"123456789") {
            value = value * 62 + BASE62.iter().position(|d| *d == digit).unwrap() as u64;
        }
        assert_eq!(value, 0xCBF4_3926);
    }

    #[test]
    fn small_checksums_are_padded_with_zeros() {
        assert_eq!(&checksum(b""), b"000000");
    }

    #[test]
    fn a_prefix_may_hold_underscores() {
        let key = mint("v100_sk", 32, 3);
        assert!(format("v100_sk", 32).recognises(key.expose().as_bytes()));
        assert!(!format("v100", 32).recognises(key.expose().as_bytes()));
        assert!(key.start().starts_with("v100_sk_live_"));
    }

    #[test]
    fn a_longer_key_stays_recognised_when_the_length_is_lowered() {
        let key = mint("sk", 64, 9);
        assert!(format("sk", 32).recognises(key.expose().as_bytes()));
    }

    #[test]
    fn a_key_is_noticed_in_a_text() {
        let key = mint("v100_sk", 32, 3);
        let string = key.expose();
        for (text, mentioned) in [
            (String::new(), false),
            ("leaked in a build log".to_owned(), false),
            (key.start().to_owned(), false),
            ("_live_".to_owned(), false),
            (string[..string.len() - 1].to_owned(), false),
            (string.to_owned(), true),
            (format!("was {string}, leaked"), true),
            (format!("TOKEN={string}\n"), true),
            (format!("x_{string}"), true),
        ] {
            assert_eq!(is_mentioned_in(&text), mentioned, "{text}");
        }
    }

    #[test]
    fn random_characters_are_uniform() {
        let mut count = [0_u32; 256];
        let mut text = String::new();
        push_random::<Infallible>(&mut text, 62 * 400, |bytes| {
            getrandom::fill(bytes).unwrap();
            Ok(())
        })
        .unwrap();
        text.bytes().for_each(|b| count[usize::from(b)] += 1);
        // 400 expected a digit; seven standard deviations (σ ≈ 20) on either side.
        for digit in BASE62 {
            assert!(
                (260..540).contains(&count[usize::from(*digit)]),
                "{}: {}",
                char::from(*digit),
                count[usize::from(*digit)]
            );
        }
    }

    #[test]
    fn an_entropy_failure_is_handed_on() {
        assert_eq!(format("sk", 32).mint(Environment::Test, |_| Err("no entropy")).err(), Some("no entropy"));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", mint("sk", 32, 1)), "PlainKey(redacted)");
    }

    proptest! {
        #[test]
        fn every_minted_key_is_recognised(prefix in "[a-zA-Z0-9_]{1,32}", length in 32_u8..=64, seed: u8) {
            let key = mint(&prefix, length, seed);
            prop_assert!(format(&prefix, 32).recognises(key.expose().as_bytes()));
        }

        #[test]
        fn one_changed_character_is_noticed(seed: u8, at in 0_usize..46, to in 0x21_u8..0x7f) {
            let key = mint("sk", 32, seed);
            let mut bytes = key.expose().as_bytes().to_vec();
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert!(!format("sk", 32).recognises(&bytes));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, prefix in "[a-z_]{1,3}") {
            prop_assert!(!format(&prefix, 32).recognises(&bytes));
        }
    }
}
