//! Sealed strings and private keys: nothing but the very bytes that were sealed opens, whatever stands there.

#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use keyturn::seal::{Label, PrivateKey};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

struct Known {
    private: PrivateKey,
    key_id: String,
    sealed: Vec<u8>,
}

const PEM: &[u8] = include_bytes!("../../data/sealed/private-key.pem");

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let answer: Value = serde_json::from_str(include_str!("../../data/sealed/known-answer.json")).unwrap();
    let sealed = BASE64_STANDARD.decode(answer["sealed"].as_str().unwrap()).unwrap();
    let key_id = answer["keyId"].as_str().unwrap().to_owned();
    Known { private: PrivateKey::from_pem(PEM).unwrap(), key_id, sealed }
});

const VERSION: u32 = 2;

fuzz_target!(|input: (&str, &[u8], u16)| {
    let (text, bytes, at) = input;
    let Known { private, key_id, sealed } = &*KNOWN;
    let opens = |private: &PrivateKey, sealed: &str, version| private.open(sealed, Label { key_id, version }).is_ok();
    let known = BASE64_STANDARD.encode(sealed);
    assert!(opens(private, text, VERSION) <= (text.trim() == known), "{text:?}");

    // What was sealed with some of its bytes changed, or of another length.
    let at = usize::from(at) % sealed.len();
    let mut changed = sealed.clone();
    changed.truncate(at);
    changed.extend_from_slice(bytes);
    changed.extend(sealed.iter().skip(changed.len()));
    let same = changed == *sealed;
    let changed = BASE64_STANDARD.encode(changed);
    assert_eq!(opens(private, &changed, VERSION), same, "{bytes:?} at {at}");
    assert!(!opens(private, &changed, u32::from_be_bytes([0, 0, 1, bytes.len() as u8])));

    // A private key file: the one that it was sealed to, changed likewise, opens it or is none.
    let mut pem = PEM.to_vec();
    pem.truncate(at);
    pem.extend_from_slice(bytes);
    pem.extend(PEM.iter().skip(pem.len()));
    for pem in [bytes, &pem] {
        if let Ok(other) = PrivateKey::from_pem(pem) {
            let _ = opens(&other, &known, VERSION);
        }
    }
});
