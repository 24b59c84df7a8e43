//! Scopes: permission strings such as `transcripts:read`.

use std::fmt;
use std::sync::Arc;

use super::glob;

/// Characters of the longest scope.
pub const MAX_LENGTH: usize = 128;

/// A string that is no scope.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no scope; use 1 to 128 letters, digits and . _ - : * /")]
pub struct ScopeError(pub String);

/// A scope as it is held or demanded: `[A-Za-z0-9_:.*/-]{1,128}`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Scope(Arc<str>);

impl Scope {
    /// Checks characters and length.
    ///
    /// # Errors
    /// A string that is empty, too long or has a character outside the set.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.is_empty() || text.len() > MAX_LENGTH || !text.bytes().all(is_scope_byte) {
            return Err(ScopeError(text.to_owned()));
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether holding this scope satisfies a demand for `wanted`. `*` in the held scope matches any run of
    /// characters, also an empty one; in the demand it is a character like any other. Linear time.
    #[must_use]
    pub fn grants(&self, wanted: &str) -> bool {
        glob::matches(&self.0, wanted)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether a byte may stand in a scope.
#[must_use]
pub const fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b':' | b'*' | b'/')
}

/// The scopes that a key holds: sorted, each once, those with a `*` apart, so that the usual demand is one
/// binary search.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct ScopeSet {
    exact: Box<[Scope]>,
    globs: Box<[Scope]>,
}

impl ScopeSet {
    #[must_use]
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let (mut globs, mut exact): (Vec<_>, Vec<_>) = scopes.into_iter().partition(|scope| scope.0.contains('*'));
        for list in [&mut globs, &mut exact] {
            list.sort_unstable();
            list.dedup();
        }
        Self { exact: exact.into(), globs: globs.into() }
    }

    /// Whether some held scope grants `wanted`.
    #[must_use]
    pub fn grants(&self, wanted: &str) -> bool {
        self.exact.binary_search_by(|scope| scope.as_str().cmp(wanted)).is_ok()
            || self.globs.iter().any(|scope| scope.grants(wanted))
    }

    /// Whether everything that holding `scope` would grant is granted by some scope of this set alone.
    ///
    /// One pattern covers another if and only if it matches it read as text: a `*` of the text can only be taken in
    /// by a `*` of the pattern, which takes in whatever else could stand there. And if it does not match, then the
    /// text itself, which is a scope like any other, is granted by the one and not by the other.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        self.grants(scope.as_str())
    }

    /// Every scope once, those without `*` first, each group in byte order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.exact.iter().chain(&self.globs).map(Scope::as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(scopes: &[&str]) -> ScopeSet {
        ScopeSet::new(scopes.iter().map(|scope| Scope::parse(scope).unwrap()))
    }

    /// One character at a time, trying every run for a `*`.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skipped| naive(rest, &text[skipped..])),
            [byte, rest @ ..] => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    #[test]
    fn refuses_what_is_no_scope() {
        for text in ["", "a b", "a,b", "é", "a\n", "a\"b", &"x".repeat(129)] {
            assert_eq!(Scope::parse(text), Err(ScopeError(text.to_owned())), "{text}");
        }
        assert!(Scope::parse(&"x".repeat(128)).is_ok());
        assert_eq!(Scope::parse("a.Z_9-:*/").as_ref().map(Scope::as_str), Ok("a.Z_9-:*/"));
    }

    #[test]
    fn a_star_matches_any_run() {
        for (held, wanted, expected) in [
            ("docs.read", "docs.read", true),
            ("docs.read", "docs.reads", false),
            ("docs.*", "docs.read", true),
            ("docs.*", "docs.", true),
            ("docs.*", "docs", false),
            ("*", "anything:at/all", true),
            ("*.read", "docs.read", true),
            ("*.read", "docs.write", false),
            ("a*a", "a", false),
            ("a*b*c", "abbc", true),
            ("a*bc*c", "abc", false),
            ("**", "x", true),
            ("docs.read", "docs.*", false),
            ("docs.*", "docs.*", true),
        ] {
            assert_eq!(set(&[held]).grants(wanted), expected, "{held} {wanted}");
        }
    }

    #[test]
    fn a_set_holds_each_scope_once_in_order() {
        let scopes = set(&["b", "a", "x*", "b", "a*", "x*"]);
        assert_eq!(scopes.iter().collect::<Vec<_>>(), ["a", "b", "a*", "x*"]);
        assert!(scopes.grants("b") && scopes.grants("apple") && !scopes.grants("c"));
    }

    #[test]
    fn a_scope_with_a_star_is_covered_as_a_pattern() {
        for (held, claimed, expected) in [
            ("docs.read", "docs.*", false),
            ("docs.*", "*", false),
            ("docs.*", "docs*", false),
            ("docs.*", "*.read", false),
            ("docs.*.read", "docs.*", false),
            ("docs.*", "docs.read", true),
            ("docs.*", "docs.*", true),
            ("docs.*", "docs.*.read", true),
            ("docs.*", "docs.**", true),
            ("*", "*", true),
            ("a*a", "a*a*a", true),
        ] {
            assert_eq!(set(&[held]).covers(&Scope::parse(claimed).unwrap()), expected, "{held} {claimed}");
        }
        // Each by itself, however much they are together.
        assert!(!set(&["a*", "b*"]).covers(&Scope::parse("*").unwrap()));
    }

    proptest! {
        #[test]
        fn what_is_covered_grants_nothing_more(held in "[ab*]{1,6}", claimed in "[ab*]{1,5}", wanted in "[ab*]{1,10}") {
            let [held, claimed] = [held, claimed].map(|text| Scope::parse(&text).unwrap());
            let covered = ScopeSet::new([held.clone()]).covers(&claimed);
            prop_assert!(!covered || !claimed.grants(&wanted) || held.grants(&wanted));
            prop_assert!(covered || (claimed.grants(claimed.as_str()) && !held.grants(claimed.as_str())));
        }

        #[test]
        fn a_set_grants_what_one_of_its_scopes_grants(scopes in prop::collection::vec("[ab*]{1,4}", 0..5), wanted in "[ab]{1,6}") {
            let scopes: Vec<_> = scopes.iter().map(|scope| Scope::parse(scope).unwrap()).collect();
            let expected = scopes.iter().any(|scope| naive(scope.as_str().as_bytes(), wanted.as_bytes()));
            prop_assert_eq!(ScopeSet::new(scopes).grants(&wanted), expected);
        }
    }
}
