//! Private keys as files: PEM of PKCS #8 with an ML-KEM-768 key (RFC 9935, section 6).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

/// Length of an expanded private key, in bytes.
const EXPANDED: usize = 2400;
/// DER that an expanded key follows: version 0, id-alg-ml-kem-768, OCTET STRING in OCTET STRING.
const BEFORE_EXPANDED: [u8; 28] = [
    0x30, 0x82, 0x09, 0x78, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04,
    0x02, 0x04, 0x82, 0x09, 0x64, 0x04, 0x82, 0x09, 0x60,
];
/// The same with the 64 bytes of the seed before the expanded key, as OpenSSL writes it: up to the seed …
const BEFORE_SEED: [u8; 30] = [
    0x30, 0x82, 0x09, 0xbe, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04,
    0x02, 0x04, 0x82, 0x09, 0xaa, 0x30, 0x82, 0x09, 0xa6, 0x04, 0x40,
];
/// … the seed itself …
const SEED: usize = 64;
/// … and between it and the expanded key.
const AFTER_SEED: [u8; 4] = [0x04, 0x82, 0x09, 0x60];
/// Characters of a line of base64 (RFC 7468, section 2).
const LINE: usize = 64;

/// A file that holds no private key for opening.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    #[error("reading PEM; give the file that `keyturn seal-keygen` wrote")]
    Pem(#[source] rustls_pki_types::pem::Error),
    #[error(
        "it is no ML-KEM-768 private key in expanded form; make one with `keyturn seal-keygen`, or with `openssl genpkey -algorithm ML-KEM-768`"
    )]
    Kind,
    #[error("its ML-KEM-768 private key does not have {EXPANDED} bytes")]
    Length,
}

/// The expanded key in a PEM file.
pub(super) fn read(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let key = PrivatePkcs8KeyDer::from_pem_slice(text).map_err(PemError::Pem)?;
    let der = key.secret_pkcs8_der();
    let with_seed = || der.strip_prefix(&BEFORE_SEED)?.get(SEED..)?.strip_prefix(&AFTER_SEED);
    let expanded = der.strip_prefix(&BEFORE_EXPANDED).or_else(with_seed).ok_or(PemError::Kind)?;
    if expanded.len() == EXPANDED { Ok(Zeroizing::new(expanded.to_vec())) } else { Err(PemError::Length) }
}

/// A PEM file with this expanded key.
pub(super) fn write(expanded: &[u8]) -> Zeroizing<String> {
    let der = Zeroizing::new([&BEFORE_EXPANDED, expanded].concat());
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(&*der));
    // Reserved at once: growing would leave copies behind that nobody wipes.
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + base64.len() / LINE + 64));
    text.push_str("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = base64.as_str();
    while let Some((line, next)) = rest.split_at_checked(LINE.min(rest.len())).filter(|(line, _)| !line.is_empty()) {
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}
