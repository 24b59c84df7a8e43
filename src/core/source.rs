//! Existing keys that are taken over: which strings may become keys, and where one comes from.

use std::sync::Arc;

use super::digest::StringHash;
use super::key::{KeyFormat, PAYLOAD_LENGTHS, PlainKey};

/// Characters of a string that is taken over. Shorter ones can be guessed; longer ones are tokens of another
/// kind, which nobody wants hashed on every request.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 16..=256;

/// Different characters that it has at the least: `0000000000000000` is no secret.
pub const LEAST_VARIETY: usize = 8;

/// Characters that lists show of a string in a format of somebody else.
const LONGEST_START: usize = 8;

/// Where the string of an imported key comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A data key of a Secret in the key's own namespace.
    Secret { name: Arc<str>, key: Arc<str> },
    /// Only the string's hash is known.
    Digest(StringHash),
}

/// Why a string cannot become a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnfitError {
    #[error("has {0} bytes; a key has {min} to {max}", min = LENGTHS.start(), max = LENGTHS.end())]
    Length(usize),
    #[error(
        "has a character that is none of visible ASCII at byte {0}, which no header can carry; remove it, and line breaks at the end"
    )]
    Character(usize),
    #[error("has only {0} different characters, so that it is easily guessed; a key has {LEAST_VARIETY} or more")]
    Variety(usize),
}

/// The string as a key, if it can be presented in a header and not be guessed at once.
///
/// # Errors
/// What is wrong with it; never the string itself.
pub fn importable(string: &[u8]) -> Result<PlainKey, UnfitError> {
    if let Some(at) = string.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(UnfitError::Character(at));
    }
    if !LENGTHS.contains(&string.len()) {
        return Err(UnfitError::Length(string.len()));
    }
    let variety = (0..=u8::MAX).filter(|byte| string.contains(byte)).count();
    if variety < LEAST_VARIETY {
        return Err(UnfitError::Variety(variety));
    }
    // Visible ASCII is text.
    let text = std::str::from_utf8(string).map_err(|error| UnfitError::Character(error.valid_up_to()))?;
    Ok(PlainKey::new(text.to_owned()))
}

/// What lists may show of a string: of a minted one the prefix and four characters, of any other its first
/// quarter, eight characters at most.
#[must_use]
pub fn start(string: &PlainKey) -> &str {
    let text = string.expose();
    let prefix = ["_live_", "_test_"].into_iter().find_map(|mark| text.get(..text.rfind(mark)?));
    let format = |prefix: &str| KeyFormat { prefix: prefix.into(), length: *PAYLOAD_LENGTHS.start() };
    if prefix.is_some_and(|prefix| format(prefix).recognises(text.as_bytes())) {
        return string.start();
    }
    text.get(..(text.len() / 4).min(LONGEST_START)).unwrap_or("")
}

/// Whether a presented string is worth looking up where imported keys are known: by its length alone, since
/// hashes may have been imported of strings of any alphabet.
#[must_use]
pub fn may_be_imported(presented: &[u8]) -> bool {
    LENGTHS.contains(&presented.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_a_string_cannot_become_a_key() {
        let long = "0123456789abcdef".repeat(17);
        for (string, expected) in [
            (&b""[..], "has 0 bytes; a key has 16 to 256"),
            (b"0123456789abcde", "has 15 bytes; a key has 16 to 256"),
            (long.as_bytes(), "has 272 bytes; a key has 16 to 256"),
            (
                b"0123456789abcdef\n",
                "has a character that is none of visible ASCII at byte 16, which no header can carry; remove it, and line breaks at the end",
            ),
            (
                b"0123456789 bcdef",
                "has a character that is none of visible ASCII at byte 10, which no header can carry; remove it, and line breaks at the end",
            ),
            (
                b"0123456789abcde\xff",
                "has a character that is none of visible ASCII at byte 15, which no header can carry; remove it, and line breaks at the end",
            ),
            (
                b"abcabcabcabcabcabcabc",
                "has only 3 different characters, so that it is easily guessed; a key has 8 or more",
            ),
        ] {
            assert_eq!(importable(string).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn takes_what_headers_can_carry() {
        for string in ["0123456789abcdef", "6f1c2d3e-0a1b-4c5d-8e9f-001122334455", "t0k,en=with;\"odd\"/ones~"] {
            assert_eq!(importable(string.as_bytes()).unwrap().expose(), string);
            assert!(may_be_imported(string.as_bytes()));
        }
    }

    #[test]
    fn shows_little_of_a_foreign_string() {
        let format = KeyFormat { prefix: "sk".into(), length: 32 };
        for (string, shown) in [
            ("0123456789abcdef", "0123"),
            ("legacy_0123456789_abcdef", "legacy"),
            ("sk_live_0123456789_abcdef", "sk_liv"),
            ("6f1c2d3e-0a1b-4c5d-8e9f-001122334455", "6f1c2d3e"),
        ] {
            assert_eq!(start(&PlainKey::new(string.to_owned())), shown);
        }
        let fill = |bytes: &mut [u8]| -> Result<(), std::convert::Infallible> {
            bytes.fill(7);
            Ok(())
        };
        let minted = format.mint(crate::core::key::Environment::Live, fill).unwrap();
        assert_eq!(start(&minted), "sk_live_7777");
    }
}
