//! What verifiers hold instead of keys: HMAC-SHA-256 digests under a pepper that only the cluster knows.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{self, Alphabet};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::key::PlainKey;

/// Shortest pepper that is used, in bytes: as long as the digest (RFC 2104, section 3).
pub const PEPPER_BYTES: usize = 32;

/// HMAC-SHA-256(pepper, SHA-256(string)), 32 bytes. Not a secret: it opens nothing.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest that 64 lower-case hexadecimal characters spell, as `status.versions[].digest` holds it.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        bytes_of_hex(text).map(Self)
    }

    /// 64 lower-case hexadecimal characters.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Digest {
    /// The first four bytes are enough to tell two digests apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({}…)", hex(&self.0[..4]))
    }
}

/// SHA-256 of a key's string: all that is needed of a string to make its digest, under any pepper.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct StringHash([u8; 32]);

impl StringHash {
    #[must_use]
    pub fn of(string: &[u8]) -> Self {
        Self(Sha256::digest(string).into())
    }

    /// From 64 hexadecimal digits, or from base64 in either alphabet, padded or not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 64 {
            return bytes_of_hex(&text.to_ascii_lowercase()).map(Self);
        }
        let decoded = [&alphabet::STANDARD, &alphabet::URL_SAFE].map(|alphabet| of_base64(alphabet, text));
        decoded.into_iter().flatten().next().map(Self)
    }
}

impl fmt::Debug for StringHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StringHash(redacted)")
    }
}

/// A secret from which digests are made, ready for use: the keyed hash state is computed once.
#[derive(Clone)]
pub struct Pepper {
    name: Box<str>,
    state: Hmac<Sha256>,
}

impl Pepper {
    /// A pepper of at least [`PEPPER_BYTES`] bytes; a shorter one is `None`.
    #[must_use]
    pub fn new(name: &str, secret: &[u8]) -> Option<Self> {
        if secret.len() < PEPPER_BYTES {
            return None;
        }
        let state = Hmac::new_from_slice(secret).ok()?;
        Some(Self { name: name.into(), state })
    }

    /// The name that `status.versions[].pepper` refers to.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest under which verifiers find this key.
    #[must_use]
    pub fn digest(&self, key: &PlainKey) -> Digest {
        self.digest_of(key.expose().as_bytes())
    }

    /// The digest of a string that a client presented, whatever it is.
    #[must_use]
    pub fn digest_of(&self, presented: &[u8]) -> Digest {
        self.digest_of_hash(StringHash::of(presented))
    }

    /// The digest of a string of which nothing but the hash is known.
    #[must_use]
    pub fn digest_of_hash(&self, hash: StringHash) -> Digest {
        let mut state = self.state.clone();
        state.update(&hash.0);
        Digest(state.finalize().into_bytes().into())
    }

    /// Proves that a Secret was written under this pepper: HMAC-SHA-256 over the parts, each preceded by its
    /// length as eight big-endian bytes so that no two lists of parts share a message. Lower-case hexadecimal.
    #[must_use]
    pub fn prove(&self, parts: &[&[u8]]) -> String {
        hex(&Zeroizing::new(<[u8; 32]>::from(self.over(parts).finalize().into_bytes()))[..])
    }

    /// Whether `proof` is what [`Pepper::prove`] says of these parts; compared in constant time.
    #[must_use]
    pub fn has_proven(&self, parts: &[&[u8]], proof: &str) -> bool {
        bytes_of_hex(proof).is_some_and(|proof| self.over(parts).verify_slice(&proof).is_ok())
    }

    fn over(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut state = self.state.clone();
        for part in parts {
            state.update(&(part.len() as u64).to_be_bytes());
            state.update(part);
        }
        state
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pepper").field("name", &self.name).finish_non_exhaustive()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).map(|n| char::from(DIGITS[usize::from(n)])).collect()
}

/// 32 bytes from lower-case hexadecimal digits.
fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn of_base64(alphabet: &Alphabet, text: &str) -> Option<[u8; 32]> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config).decode(text).ok()?.try_into().ok()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// HMAC-SHA-256(0x0b × 32, SHA-256("abc")), computed with Python's hmac and hashlib.
    #[test]
    fn digest_is_hmac_over_sha_256() {
        let pepper = Pepper::new("p1", &[0x0b; 32]).unwrap();
        assert_eq!(
            pepper.digest_of(b"abc").to_hex(),
            "1e18c60af672a9a88fc69f853427d3283774b9f9672a5f83833ea5a463a47ccf"
        );
    }

    #[test]
    fn hex_round_trips_and_refuses_everything_else() {
        let digest = Pepper::new("p1", &[1; 32]).unwrap().digest_of(b"x");
        assert_eq!(Digest::from_hex(&digest.to_hex()), Some(digest));
        for text in ["", "00", &"G".repeat(64), &"A".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            assert_eq!(Digest::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_short_pepper_is_refused() {
        assert!(Pepper::new("p1", &[1; 31]).is_none());
    }

    #[test]
    fn proof_depends_on_where_parts_end() {
        let pepper = Pepper::new("p1", &[1; 32]).unwrap();
        assert_ne!(pepper.prove(&[b"ab", b"c"]), pepper.prove(&[b"a", b"bc"]));
    }

    #[test]
    fn a_proof_holds_for_its_parts_and_its_pepper_only() {
        let pepper = |byte| Pepper::new("p1", &[byte; 32]).unwrap();
        let proof = pepper(1).prove(&[b"a", b"b"]);
        assert!(pepper(1).has_proven(&[b"a", b"b"], &proof));
        assert!(!pepper(2).has_proven(&[b"a", b"b"], &proof));
        assert!(!pepper(1).has_proven(&[b"a", b"c"], &proof));
        for other in ["", &proof[1..], &proof.to_uppercase(), &"0".repeat(64)] {
            assert!(!pepper(1).has_proven(&[b"a", b"b"], other), "{other}");
        }
    }

    /// SHA-256("abc") as FIPS 180-4 has it.
    #[test]
    fn a_hash_is_read_as_hexadecimal_or_base64_and_makes_the_same_digest() {
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let pepper = Pepper::new("p1", &[1; 32]).unwrap();
        for text in [
            hex,
            &hex.to_uppercase(),
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=",
            "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
            "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0=",
        ] {
            let hash = StringHash::parse(text).unwrap();
            assert_eq!(pepper.digest_of_hash(hash), pepper.digest_of(b"abc"), "{text}");
        }
        for text in [
            "",
            "ba78",
            &"g".repeat(64),
            &"A".repeat(42),
            &"A".repeat(44),
            "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0",
        ] {
            assert_eq!(StringHash::parse(text), None, "{text}");
        }
    }

    #[test]
    fn debug_shows_no_pepper() {
        let shown = format!("{:?}", Pepper::new("p1", b"0123456789abcdef0123456789abcdef").unwrap());
        assert_eq!(shown, "Pepper { name: \"p1\", .. }");
    }
}
