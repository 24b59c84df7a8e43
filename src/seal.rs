//! Seals a key's string to a public key, so that nobody but the holder of the private key can read it: ML-KEM-768
//! (FIPS 203), HKDF-SHA-256 (RFC 5869), AES-256-GCM. `docs/sealed.md` describes every byte.
//!
//! A leaf and no part of `core`, for encapsulation draws its own random numbers: the library takes none from
//! outside, and what could be sealed twice with the same ones would be no secret.

mod pem;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use crate::core::key::PlainKey;
pub use pem::PemError;

/// First byte of what is sealed: the layout that follows.
const FORMAT: u8 = 1;
/// Length of an ML-KEM-768 ciphertext, in bytes.
const ENCAPSULATED: usize = 1088;
/// Length of an AES-256 key, in bytes.
const KEY_LEN: usize = 32;
/// Length of an AES-GCM tag, in bytes.
const TAG_LEN: usize = 16;
/// HKDF's info: what the derived bytes are for.
const INFO: &[u8] = b"keyturn.dev/sealed/v1";

/// Nothing can be sealed to this public key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PublicKeyError {
    #[error("it is not base64")]
    Base64,
    #[error("it has {0} bytes and not the 1,184 of an ML-KEM-768 public key")]
    Length(usize),
    #[error("its bytes are no ML-KEM-768 public key")]
    Invalid,
}

/// Why something sealed stays shut.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    #[error("the sealed text is not base64; copy all of status.versions[].sealed")]
    Base64,
    #[error("the sealed text is cut short; copy all of status.versions[].sealed")]
    Short,
    #[error("the sealed text has format {0}, which this version of keyturn does not know; use a newer one")]
    Format(u8),
    #[error(
        "the private key does not open it; it was sealed to another public key, for another key id or version, or was changed"
    )]
    Refused,
}

/// The library could not do what it always can.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("sealing a string")]
pub struct SealError(#[source] Unspecified);

/// Which string it is: sealed with these, it opens with no others.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// `status.id` of the ApiKey.
    pub key_id: &'a str,
    /// The version's number.
    pub version: u32,
}

impl Label<'_> {
    /// Each part preceded by its length as eight big-endian bytes, so that no two labels share their bytes.
    fn associated_data(&self) -> Vec<u8> {
        let version = self.version.to_string();
        let parts = [self.key_id, &version];
        parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes(), part.as_bytes()].concat()).collect()
    }
}

/// A caller's public key, found fit for sealing.
#[derive(Debug)]
pub struct PublicKey(EncapsulationKey);

impl PublicKey {
    /// Reads `spec.secret.sealTo`.
    ///
    /// # Errors
    /// When it is no ML-KEM-768 public key in base64.
    pub fn parse(base64: &str) -> Result<Self, PublicKeyError> {
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| PublicKeyError::Base64)?;
        let key = EncapsulationKey::new(&ML_KEM_768, &bytes).map_err(|_| PublicKeyError::Length(bytes.len()))?;
        // The library checks the coefficients (FIPS 203, section 7.2) when it encapsulates, not before.
        key.encapsulate().map_err(|_| PublicKeyError::Invalid)?;
        Ok(Self(key))
    }

    /// Seals a string; base64, at most 2,048 characters for any string that Keyturn mints or imports.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn seal(&self, string: &PlainKey, label: Label<'_>) -> Result<String, SealError> {
        let (encapsulated, shared) = self.0.encapsulate().map_err(SealError)?;
        let (key, nonce) = derive(encapsulated.as_ref(), shared.as_ref()).map_err(SealError)?;
        let plain = string.expose().as_bytes();
        // Room for the tag as well: growing would leave the plaintext behind in memory.
        let mut text = Zeroizing::new(Vec::with_capacity(plain.len() + TAG_LEN));
        text.extend_from_slice(plain);
        key.seal_in_place_append_tag(nonce, Aad::from(label.associated_data()), &mut *text).map_err(SealError)?;
        Ok(BASE64_STANDARD.encode([&[FORMAT], encapsulated.as_ref(), text.as_slice()].concat()))
    }
}

/// A private key: what it opens is for its holder alone.
#[derive(Debug)]
pub struct PrivateKey(DecapsulationKey);

impl PrivateKey {
    /// Draws a key pair. The public key comes as `spec.secret.sealTo` takes it.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<(Self, String), SealError> {
        let private = DecapsulationKey::generate(&ML_KEM_768).map_err(SealError)?;
        let public = private.encapsulation_key().and_then(|key| key.key_bytes()).map_err(SealError)?;
        let public = BASE64_STANDARD.encode(public.as_ref());
        Ok((Self(private), public))
    }

    /// Reads a PEM file of PKCS #8 with an expanded ML-KEM-768 key (RFC 9935), as [`Self::to_pem`] and OpenSSL
    /// write it.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_pem(text: &[u8]) -> Result<Self, PemError> {
        let expanded = pem::read(text)?;
        DecapsulationKey::new(&ML_KEM_768, &expanded).map(Self).map_err(|_| PemError::Length)
    }

    /// The key as PEM of PKCS #8 (RFC 9935).
    ///
    /// # Errors
    /// When the library does not give its bytes away.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, SealError> {
        let bytes = self.0.key_bytes().map_err(SealError)?;
        Ok(pem::write(bytes.as_ref()))
    }

    /// Opens what [`PublicKey::seal`] made with the same label.
    ///
    /// # Errors
    /// When it is malformed, was sealed to another public key or under another label, or was changed.
    pub fn open(&self, sealed: &str, label: Label<'_>) -> Result<PlainKey, OpenError> {
        let bytes = BASE64_STANDARD.decode(sealed.trim()).map_err(|_| OpenError::Base64)?;
        let (format, rest) = bytes.split_first().ok_or(OpenError::Short)?;
        if *format != FORMAT {
            return Err(OpenError::Format(*format));
        }
        let (encapsulated, text) = rest.split_at_checked(ENCAPSULATED).ok_or(OpenError::Short)?;
        if text.len() < TAG_LEN {
            return Err(OpenError::Short);
        }
        let shared = self.0.decapsulate(Ciphertext::from(encapsulated)).map_err(|_| OpenError::Refused)?;
        let (key, nonce) = derive(encapsulated, shared.as_ref()).map_err(|_| OpenError::Refused)?;
        let mut text = Zeroizing::new(text.to_vec());
        let plain =
            key.open_in_place(nonce, Aad::from(label.associated_data()), &mut text).map_err(|_| OpenError::Refused)?;
        let string = std::str::from_utf8(plain).map_err(|_| OpenError::Refused)?;
        Ok(PlainKey::new(string.to_owned()))
    }
}

/// Key and nonce for one sealing. Each encapsulation makes a new secret, so the nonce never meets its key again.
fn derive(encapsulated: &[u8], shared: &[u8]) -> Result<(LessSafeKey, Nonce), Unspecified> {
    struct Derived;
    impl KeyType for Derived {
        fn len(&self) -> usize {
            KEY_LEN + NONCE_LEN
        }
    }
    let mut derived = Zeroizing::new([0; KEY_LEN + NONCE_LEN]);
    let secret = Salt::new(HKDF_SHA256, encapsulated).extract(shared);
    secret.expand(&[INFO], Derived)?.fill(&mut *derived)?;
    let (key, nonce) = derived.split_at(KEY_LEN);
    Ok((LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?), Nonce::try_assume_unique_for_key(nonce)?))
}

#[cfg(test)]
mod tests;
