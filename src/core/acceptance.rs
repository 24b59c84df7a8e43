//! Whether a key may be what its manifest says: one function, run by the controller before it mints and by
//! every verifier before it honours, so that an edit gains nothing while the controller is away.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::policy::{Api, Key, ObjectName, Policies, Schedule, Tier};
use super::scope::ScopeSet;

/// Why an object is not accepted, as its `Accepted` condition says it. CamelCase, stable.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    ApiNotFound,
    ApiNotAccepted,
    NamespaceNotAllowed,
    TierNotFound,
    TierNotAllowed,
    RoleNotFound,
    RoleNotAccepted,
    /// A value that the schema should have refused; the object was written past it.
    Invalid,
    InvalidRoutes,
    InvalidQuery,
    NotYetSupported,
    /// Said by the controller only: an object that Keyturn did not make has the Secret's name.
    SecretNameTaken,
}

impl Reason {
    /// As the condition spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiNotFound => "ApiNotFound",
            Self::ApiNotAccepted => "ApiNotAccepted",
            Self::NamespaceNotAllowed => "NamespaceNotAllowed",
            Self::TierNotFound => "TierNotFound",
            Self::TierNotAllowed => "TierNotAllowed",
            Self::RoleNotFound => "RoleNotFound",
            Self::RoleNotAccepted => "RoleNotAccepted",
            Self::Invalid => "Invalid",
            Self::InvalidRoutes => "InvalidRoutes",
            Self::InvalidQuery => "InvalidQuery",
            Self::NotYetSupported => "NotYetSupported",
            Self::SecretNameTaken => "SecretNameTaken",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: the reason for programs, a sentence with field, value and remedy for people.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct Rejection {
    pub reason: Reason,
    pub message: String,
}

impl Rejection {
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Fields in use that this version of Keyturn does not act on.
    #[must_use]
    pub fn not_yet_supported(fields: &[&'static str]) -> Self {
        let message = format!(
            "{} cannot be honoured by this version of Keyturn yet; remove it",
            fields.join(", ")
        );
        Self::new(Reason::NotYetSupported, message)
    }
}

/// What an accepted key amounts to, with everything that it inherits.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub api: Arc<Api>,
    pub tier: Option<Arc<Tier>>,
    /// The key's own scopes, or the API's defaults, and those of its roles.
    pub scopes: ScopeSet,
    /// The key's own expiry, or its creation plus the API's `expiresAfter`.
    pub expires_at: Option<Timestamp>,
    /// Key over tier over API, each field by itself.
    pub schedule: Schedule,
}

/// Judges a key against everything that it refers to.
///
/// # Errors
/// The first thing that is wrong.
pub fn accept(key: &Key, policies: &Policies) -> Result<Accepted, Rejection> {
    if !key.not_yet_supported.is_empty() {
        return Err(Rejection::not_yet_supported(&key.not_yet_supported));
    }
    let api = api_of(key, policies)?;
    let tier = tier_of(key, &api, policies)?;
    let scopes = scopes_of(key, &api, policies)?;
    let inherited = tier
        .as_ref()
        .map_or(Schedule::default(), |tier| tier.schedule);
    let schedule = key.rotation.or(inherited).or(api.default_schedule);
    let expires_at = key
        .expires_at
        .or_else(|| key.created_at.checked_add(api.expires_after?).ok());
    Ok(Accepted {
        api,
        tier,
        scopes,
        expires_at,
        schedule,
    })
}

fn api_of(key: &Key, policies: &Policies) -> Result<Arc<Api>, Rejection> {
    match policies.apis.get(&key.api) {
        Some(Ok(api)) => Ok(Arc::clone(api)),
        Some(Err(cause)) => {
            let message = format!(
                "spec.apiRef: ProtectedApi {} is not accepted ({cause}); correct it",
                key.api
            );
            Err(Rejection::new(Reason::ApiNotAccepted, message))
        }
        None => {
            let message = format!(
                "spec.apiRef: there is no ProtectedApi {}; create it or correct the name",
                key.api
            );
            Err(Rejection::new(Reason::ApiNotFound, message))
        }
    }
}

fn tier_of(key: &Key, api: &Api, policies: &Policies) -> Result<Option<Arc<Tier>>, Rejection> {
    let (field, name) = match (&key.tier, &api.default_tier) {
        (Some(name), _) => ("spec.tier", name),
        (None, Some(name)) => ("the API's spec.defaultTier", name),
        (None, None) => return Ok(None),
    };
    let object = ObjectName {
        namespace: Arc::clone(&api.name.namespace),
        name: Arc::clone(name),
    };
    match policies.tiers.get(&object) {
        Some(Ok(tier)) => Ok(Some(Arc::clone(tier))),
        Some(Err(cause)) => {
            let message =
                format!("{field}: ApiKeyTier {object} is not accepted ({cause}); correct it");
            Err(Rejection::new(Reason::TierNotAllowed, message))
        }
        None => {
            let message =
                format!("{field}: there is no ApiKeyTier {object}; create it or correct the name");
            Err(Rejection::new(Reason::TierNotFound, message))
        }
    }
}

fn scopes_of(key: &Key, api: &Api, policies: &Policies) -> Result<ScopeSet, Rejection> {
    let mut scopes = key
        .scopes
        .clone()
        .unwrap_or_else(|| api.default_scopes.clone());
    for name in &key.roles {
        let object = ObjectName {
            namespace: Arc::clone(&api.name.namespace),
            name: Arc::clone(name),
        };
        match policies.roles.get(&object) {
            Some(Ok(role)) => scopes.extend(role.scopes.iter().cloned()),
            Some(Err(cause)) => {
                let message = format!(
                    "spec.roles: ApiKeyRole {object} is not accepted ({cause}); correct it"
                );
                return Err(Rejection::new(Reason::RoleNotAccepted, message));
            }
            None => {
                let message = format!(
                    "spec.roles: there is no ApiKeyRole {object}; create it or correct the name"
                );
                return Err(Rejection::new(Reason::RoleNotFound, message));
            }
        }
    }
    Ok(ScopeSet::new(scopes))
}
