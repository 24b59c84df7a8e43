//! The ApiKeyUsage of a key or of an owner: where it holds what was spent, it is not replaced by an empty one unless
//! somebody says so.

use std::sync::Arc;

/// What is known of the object that counts for a key or an owner.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageObject {
    /// Uid of the one that is there.
    pub found: Option<Arc<str>>,
    /// There are quotas or credits, so that an empty one would give back what was spent.
    pub metered: bool,
    /// Uid of a lost one, if somebody says that what it held is to be forgotten.
    pub reset: Option<Arc<str>>,
}

/// How the ApiKeyUsage that is there stands to the one that the status names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// They are the same.
    Kept,
    /// There is none, and there may be a new one.
    Missing,
    /// There is one that the status is to name.
    Unnamed(Arc<str>),
    /// The one that the status names is gone, and with it what was spent.
    Lost(Arc<str>),
}

impl UsageObject {
    /// How it stands to the one of the uid that the status names.
    #[must_use]
    pub fn standing(&self, named: Option<&Arc<str>>) -> Standing {
        match (named, &self.found) {
            (Some(named), Some(found)) if named == found => Standing::Kept,
            (Some(named), _) if self.metered && self.reset.as_ref() != Some(named) => Standing::Lost(Arc::clone(named)),
            (_, None) => Standing::Missing,
            (_, Some(found)) => Standing::Unnamed(Arc::clone(found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_what_was_spent_is_replaced_only_when_somebody_names_it() {
        let unnamed = |uid: &str| Standing::Unnamed(uid.into());
        let lost = |uid: &str| Standing::Lost(uid.into());
        for (named, found, metered, reset, expected) in [
            (None, None, false, None, Standing::Missing),
            (None, None, true, None, Standing::Missing),
            (None, Some("u1"), true, None, unnamed("u1")),
            (Some("u1"), Some("u1"), true, None, Standing::Kept),
            (Some("u1"), None, false, None, Standing::Missing),
            (Some("u1"), Some("u2"), false, None, unnamed("u2")),
            (Some("u1"), None, true, None, lost("u1")),
            (Some("u1"), None, true, Some("u0"), lost("u1")),
            (Some("u1"), Some("u2"), true, Some(""), lost("u1")),
            (Some("u1"), None, true, Some("u1"), Standing::Missing),
            (Some("u1"), Some("u2"), true, Some("u1"), unnamed("u2")),
            // Once done, the same word does nothing more.
            (Some("u2"), Some("u2"), true, Some("u1"), Standing::Kept),
            (Some("u2"), None, true, Some("u1"), lost("u2")),
        ] {
            let object = UsageObject { found: found.map(Arc::from), metered, reset: reset.map(Arc::from) };
            let named = named.map(Arc::from);
            assert_eq!(object.standing(named.as_ref()), expected, "{named:?} {object:?}");
        }
    }
}
