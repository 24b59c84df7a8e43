//! What an API's owner lets keys of other namespaces have.

use std::sync::Arc;

use super::scope::ScopeSet;
use super::selector::Selector;

/// One of `spec.grants` of a ProtectedApi. A key has to fit into one grant with everything that it would have.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    pub name: Arc<str>,
    /// Selects namespaces by their labels.
    pub from: Selector,
    /// What scopes may be; a `*` matches any run of characters.
    pub scopes: ScopeSet,
    pub roles: Vec<Arc<str>>,
    /// What the tier may be, also one by default. Empty: keys have none.
    pub tiers: Vec<Arc<str>>,
    pub owners: Owners,
}

/// Which owners may be claimed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Owners {
    #[default]
    Nobody,
    /// ApiKeyOwners that list the namespace.
    Declared,
}
