//! A key from another namespace than its API's is a claim: all that it would have must be in one grant of the API
//! that selects its namespace, and its owner must be one that lists its namespace.
//!
//! Grants do not add up: what one allows with a small tier does not come with the large tier of another. Nothing
//! is looked up before it is granted, so that a stranger learns nothing about tiers and roles by guessing names.

use std::borrow::Cow;
use std::fmt::{self, Display};
use std::sync::Arc;

use super::{Claim, Reason, Rejection};
use crate::core::grant::{Grant, Owners};
use crate::core::owner::Owner;
use crate::core::policy::{Api, Policies};
use crate::core::scope::Scope;

/// Names that a message lists before it says how many more there are; a condition's message is bounded.
const LISTED: usize = 8;

/// Judges a claim from another namespace, and answers the owner that it names.
///
/// # Errors
/// It claims more than it is granted.
pub(super) fn admit(
    namespace: &Arc<str>,
    claim: &Claim<'_>,
    api: &Api,
    policies: &Policies,
) -> Result<Option<Arc<Owner>>, Rejection> {
    let Some(labels) = policies.namespaces.get(namespace) else {
        let message = format!(
            "spec.apiRef.namespace: the labels of namespace {namespace}, by which ProtectedApi {} grants, are not known yet; the key is judged again once they are",
            api.name
        );
        return Err(Rejection::new(Reason::NamespaceNotAllowed, message));
    };
    let selecting: Vec<&Grant> = api.grants.iter().filter(|grant| grant.from.selects(labels)).collect();
    let mut nearest: Option<(&Grant, Excess<'_>)> = None;
    // What another owner says about tiers is no business of a key that may not claim it.
    let owner = claim.owner.and_then(|id| policies.owners.get(&api.name.namespace, id));
    let owner = owner.filter(|declared| declared.namespaces.contains(namespace));
    for grant in &selecting {
        let Some(excess) = excess(grant, claim, owner.map(|owner| &**owner), api) else {
            return match (claim.owner, owner) {
                (Some(id), None) => Err(undeclared(id, namespace, api)),
                _ => Ok(owner.cloned()),
            };
        };
        if nearest.as_ref().is_none_or(|(_, other)| excess.rank() > other.rank()) {
            nearest = Some((grant, excess));
        }
    }
    let Some((grant, excess)) = nearest else {
        let message = format!(
            "spec.apiRef.namespace: no grant of ProtectedApi {} selects namespace {namespace} by its labels; ask whoever owns the API for one",
            api.name
        );
        return Err(Rejection::new(Reason::NamespaceNotAllowed, message));
    };
    Err(excess.rejection(&Place { grant, api, selecting: selecting.len() }))
}

/// The owner is looked for among those of the API's namespace only.
fn undeclared(owner: &str, namespace: &str, api: &Api) -> Rejection {
    let home = &api.name.namespace;
    let message = format!(
        "spec.owner: no ApiKeyOwner of namespace {home} that counts has the externalId {owner:?} and lists namespace {namespace}; leave the owner out, or ask whoever owns the API to declare it"
    );
    Rejection::new(Reason::OwnerNotAllowed, message)
}

/// What a claim has that a grant does not allow, in the order in which it is looked for.
enum Excess<'a> {
    Tier { field: Cow<'static, str>, name: &'a str },
    NoTier,
    Role(&'a str),
    Scope { field: &'static str, scope: &'a Scope },
    Owner(&'a str),
}

/// The first thing that a claim has and a grant does not allow.
fn excess<'a>(grant: &Grant, claim: &Claim<'a>, owner: Option<&'a Owner>, api: &'a Api) -> Option<Excess<'a>> {
    let (tier_field, tier) = claim.tier_with_field(api, owner);
    let tier_excess = match tier {
        Some(name) => (!grant.tiers.contains(name)).then_some(Excess::Tier { field: tier_field, name }),
        // Where tiers are granted, a key without one would have none of their limits.
        None => (!grant.tiers.is_empty()).then_some(Excess::NoTier),
    };
    if tier_excess.is_some() {
        return tier_excess;
    }
    if let Some(role) = claim.roles.iter().find(|role| !grant.roles.contains(role)) {
        return Some(Excess::Role(role));
    }
    let (scopes_field, scopes) = claim.scopes_with_field(api);
    if let Some(scope) = scopes.iter().find(|scope| !grant.scopes.covers(scope)) {
        return Some(Excess::Scope { field: scopes_field, scope });
    }
    let owner = claim.owner.filter(|_| grant.owners == Owners::Nobody)?;
    Some(Excess::Owner(owner))
}

/// Where a claim does not fit in.
struct Place<'a> {
    grant: &'a Grant,
    api: &'a Api,
    /// Grants that select the namespace.
    selecting: usize,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "grant {} of ProtectedApi {}", self.grant.name, self.api.name)?;
        if self.selecting > 1 {
            write!(f, " (the nearest of {}; one must allow all of it)", self.selecting)?;
        }
        Ok(())
    }
}

impl Excess<'_> {
    /// The further it came, the nearer a grant is.
    fn rank(&self) -> u8 {
        match self {
            Self::Tier { .. } | Self::NoTier => 0,
            Self::Role(_) => 1,
            Self::Scope { .. } => 2,
            Self::Owner(_) => 3,
        }
    }

    fn rejection(&self, place: &Place<'_>) -> Rejection {
        let grant = place.grant;
        let (reason, message) = match self {
            Self::Tier { field, name } => (
                Reason::TierNotAllowed,
                format!("{field}: {name:?} is no tier of {place}; set spec.tier to {}", one_of(&grant.tiers)),
            ),
            Self::NoTier => (
                Reason::TierNotAllowed,
                format!(
                    "spec.tier: it is missing, and {place} allows no key without; set it to {}",
                    one_of(&grant.tiers)
                ),
            ),
            Self::Role(name) => (
                Reason::RoleNotAllowed,
                format!("spec.roles: {name:?} is no role of {place}; it allows {}", one_of(&grant.roles)),
            ),
            Self::Scope { field, scope } => {
                let scopes: Vec<&str> = grant.scopes.iter().collect();
                let scope = scope.as_str();
                (
                    Reason::ScopeNotAllowed,
                    format!(
                        "{field}: {scope:?} is more than the scopes of {place}; set spec.scopes to what {} covers",
                        one_of(&scopes)
                    ),
                )
            }
            Self::Owner(name) => (
                Reason::OwnerNotAllowed,
                format!(
                    "spec.owner: {name:?} cannot be claimed, for {place} says nothing of owners; leave it out, or ask whoever owns the API"
                ),
            ),
        };
        Rejection::new(reason, message)
    }
}

/// What may be chosen from.
fn one_of(names: &[impl Display]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let listed: Vec<String> = names.iter().take(LISTED).map(ToString::to_string).collect();
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} or one of {more} more", listed.join(", ")),
    }
}

#[cfg(test)]
mod tests;
