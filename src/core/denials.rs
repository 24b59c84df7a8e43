//! How an API tells refusals, where not as all APIs tell them.

use std::collections::HashMap;
use std::sync::Arc;

use super::verdict::Code;

/// Statuses and sentences of an API's own, by code as its callers are told it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Denials(HashMap<Arc<str>, Wording>);

/// What is told of one code; `None`: as all APIs tell it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wording {
    /// HTTP status, 400 to 599: whatever is told is a refusal.
    pub status: Option<u16>,
    /// One sentence for the caller.
    pub detail: Option<Arc<str>>,
}

/// What a caller is told of a refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Told<'a> {
    /// HTTP status; a proxy may be unable to carry it.
    pub status: u16,
    pub detail: &'a str,
}

impl FromIterator<(Arc<str>, Wording)> for Denials {
    fn from_iter<I: IntoIterator<Item = (Arc<str>, Wording)>>(wordings: I) -> Self {
        Self(wordings.into_iter().collect())
    }
}

impl Denials {
    /// What is told of `code`, which callers know as `name`: by that name, else by the code's own.
    #[must_use]
    pub fn told(&self, code: Code, name: &str) -> Told<'_> {
        let own = self.0.get(name).or_else(|| self.0.get(code.as_str()));
        Told {
            status: own.and_then(|own| own.status).unwrap_or_else(|| code.status()),
            detail: own.and_then(|own| own.detail.as_deref()).unwrap_or_else(|| code.detail()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_says_itself_is_told_and_the_rest_as_by_all() {
        let wording = |status, detail: Option<&str>| Wording { status, detail: detail.map(Into::into) };
        let denials = Denials::from_iter([
            ("REVOKED".into(), wording(Some(403), Some("Gone."))),
            ("EXPIRED".into(), wording(None, Some("Too late."))),
            ("MODEL_FORBIDDEN".into(), wording(Some(404), None)),
            ("RESOURCE_FORBIDDEN".into(), wording(Some(451), None)),
        ]);
        let forbidden = Code::ResourceForbidden;
        for (code, name, expected) in [
            (Code::Unauthorized, "UNAUTHORIZED", (401, Code::Unauthorized.detail())),
            (Code::Revoked, "REVOKED", (403, "Gone.")),
            (Code::Expired, "EXPIRED", (403, "Too late.")),
            (forbidden, "MODEL_FORBIDDEN", (404, forbidden.detail())),
            (forbidden, "VOICE_FORBIDDEN", (451, forbidden.detail())),
        ] {
            let told = denials.told(code, name);
            assert_eq!((told.status, told.detail), expected, "{name}");
        }
    }
}
