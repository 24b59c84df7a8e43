use serde_json::Value;

use super::*;

/// Made by another implementation (Python: kyber-py 1.2, cryptography 48) from fixed seeds; see docs/sealed.md.
fn known_answer() -> Value {
    serde_json::from_str(include_str!("../../tests/data/sealed/known-answer.json")).unwrap()
}

fn text<'a>(answer: &'a Value, member: &str) -> &'a str {
    answer[member].as_str().unwrap()
}

fn private_key() -> PrivateKey {
    PrivateKey::from_pem(include_bytes!("../../tests/data/sealed/private-key.pem")).unwrap()
}

/// The known answer with byte `at` changed.
fn changed(at: usize) -> String {
    let mut bytes = BASE64_STANDARD.decode(text(&known_answer(), "sealed")).unwrap();
    bytes[at] ^= 1;
    BASE64_STANDARD.encode(bytes)
}

const LABEL: Label<'_> = Label { key_id: "key_4fJ2Zr8mQxWcT1pN7sKd", version: 2 };

#[test]
fn what_another_implementation_sealed_is_opened() {
    let answer = known_answer();
    assert_eq!((text(&answer, "keyId"), answer["version"].as_u64()), (LABEL.key_id, Some(2)));
    for pem in [
        &include_bytes!("../../tests/data/sealed/private-key.pem")[..],
        include_bytes!("../../tests/data/sealed/private-key-with-seed.pem"),
    ] {
        let opened = PrivateKey::from_pem(pem).unwrap().open(text(&answer, "sealed"), LABEL).unwrap();
        assert_eq!(opened.expose(), text(&answer, "string"));
    }
}

#[test]
fn what_is_sealed_is_opened_by_its_private_key_only() {
    let (private, public) = PrivateKey::generate().unwrap();
    let string = PlainKey::new("sk_live_secret".to_owned());
    let sealed = PublicKey::parse(&public).unwrap().seal(&string, LABEL).unwrap();
    assert_eq!(private.open(&sealed, LABEL).unwrap().expose(), "sk_live_secret");
    let (other, _) = PrivateKey::generate().unwrap();
    assert_eq!(other.open(&sealed, LABEL).unwrap_err(), OpenError::Refused);
    assert_ne!(PublicKey::parse(&public).unwrap().seal(&string, LABEL).unwrap(), sealed, "never sealed alike");
}

#[test]
fn another_version_or_id_is_refused() {
    let sealed = text(&known_answer(), "sealed").to_owned();
    for label in [
        Label { version: 1, ..LABEL },
        Label { key_id: "key_4fJ2Zr8mQxWcT1pN7sKe", ..LABEL },
        Label { key_id: "", ..LABEL },
        // The same characters, divided otherwise.
        Label { key_id: "key_4fJ2Zr8mQxWcT1pN7sK", version: 2 },
    ] {
        assert_eq!(private_key().open(&sealed, label).unwrap_err(), OpenError::Refused, "{label:?}");
    }
}

#[test]
fn a_changed_byte_is_refused_wherever_it_is() {
    let length = BASE64_STANDARD.decode(text(&known_answer(), "sealed")).unwrap().len();
    assert_eq!(private_key().open(&changed(0), LABEL).unwrap_err(), OpenError::Format(0));
    for at in [1, 2, 500, ENCAPSULATED, ENCAPSULATED + 1, length - TAG_LEN - 1, length - TAG_LEN, length - 1] {
        assert_eq!(private_key().open(&changed(at), LABEL).unwrap_err(), OpenError::Refused, "byte {at}");
    }
}

#[test]
fn what_is_no_sealed_text_is_said_to_be_none() {
    for (sealed, expected) in [
        (String::new(), OpenError::Short),
        ("not base64!".to_owned(), OpenError::Base64),
        (BASE64_STANDARD.encode([2; 1200]), OpenError::Format(2)),
        (BASE64_STANDARD.encode([1; ENCAPSULATED]), OpenError::Short),
        (BASE64_STANDARD.encode([1; 1 + ENCAPSULATED + TAG_LEN - 1]), OpenError::Short),
        (BASE64_STANDARD.encode([1; 1 + ENCAPSULATED + TAG_LEN]), OpenError::Refused),
    ] {
        assert_eq!(private_key().open(&sealed, LABEL).unwrap_err(), expected, "{sealed}");
    }
}

#[test]
fn a_public_key_that_cannot_be_one_is_refused_before_anything_is_sealed() {
    let (_, public) = PrivateKey::generate().unwrap();
    for (base64, expected) in [
        ("-".repeat(1580), PublicKeyError::Base64),
        (BASE64_STANDARD.encode([0; 1183]), PublicKeyError::Length(1183)),
        // A coefficient of 4,095, above the modulus 3,329.
        (BASE64_STANDARD.encode([0xff; 1184]), PublicKeyError::Invalid),
        (public.replace('=', "A"), PublicKeyError::Length(1185)),
    ] {
        assert_eq!(PublicKey::parse(&base64).unwrap_err(), expected);
    }
}

#[test]
fn the_longest_string_fits_into_the_status() {
    let (_, public) = PrivateKey::generate().unwrap();
    // That of an imported key.
    let longest = PlainKey::new("x".repeat(256));
    let sealed = PublicKey::parse(&public).unwrap().seal(&longest, LABEL).unwrap();
    assert!(sealed.len() <= 2048, "{}", sealed.len());
}

#[test]
fn a_private_key_is_read_as_it_was_written() {
    let (private, public) = PrivateKey::generate().unwrap();
    let pem = private.to_pem().unwrap();
    assert!(pem.lines().all(|line| line.len() <= 64), "{}", pem.lines().map(str::len).max().unwrap());
    let sealed = PublicKey::parse(&public).unwrap().seal(&PlainKey::new("s".to_owned()), LABEL).unwrap();
    assert_eq!(PrivateKey::from_pem(pem.as_bytes()).unwrap().open(&sealed, LABEL).unwrap().expose(), "s");
    let known = include_str!("../../tests/data/sealed/private-key.pem");
    assert_eq!(*private_key().to_pem().unwrap(), known);
}

#[test]
fn a_file_that_holds_no_such_key_is_refused_with_a_remedy() {
    let pem = |der: &[u8]| {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der))
    };
    let key = include_str!("../../tests/data/sealed/private-key.pem");
    let whole: String = key.lines().filter(|line| !line.starts_with("---")).collect();
    let whole = BASE64_STANDARD.decode(whole).unwrap();
    for (text, remedy) in [
        (String::new(), "give the file that `keyturn seal-keygen` wrote"),
        ("sk_live_x".to_owned(), "give the file that `keyturn seal-keygen` wrote"),
        (pem(&[0x30, 0x00]), "make one with `keyturn seal-keygen`"),
        (pem(&whole[..whole.len() - 1]), "does not have 2400 bytes"),
    ] {
        let error = PrivateKey::from_pem(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(remedy), "{text}: {error}");
    }
}

#[test]
fn debug_shows_no_private_key() {
    let shown = format!("{:?}", private_key());
    assert!(shown.len() < 200 && !shown.contains('['), "{shown}");
}
