//! Text that may be shown to people although a client has chosen it: nothing in it can be a key.
//!
//! Where keys of another make are taken over, any string of sixteen visible characters may be one. So whatever is as long
//! is told by its length only, unless a manifest says the same; and beside something so long only plain words are shown, for a
//! key may have slashes.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::core::source;

/// Bytes of the shortest string that can be a key.
const SHORTEST_KEY: usize = *source::LENGTHS.start();

/// Segments of a path that are shown, and parameters of a query, and addresses of a list.
const MOST_PARTS: usize = 16;

/// Characters of a text from a manifest that are shown.
const LONGEST: usize = 1_024;

/// Such a text. Visible ASCII; what is not shown stands there as `(44 bytes)`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Shown(Box<str>);

impl Shown {
    /// What a manifest or an option of our own says.
    #[must_use]
    pub fn configured(text: &str) -> Self {
        Self(text.chars().take(LONGEST).collect())
    }

    /// Text in one piece, such as a method.
    #[must_use]
    pub fn brief(text: &[u8]) -> Self {
        Self(brief(text).into())
    }

    /// Names with `-`, `.` or `/` between their words, as objects have them.
    #[must_use]
    pub fn name(text: &[u8]) -> Self {
        let is_word = |word: &[u8]| {
            let letters =
                word.strip_prefix(b"v").filter(|rest| rest.iter().all(u8::is_ascii_digit)).map_or(word, |_| b"");
            word.len() < SHORTEST_KEY && letters.iter().all(u8::is_ascii_lowercase)
        };
        let is_name = text.len() <= LONGEST && text.split(|byte| b"-./".contains(byte)).all(is_word);
        Self(if is_name { String::from_utf8_lossy(text).into() } else { brief(text).into() })
    }

    /// A path and the names in its query. `template`: the path of the route that it has matched.
    #[must_use]
    pub fn target(text: &[u8], template: Option<&str>) -> Self {
        let (path, query) = match text.iter().position(|byte| *byte == b'?') {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let is_literal = |part: &[u8]| {
            let mut literals = template.into_iter().flat_map(|path| path.split('/')).filter(|part| !part.contains('{'));
            literals.any(|literal| literal.as_bytes() == part)
        };
        let segments = || path.split(|byte| *byte == b'/');
        let beside_a_long_one = segments().any(|part| part.len() >= SHORTEST_KEY && !is_literal(part));
        let show = |part: &[u8]| match part {
            part if is_literal(part) => String::from_utf8_lossy(part).into_owned(),
            part if beside_a_long_one && !is_plain_word(part) => length(part),
            part => brief(part),
        };
        let mut shown = joined(segments().map(show), "/");
        if let Some(query) = query {
            shown.push('?');
            shown.push_str(&joined(query.split(|byte| *byte == b'&').map(parameter), "&"));
        }
        Self(shown.into())
    }

    /// Addresses with commas between them, in one line or several.
    pub fn addresses<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let address = |text: &[u8]| {
            let address = std::str::from_utf8(text).ok().and_then(|text| text.parse::<IpAddr>().ok());
            address.map_or_else(|| length(text), |address| address.to_string())
        };
        let entries = lines.flat_map(|line| line.split(|byte| *byte == b','));
        Self(joined(entries.map(|entry| address(entry.trim_ascii())), ", ").into())
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What cannot be a key, for it is too short.
fn brief(text: &[u8]) -> String {
    if text.len() < SHORTEST_KEY { text.escape_ascii().to_string() } else { length(text) }
}

fn length(text: &[u8]) -> String {
    match text.len() {
        1 => "(1 byte)".to_owned(),
        bytes => format!("({bytes} bytes)"),
    }
}

fn is_plain_word(part: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte);
    part.len() < SHORTEST_KEY && part.iter().all(is_plain)
}

/// A parameter of a query by its name. Its value is never shown, and what has no name is a value.
fn parameter(part: &[u8]) -> String {
    match part.iter().position(|byte| *byte == b'=') {
        Some(at) if is_plain_word(&part[..at]) => format!("{}={}", brief(&part[..at]), length(&part[at + 1..])),
        _ => length(part),
    }
}

fn joined(parts: impl Iterator<Item = String>, separator: &str) -> String {
    let mut text = String::new();
    for (at, part) in parts.enumerate() {
        if at > 0 {
            text.push_str(separator);
        }
        if at == MOST_PARTS {
            text.push('…');
            break;
        }
        text.push_str(&part);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINTED: &str = "sk_live_0123456789abcdefABCDEF0123456789abcdef";

    fn target(text: &str) -> String {
        Shown::target(text.as_bytes(), None).to_string()
    }

    #[test]
    fn what_may_be_a_key_is_told_by_its_length() {
        for (text, expected) in [
            (format!("/v1/{MINTED}/x"), "/v1/(46 bytes)/x"),
            (format!("/v1?{MINTED}"), "/v1?(46 bytes)"),
            (format!("/v1?{MINTED}=1"), "/v1?(48 bytes)"),
            (format!("/v1?api_key={MINTED}&page=2"), "/v1?api_key=(46 bytes)&page=(1 byte)"),
            (format!("/v1?short={}", &MINTED[..4]), "/v1?short=(4 bytes)"),
            // A key may have slashes, or be encoded.
            ("/v1/aB3/0123456789abcdefg/Zz/==".to_owned(), "/v1/(3 bytes)/(17 bytes)/(2 bytes)/(2 bytes)"),
            ("/%73%6b%5f%6c%69%76%65".to_owned(), "/(21 bytes)"),
            ("/550e8400-e29b-41d4-a716-446655440000".to_owned(), "/(36 bytes)"),
        ] {
            assert_eq!(target(&text), expected, "{text}");
        }
        assert_eq!(Shown::brief(MINTED.as_bytes()).to_string(), "(46 bytes)");
        for name in [
            MINTED,
            "0123456789abcdef",
            "550e8400-e29b-41d4-a716-446655440000",
            "A1B2C-3D4E5-F6G7H",
            "a1b2c-3d4e5-f6g7h",
        ] {
            assert_eq!(Shown::name(name.as_bytes()).to_string(), format!("({} bytes)", name.len()));
        }
        let lines = [&b"192.0.2.1, unknown"[..], MINTED.as_bytes(), b""];
        let shown = Shown::addresses(lines.into_iter()).to_string();
        assert_eq!(shown, "192.0.2.1, (7 bytes), (46 bytes), (0 bytes)");
    }

    #[test]
    fn what_cannot_be_a_key_is_shown() {
        for text in ["/", "", "*", "/v1/Models", "//a/../b", "/a;x/%2e%2E/b%2Fc", "/a\\b"] {
            assert_eq!(target(text), text.replace('\\', "\\\\"), "{text}");
        }
        assert_eq!(target("/a\u{0}\u{e9}"), "/a\\x00\\xc3\\xa9");
        for name in ["speech/transcripts-v2", "team-a/ci-7f9c4", "A/b"] {
            assert_eq!(Shown::name(name.as_bytes()).to_string(), name);
        }
        let template = Some("/v1/transcription-jobs/{id}");
        let shown = Shown::target(b"/v1/transcription-jobs/0123456789abcdef", template);
        assert_eq!(shown.to_string(), "/v1/transcription-jobs/(16 bytes)");
    }

    #[test]
    fn long_texts_are_cut_off() {
        let long = "/a".repeat(100) + "?" + &"b=1&".repeat(100);
        let shown = target(&long);
        assert!(shown.starts_with("/a/a/a") && shown.contains("/…?b=(1 byte)&") && shown.ends_with('…'), "{shown}");
        assert!(shown.len() < 500, "{}", shown.len());
    }

    proptest! {
        #[test]
        fn no_string_of_the_length_of_a_key_is_shown(
            key in "[!->@-~&&[^/&]]{16,80}", before in "[a-z/?&=]{0,20}", after in "[/?&=][a-z/?&=]{0,20}",
        ) {
            let shown = target(&format!("/{before}/{key}{after}"));
            prop_assert!(!shown.contains(&*key), "{shown}");
            let shown = target(&format!("/v1?{before}&{key}{after}"));
            prop_assert!(!shown.contains(&*key), "{shown}");
            prop_assert!(!Shown::brief(key.as_bytes()).to_string().contains(&*key));
        }
    }
}
