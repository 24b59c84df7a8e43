//! Scopes: permission strings such as `transcripts:read`.

use std::fmt;
use std::sync::Arc;

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
        glob(self.0.as_bytes(), wanted.as_bytes())
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
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ScopeSet {
    exact: Box<[Scope]>,
    globs: Box<[Scope]>,
}

impl ScopeSet {
    #[must_use]
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let (mut globs, mut exact): (Vec<_>, Vec<_>) =
            scopes.into_iter().partition(|scope| scope.0.contains('*'));
        for list in [&mut globs, &mut exact] {
            list.sort_unstable();
            list.dedup();
        }
        Self {
            exact: exact.into(),
            globs: globs.into(),
        }
    }

    /// Whether some held scope grants `wanted`.
    #[must_use]
    pub fn grants(&self, wanted: &str) -> bool {
        self.exact
            .binary_search_by(|scope| scope.as_str().cmp(wanted))
            .is_ok()
            || self.globs.iter().any(|scope| scope.grants(wanted))
    }

    /// Every scope once, those without `*` first, each group in byte order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.exact.iter().chain(&self.globs).map(Scope::as_str)
    }
}

/// Greedy match with one point to come back to: the last `*`. Each step moves one of two cursors that never
/// pass each other twice, so the work is bounded by pattern × text only in theory that `*` runs make linear.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            back = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = back {
            back = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}
