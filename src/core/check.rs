//! The checks that a request goes through, in their order. The first that fails decides.

use serde::{Deserialize, Serialize};

/// A check.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Check {
    /// What this process knows is fresh.
    Freshness,
    /// The API is known, and accepted.
    Api,
    /// The proxy describes the request completely, and its path means one thing.
    Description,
    /// There is one string that could be a key where the API looks.
    Credential,
    /// A key of the API has this string.
    Key,
    Revocation,
    Acceptance,
    Enabled,
    Expiry,
    Address,
    Route,
    Scopes,
    Resource,
    RateLimits,
    Quotas,
    Credits,
}

impl Check {
    /// Every check, in their order.
    pub const ALL: [Self; 16] = [
        Self::Freshness,
        Self::Api,
        Self::Description,
        Self::Credential,
        Self::Key,
        Self::Revocation,
        Self::Acceptance,
        Self::Enabled,
        Self::Expiry,
        Self::Address,
        Self::Route,
        Self::Scopes,
        Self::Resource,
        Self::RateLimits,
        Self::Quotas,
        Self::Credits,
    ];

    /// What holds where the check does not fail.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Freshness => "the verifier knows what is true now",
            Self::Api => "the API is known and accepted",
            Self::Description => "the proxy describes the request",
            Self::Credential => "one key is presented",
            Self::Key => "a key of the API has this string",
            Self::Revocation => "the key is not revoked",
            Self::Acceptance => "the key is accepted",
            Self::Enabled => "the key is enabled",
            Self::Expiry => "the key is within its time",
            Self::Address => "the client's address is allowed",
            Self::Route => "the API has the route",
            Self::Scopes => "the scopes satisfy the route",
            Self::Resource => "the resource is known and allowed",
            Self::RateLimits => "the rate limits have room",
            Self::Quotas => "the quotas have room",
            Self::Credits => "the credits suffice",
        }
    }
}
