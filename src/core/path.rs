//! The path of a request as routes see it.
//!
//! A proxy that asks about `/a/../b` in front of a backend that serves `/b` makes a mockery of routes, so a
//! spelling on which servers are known to disagree is refused instead of being put right.

use std::borrow::Cow;

/// Why a request target has no unambiguous path.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum PathError {
    NotAbsolute,
    EmptySegment,
    DotSegment,
    Character,
    EncodedCharacter,
    BrokenEncoding,
    EncodedTwice,
    NotUtf8,
}

impl PathError {
    /// What is wrong with the target.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotAbsolute => "the request target does not begin with a slash",
            Self::EmptySegment => "the path has an empty segment",
            Self::DotSegment => "the path has a dot segment",
            Self::Character => "the path has a character that servers treat differently",
            Self::EncodedCharacter => "the path has an encoded character that servers treat differently",
            Self::BrokenEncoding => "the path has a broken percent-encoding",
            Self::EncodedTwice => "the path is encoded twice",
            Self::NotUtf8 => "the path is not UTF-8",
        }
    }
}

/// Splits a request target in origin form (RFC 9112, section 3.2.1) at its first `?`.
#[must_use]
pub fn split(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    target.iter().position(|byte| *byte == b'?').map_or((target, None), |at| (&target[..at], Some(&target[at + 1..])))
}

/// The path of a request target: without its query, percent-decoded once, one trailing slash dropped. Borrows
/// unless something is encoded.
///
/// # Errors
/// A path that proxies and backends may take for different ones.
pub fn of_target(target: &[u8]) -> Result<Cow<'_, str>, PathError> {
    let (path, _) = split(target);
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut encoded = false;
    let mut segment = 0;
    for (at, byte) in path.iter().enumerate().skip(1) {
        match byte {
            b'/' => {
                check_segment(&path[segment + 1..at])?;
                segment = at;
            }
            b'%' => encoded = true,
            // nginx ends the path at a #, servlet containers end a segment at a ;, Windows splits at a \, and
            // raw spaces, controls and bytes outside ASCII are not allowed at all (RFC 3986, section 3.3).
            b'#' | b';' | b'\\' | ..=b' ' | 0x7f.. => return Err(PathError::Character),
            _ => {}
        }
    }
    let last = &path[segment + 1..];
    let path = if last.is_empty() && path.len() > 1 { &path[..path.len() - 1] } else { path };
    if last == b"." || last == b".." {
        return Err(PathError::DotSegment);
    }
    if encoded {
        return decode(path).map(Cow::Owned);
    }
    std::str::from_utf8(path).map(Cow::Borrowed).map_err(|_| PathError::NotUtf8)
}

fn check_segment(segment: &[u8]) -> Result<(), PathError> {
    match segment {
        b"" => Err(PathError::EmptySegment),
        b"." | b".." => Err(PathError::DotSegment),
        _ => Ok(()),
    }
}

fn decode(path: &[u8]) -> Result<String, PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            decoded.push(*byte);
            continue;
        }
        let byte = octet(rest).ok_or(PathError::BrokenEncoding)?;
        rest = &rest[2..];
        match byte {
            // What would end a segment or the path, or make a dot segment, for whoever decodes before splitting.
            b'/' | b'\\' | b'.' | b';' | b'?' | b'#' | ..=0x1f | 0x7f => {
                return Err(PathError::EncodedCharacter);
            }
            _ => decoded.push(byte),
        }
    }
    if decoded.windows(3).any(|octets| octets[0] == b'%' && octet(&octets[1..]).is_some()) {
        return Err(PathError::EncodedTwice);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
    if decoded.contains(char::is_control) {
        return Err(PathError::EncodedCharacter);
    }
    Ok(decoded)
}

/// The octet that the two hexadecimal digits at the start of `digits` spell.
pub(crate) fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ambiguous_paths_are_refused() {
        for (target, expected) in [
            ("", PathError::NotAbsolute),
            ("*", PathError::NotAbsolute),
            ("a/b", PathError::NotAbsolute),
            ("?a=b", PathError::NotAbsolute),
            ("http://host/a", PathError::NotAbsolute),
            ("//", PathError::EmptySegment),
            ("//host/a", PathError::EmptySegment),
            ("/a//b", PathError::EmptySegment),
            ("/a//", PathError::EmptySegment),
            ("/.", PathError::DotSegment),
            ("/..", PathError::DotSegment),
            ("/a/../b", PathError::DotSegment),
            ("/a/./b", PathError::DotSegment),
            ("/a/..", PathError::DotSegment),
            ("/a/../", PathError::DotSegment),
            ("/a/..?q", PathError::DotSegment),
            ("/a;b", PathError::Character),
            ("/a/..;/b", PathError::Character),
            ("/a\\b", PathError::Character),
            ("/a#b", PathError::Character),
            ("/a b", PathError::Character),
            ("/a\tb", PathError::Character),
            ("/a\0", PathError::Character),
            ("/a\u{7f}", PathError::Character),
            ("/é", PathError::Character),
            ("/a%2fb", PathError::EncodedCharacter),
            ("/a%2Fb", PathError::EncodedCharacter),
            ("/a%5cb", PathError::EncodedCharacter),
            ("/%2e%2e/b", PathError::EncodedCharacter),
            ("/a%2Ejs", PathError::EncodedCharacter),
            ("/a%00", PathError::EncodedCharacter),
            ("/a%0d%0a", PathError::EncodedCharacter),
            ("/a%3bb", PathError::EncodedCharacter),
            ("/a%3Fb", PathError::EncodedCharacter),
            ("/a%23b", PathError::EncodedCharacter),
            ("/a%7f", PathError::EncodedCharacter),
            ("/a%C2%85", PathError::EncodedCharacter),
            ("/a%252e", PathError::EncodedTwice),
            ("/a%25%32%65", PathError::EncodedTwice),
            ("/a%", PathError::BrokenEncoding),
            ("/a%2", PathError::BrokenEncoding),
            ("/a%zz", PathError::BrokenEncoding),
            ("/a%+1", PathError::BrokenEncoding),
            ("/%c0%ae%c0%ae/", PathError::NotUtf8),
            ("/a%ff", PathError::NotUtf8),
        ] {
            assert_eq!(of_target(target.as_bytes()), Err(expected), "{target:?}");
        }
    }

    #[test]
    fn the_rest_is_decoded_once() {
        for (target, expected) in [
            ("/", "/"),
            ("/?q=//..", "/"),
            ("/a/", "/a"),
            ("/a/?", "/a"),
            ("/a/b.c/..d/...", "/a/b.c/..d/..."),
            ("/%61dmin", "/admin"),
            ("/caf%C3%A9/x%20y", "/café/x y"),
            ("/100%25", "/100%"),
            ("/a%25/b", "/a%/b"),
            ("/a:b@c,d=e!f$g&h'i(j)*+~_-", "/a:b@c,d=e!f$g&h'i(j)*+~_-"),
        ] {
            assert_eq!(of_target(target.as_bytes()).as_deref(), Ok(expected), "{target}");
        }
    }

    #[test]
    fn a_path_without_encoding_is_borrowed() {
        assert!(matches!(of_target(b"/v1/models/a?b=%20"), Ok(Cow::Borrowed("/v1/models/a"))));
    }

    #[test]
    fn the_query_starts_at_the_first_question_mark() {
        assert_eq!(split(b"/a?b?c"), (&b"/a"[..], Some(&b"b?c"[..])));
        assert_eq!(split(b"/a"), (&b"/a"[..], None));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(target: Vec<u8>) {
            let _ = of_target(&target);
        }

        #[test]
        fn no_accepted_path_holds_anything_ambiguous(target in "/([a-b./;%2eEfF5c3?#\\\\]|%2[0-9a-f]|%61){0,12}") {
            if let Ok(path) = of_target(target.as_bytes()) {
                prop_assert!(path.starts_with('/') && !path.contains("//"), "{}", path);
                prop_assert!(path.len() == 1 || !path.ends_with('/'), "{}", path);
                prop_assert!(!path.split('/').any(|segment| segment == "." || segment == ".."), "{}", path);
                prop_assert!(!path.contains([';', '\\', '?', '#']), "{}", path);
            }
        }

        #[test]
        fn encoding_any_harmless_character_changes_nothing(segments in prop::collection::vec("[a-zA-Z0-9_~-]{1,6}", 1..5), mask: u64) {
            let plain = format!("/{}", segments.join("/"));
            let encode = |(at, c): (usize, char)| {
                if c != '/' && mask >> (at % 64) & 1 == 1 { format!("%{:02x}", u32::from(c)) } else { c.to_string() }
            };
            let encoded: String = plain.chars().enumerate().map(encode).collect();
            let path = of_target(encoded.as_bytes());
            prop_assert_eq!(path.as_deref(), Ok(&*plain));
        }
    }
}
