//! JSON pointers (RFC 6901), and what a document has where one leads.
//!
//! Whoever reads the document next may read it in another way: take the first of two members with one name or the last,
//! or take names for the same that differ in case. So a value is only one if nobody can read another.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Where a document names something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pointer(Box<[Arc<str>]>);

/// Why a text is no pointer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PointerError {
    #[error("does not begin with a slash; write it as /runtime_id")]
    NoSlash,
    #[error("has a ~ that is followed by neither 0 nor 1; write ~0 for ~ and ~1 for /")]
    Escape,
}

/// Why a document does not tell what stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unclear {
    NotJson,
    /// Two members have one name, or names that differ in case only.
    Ambiguous,
    /// What is there is an object, a list, a truth value or a fraction.
    NoName,
}

impl Unclear {
    /// As the log says it of a body.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "the body is not JSON",
            Self::Ambiguous => "the body has two members for what names the resource",
            Self::NoName => "what names the resource in the body is neither a string nor a whole number",
        }
    }
}

impl Pointer {
    /// Reads a pointer to something inside of a document.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let tokens = text.strip_prefix('/').ok_or(PointerError::NoSlash)?.split('/');
        tokens.map(|token| unescaped(token).ok_or(PointerError::Escape)).collect::<Result<_, _>>().map(Self)
    }

    /// The string or whole number that stands there; `None` if nothing does, or null.
    ///
    /// # Errors
    /// The document does not tell clearly.
    pub fn read(&self, document: &[u8]) -> Result<Option<String>, Unclear> {
        let mut json = serde_json::Deserializer::from_slice(document);
        let found = Seek(&self.0).deserialize(&mut json).and_then(|found| json.end().map(|()| found));
        match found.map_err(|_| Unclear::NotJson)? {
            Found::Nothing => Ok(None),
            Found::Name(name) => Ok(Some(name)),
            Found::Unclear(unclear) => Err(unclear),
        }
    }
}

fn unescaped(token: &str) -> Option<Arc<str>> {
    let (mut text, mut rest) = (String::with_capacity(token.len()), token);
    while let Some((before, after)) = rest.split_once('~') {
        text.push_str(before);
        text.push(match after.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        rest = &after[1..];
    }
    text.push_str(rest);
    Some(text.into())
}

/// What has been found so far.
enum Found {
    Nothing,
    Name(String),
    Unclear(Unclear),
}

/// Follows the rest of a pointer. It always reads to the end: what comes later may contradict.
struct Seek<'p>(&'p [Arc<str>]);

impl Seek<'_> {
    /// A scalar that is no name stands here.
    fn scalar(&self) -> Found {
        if self.0.is_empty() { Found::Unclear(Unclear::NoName) } else { Found::Nothing }
    }

    fn name(&self, name: impl Into<String>) -> Found {
        if self.0.is_empty() { Found::Name(name.into()) } else { Found::Nothing }
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, document: D) -> Result<Found, D::Error> {
        document.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Found, E> {
        Ok(Found::Nothing)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Found, E> {
        Ok(self.scalar())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Found, E> {
        Ok(self.name(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Found, E> {
        Ok(self.name(number.to_string()))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Found, E> {
        Ok(self.name(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let Some((token, rest)) = self.0.split_first() else {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Found::Unclear(Unclear::NoName));
        };
        let mut found = Found::Nothing;
        for at in 0_usize.. {
            let here = index(token) == Some(at);
            let read = if here { list.next_element_seed(Seek(rest))? } else { skip(&mut list)? };
            match read {
                Some(read) if here => found = read,
                Some(_) => {}
                None => break,
            }
        }
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Found, A::Error> {
        let Some((token, rest)) = self.0.split_first() else {
            while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(Found::Unclear(Unclear::NoName));
        };
        let mut found = None;
        let mut is_ambiguous = false;
        while let Some(alike) = object.next_key_seed(Compare(token))? {
            if alike == Alike::Exactly && found.is_none() {
                found = Some(object.next_value_seed(Seek(rest))?);
            } else {
                object.next_value::<IgnoredAny>()?;
                is_ambiguous |= alike != Alike::No;
            }
        }
        Ok(if is_ambiguous { Found::Unclear(Unclear::Ambiguous) } else { found.unwrap_or(Found::Nothing) })
    }
}

fn skip<'de, A: SeqAccess<'de>>(list: &mut A) -> Result<Option<Found>, A::Error> {
    Ok(list.next_element::<IgnoredAny>()?.map(|_| Found::Nothing))
}

/// The place in a list that a token names (RFC 6901, section 4).
fn index(token: &str) -> Option<usize> {
    let is_plain = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|_| is_plain)
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Alike {
    Exactly,
    /// Some readers take it for the same name.
    InAnotherCase,
    No,
}

/// Compares a member's name.
struct Compare<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Compare<'_> {
    type Value = Alike;

    fn deserialize<D: Deserializer<'de>>(self, name: D) -> Result<Alike, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Compare<'_> {
    type Value = Alike;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Alike, E> {
        Ok(match name {
            name if name == self.0 => Alike::Exactly,
            name if folded(name).eq(folded(self.0)) => Alike::InAnotherCase,
            _ => Alike::No,
        })
    }
}

/// Without case, as Go's encoding/json compares names: the long s is an s, the sign of the kelvin a k.
fn folded(name: &str) -> impl Iterator<Item = char> {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pointer: &str, document: &str) -> Result<Option<String>, Unclear> {
        Pointer::parse(pointer).unwrap().read(document.as_bytes())
    }

    #[test]
    fn what_is_no_pointer_is_refused_with_a_remedy() {
        for (text, expected) in [
            ("", PointerError::NoSlash),
            ("model", PointerError::NoSlash),
            ("#/model", PointerError::NoSlash),
            ("/a~", PointerError::Escape),
            ("/a~2", PointerError::Escape),
        ] {
            assert_eq!(Pointer::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_document_that_two_readers_could_read_differently_is_unclear() {
        for (document, expected) in [
            ("", Unclear::NotJson),
            ("model=a", Unclear::NotJson),
            ("\u{feff}{\"model\":\"a\"}", Unclear::NotJson),
            ("{'model':'a'}", Unclear::NotJson),
            (r#"{"model":"a"} {}"#, Unclear::NotJson),
            (r#"{"model":"a""#, Unclear::NotJson),
            (r#"{"model":"a","x":NaN}"#, Unclear::NotJson),
            (r#"{"model":"a","model":"b"}"#, Unclear::Ambiguous),
            (r#"{"model":"a","model":"a"}"#, Unclear::Ambiguous),
            (r#"{"model":"a","\u006dodel":"b"}"#, Unclear::Ambiguous),
            (r#"{"model":"a","Model":"b"}"#, Unclear::Ambiguous),
            (r#"{"MODEL":"b"}"#, Unclear::Ambiguous),
            (r#"{"model":true}"#, Unclear::NoName),
            (r#"{"model":1.5}"#, Unclear::NoName),
            (r#"{"model":18446744073709551616}"#, Unclear::NoName),
            (r#"{"model":["a"]}"#, Unclear::NoName),
            (r#"{"model":{"a":1}}"#, Unclear::NoName),
        ] {
            assert_eq!(read("/model", document), Err(expected), "{document}");
        }
        assert_eq!(read("/runtimes", r#"{"runtimeſ":"a"}"#), Err(Unclear::Ambiguous));
        assert_eq!(read("/kind", "{\"\u{212a}ind\":\"a\"}"), Err(Unclear::Ambiguous));
        assert_eq!(read("/a", &"[".repeat(100_000)), Err(Unclear::NotJson));
    }

    #[test]
    fn a_name_is_read_where_the_pointer_leads() {
        for (pointer, document, expected) in [
            ("/model", "{}", None),
            ("/model", r#"{"models":"a"}"#, None),
            ("/model", r#"{"model":null}"#, None),
            ("/model", r#"["model"]"#, None),
            ("/model", r#""model""#, None),
            ("/a/b", r#"{"a":"b"}"#, None),
            ("/a/01", r#"{"a":[1,2]}"#, None),
            ("/a/2", r#"{"a":[1,2]}"#, None),
            ("/model", r#"{"x":[{"model":"b"}],"model":"a"}"#, Some("a")),
            ("/model", r#"{"model":"\u0061"}"#, Some("a")),
            ("/model", r#"{"model":2}"#, Some("2")),
            ("/model", r#"{"model":-2}"#, Some("-2")),
            ("/model", r#"{"model":""}"#, Some("")),
            ("/a/b", r#"{"b":"c","a":{"x":{},"b":"d"}}"#, Some("d")),
            ("/a/1", r#"{"a":["x","y","z"]}"#, Some("y")),
            ("/a~1b~0/", r#"{"a/b~":{"":"c"}}"#, Some("c")),
        ] {
            assert_eq!(read(pointer, document), Ok(expected.map(str::to_owned)), "{pointer} {document}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_documents_never_panic(pointer in "(/[a-b0-1~]{0,2}){1,3}", document in "[\\[\\]{}\",:ab01~ ]{0,40}") {
            if let Ok(pointer) = Pointer::parse(&pointer) {
                let _ = pointer.read(document.as_bytes());
            }
        }

        #[test]
        fn a_document_of_one_reading_is_read_so(name in "[a-z]{1,8}", value in "\\PC{0,12}") {
            let document = serde_json::json!({"x": [1, {"y": null}], &*name: value}).to_string();
            prop_assume!(name != "x");
            prop_assert_eq!(read(&format!("/{name}"), &document), Ok(Some(value)));
        }
    }
}
