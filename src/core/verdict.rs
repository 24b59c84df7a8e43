//! The one vocabulary in which a judged request is answered; every transport translates it, none adds to it.

use std::fmt;
use std::sync::Arc;

use super::check::Check;

/// Why a request is refused. The order is the order of the checks.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Code {
    Unavailable,
    ApiNotFound,
    BadRequest,
    Unauthorized,
    Revoked,
    NotAccepted,
    Disabled,
    Expired,
    IpNotAllowed,
    RouteNotFound,
    InsufficientScope,
    ResourceNotFound,
    ResourceForbidden,
    RateLimited,
    QuotaExceeded,
    CreditsExhausted,
}

impl Code {
    /// Every code, in the order of the checks.
    pub const ALL: [Self; 16] = [
        Self::Unavailable,
        Self::ApiNotFound,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Revoked,
        Self::NotAccepted,
        Self::Disabled,
        Self::Expired,
        Self::IpNotAllowed,
        Self::RouteNotFound,
        Self::InsufficientScope,
        Self::ResourceNotFound,
        Self::ResourceForbidden,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::CreditsExhausted,
    ];

    /// Whether a key, or its use, is refused, rather than the question of whether there is one could not be asked:
    /// what an API in audit mode lets pass.
    #[must_use]
    pub fn is_about_the_key(self) -> bool {
        self >= Self::Unauthorized
    }

    /// The check that refuses with this code, unless it says otherwise.
    #[must_use]
    pub const fn check(self) -> Check {
        match self {
            Self::Unavailable => Check::Freshness,
            Self::ApiNotFound => Check::Api,
            Self::BadRequest => Check::Description,
            Self::Unauthorized => Check::Credential,
            Self::Revoked => Check::Revocation,
            Self::NotAccepted => Check::Acceptance,
            Self::Disabled => Check::Enabled,
            Self::Expired => Check::Expiry,
            Self::IpNotAllowed => Check::Address,
            Self::RouteNotFound => Check::Route,
            Self::InsufficientScope => Check::Scopes,
            Self::ResourceNotFound | Self::ResourceForbidden => Check::Resource,
            Self::RateLimited => Check::RateLimits,
            Self::QuotaExceeded => Check::Quotas,
            Self::CreditsExhausted => Check::Credits,
        }
    }

    /// As problem documents, headers, logs and metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "UNAVAILABLE",
            Self::ApiNotFound => "API_NOT_FOUND",
            Self::BadRequest => "BAD_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Revoked => "REVOKED",
            Self::NotAccepted => "NOT_ACCEPTED",
            Self::Disabled => "DISABLED",
            Self::Expired => "EXPIRED",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::RouteNotFound => "ROUTE_NOT_FOUND",
            Self::InsufficientScope => "INSUFFICIENT_SCOPE",
            Self::ResourceNotFound => "RESOURCE_NOT_FOUND",
            Self::ResourceForbidden => "RESOURCE_FORBIDDEN",
            Self::RateLimited => "RATE_LIMITED",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::CreditsExhausted => "CREDITS_EXHAUSTED",
        }
    }

    /// The HTTP status that tells the truth; a proxy may be unable to carry it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Unavailable => 503,
            Self::ApiNotFound | Self::ResourceNotFound => 404,
            Self::BadRequest => 400,
            Self::Unauthorized | Self::Revoked => 401,
            Self::NotAccepted
            | Self::Disabled
            | Self::Expired
            | Self::IpNotAllowed
            | Self::RouteNotFound
            | Self::InsufficientScope
            | Self::ResourceForbidden => 403,
            Self::RateLimited | Self::QuotaExceeded => 429,
            Self::CreditsExhausted => 402,
        }
    }

    /// One sentence for the caller: what to do, nothing about who else has access.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Unavailable => "The request cannot be judged at the moment; try again shortly.",
            Self::ApiNotFound => "No API is known under this name.",
            Self::BadRequest => "The request cannot be understood unambiguously.",
            Self::Unauthorized => "A valid API key is required.",
            Self::Revoked => "This API key has been revoked; use another one.",
            Self::NotAccepted => "This API key is not accepted; ask whoever issued it.",
            Self::Disabled => "This API key is disabled; ask whoever issued it.",
            Self::Expired => "This API key has expired; use its successor or ask for a new one.",
            Self::IpNotAllowed => "This API key may not be used from this address.",
            Self::RouteNotFound => "This API does not offer this method and path.",
            Self::InsufficientScope => "This API key lacks a scope that this request needs.",
            Self::ResourceNotFound => "This API does not offer the resource that the request is for.",
            Self::ResourceForbidden => "This API key may not use the resource that the request is for.",
            Self::RateLimited => "The rate limit is exhausted; wait for as long as Retry-After says.",
            Self::QuotaExceeded => "The quota of this period is used up; wait for as long as Retry-After says.",
            Self::CreditsExhausted => "The credits of this API key are used up; ask whoever issued it for more.",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Code {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or(())
    }
}

/// The limit closest to exhaustion after a request was judged, for the rate-limit header fields.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LimitState {
    pub name: Arc<str>,
    /// Units that one window admits.
    pub limit: u32,
    /// Units that are left now.
    pub remaining: u32,
    /// Seconds until the window has room for the whole limit again, rounded up.
    pub reset_after: u32,
    /// Window in seconds.
    pub window: u32,
}

/// A refusal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    pub code: Code,
    /// What has failed.
    pub check: Check,
    /// What the API calls it, if not as all do: `MODEL_FORBIDDEN`.
    pub told: Option<Arc<str>>,
    /// Seconds after which the same request would pass, rounded up; with codes about limits, quotas and credits only.
    pub retry_after: Option<u32>,
    /// For the log: what exactly was wrong. Never a credential.
    pub cause: &'static str,
    /// Name of the quota that is used up.
    pub quota: Option<Arc<str>>,
}

impl Denial {
    /// A refusal that no waiting cures.
    #[must_use]
    pub const fn new(code: Code, cause: &'static str) -> Self {
        Self { code, check: code.check(), told: None, retry_after: None, cause, quota: None }
    }

    /// The same by another check than the code's own.
    #[must_use]
    pub fn by(self, check: Check) -> Self {
        Self { check, ..self }
    }

    /// The code as callers are told it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.told.as_deref().unwrap_or(self.code.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_listed_in_the_order_of_the_checks_and_read_back() {
        assert!(Code::ALL.is_sorted());
        assert!(Check::ALL.is_sorted() && Code::ALL.map(Code::check).is_sorted());
        for code in Code::ALL {
            assert_eq!(code.as_str().parse(), Ok(code));
        }
        assert_eq!("revoked".parse::<Code>(), Err(()));
        let others = Code::ALL.into_iter().filter(|code| !code.is_about_the_key());
        assert!(others.eq([Code::Unavailable, Code::ApiNotFound, Code::BadRequest]));
    }
}
