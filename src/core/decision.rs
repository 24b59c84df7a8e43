//! What is told of a refusal to whoever runs Keyturn: which check decided, and what the proxy had said. It is kept in
//! memory for a while and told over HTTP as JSON, so nothing in it may be a key: what a client can choose is [`Shown`].

mod remedy;
mod shown;

use std::borrow::Cow;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::check::Check;

pub use shown::Shown;

/// One refusal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    pub at: Timestamp,
    /// `false`: the API is in audit mode, and the request has passed.
    pub enforced: bool,
    /// The check that has failed.
    pub check: Check,
    /// As callers are told it.
    pub code: String,
    /// HTTP status that tells the truth; the proxy may have told another.
    pub status: u16,
    /// What exactly was wrong.
    pub cause: Cow<'static, str>,
    /// Seconds after which the same request would have passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// The API that the proxy has named, `NAMESPACE/NAME`.
    pub api: Shown,
    /// The route that the request was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<KnownKey>,
    pub request: Described,
    pub concerns: Concerns,
}

/// Whose key was presented.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownKey {
    /// `status.id`
    pub id: String,
    pub namespace: String,
    pub name: String,
    /// The version that was presented.
    pub version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tier: String,
}

/// What the proxy has said of the request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// How the proxy asks: a dialect of the auth port, or `grpc`.
    pub dialect: Cow<'static, str>,
    /// `None`: its description cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Shown>,
    pub client: Client,
    /// What was read of the proxy's call, or would have been.
    pub fields: Vec<Field>,
}

/// Where the request came from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Client {
    /// `None`: nobody who is believed has told.
    pub address: Option<IpAddr>,
    /// Who has told it, or would have.
    pub told_by: Cow<'static, str>,
}

/// A header, or with a `?` before its name a query parameter.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    pub name: Shown,
    /// How often it was there.
    pub lines: usize,
    /// It is where the API looks for keys.
    #[serde(default, skip_serializing_if = "is_false")]
    pub credential: bool,
    /// What it says; `None`: it is not there, or is never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Shown>,
}

/// What the check that has failed went by.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Concerns {
    /// Addresses that the key may be used from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_allowlist: Vec<String>,
    /// What the route demands of the key's scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// Scopes that the key holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The rate limit closest to exhaustion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// The quota that is used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<String>,
}

/// How a rate limit stood.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limit {
    pub name: String,
    /// Units that one window admits.
    pub limit: u32,
    pub remaining: u32,
    /// Window in seconds.
    pub window: u32,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum Outcome {
    Passed,
    Decided,
    /// The decision had fallen before.
    NotReached,
}

impl Decision {
    /// Every check in its order, and what became of it.
    pub fn checks(&self) -> impl Iterator<Item = (Check, Outcome)> {
        Check::ALL.into_iter().map(|check| {
            let outcome = match check.cmp(&self.check) {
                std::cmp::Ordering::Less => Outcome::Passed,
                std::cmp::Ordering::Equal => Outcome::Decided,
                std::cmp::Ordering::Greater => Outcome::NotReached,
            };
            (check, outcome)
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands members over by reference")]
const fn is_false(told: &bool) -> bool {
    !*told
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A client elsewhere than its key may be used.
    pub(crate) fn decision(check: Check, code: &str) -> Decision {
        Decision {
            at: Timestamp::UNIX_EPOCH,
            enforced: true,
            check,
            code: code.to_owned(),
            status: 403,
            cause: Cow::Borrowed("the key may not be used from this address"),
            retry_after: None,
            api: Shown::configured("speech/transcripts"),
            route: Some(Shown::configured("read")),
            key: Some(KnownKey {
                id: "key_1".to_owned(),
                namespace: "speech".to_owned(),
                name: "ci".to_owned(),
                version: 3,
                owner: String::new(),
                tier: String::new(),
            }),
            request: Described {
                dialect: Cow::Borrowed("nginx"),
                method: Some(Shown::brief(b"GET")),
                target: Some(Shown::target(b"/v1/models?page=2", None)),
                client: Client { address: Some([198, 51, 100, 7].into()), told_by: Cow::Borrowed("x-real-ip") },
                fields: vec![Field { name: Shown::configured("x-api-key"), lines: 1, credential: true, value: None }],
            },
            concerns: Concerns { ip_allowlist: vec!["192.0.2.0/24".to_owned()], ..Concerns::default() },
        }
    }

    #[test]
    fn the_checks_before_the_one_that_decided_have_passed() {
        let checks: Vec<_> = decision(Check::Api, "API_NOT_FOUND").checks().collect();
        let outcomes = [Outcome::Passed, Outcome::Decided, Outcome::NotReached].map(|outcome| {
            let of = |(check, _): &(Check, Outcome)| *check;
            checks.iter().filter(|(_, became)| *became == outcome).map(of).collect::<Vec<_>>()
        });
        let expected = [vec![Check::Freshness], vec![Check::Api], Check::ALL[2..].to_vec()];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn what_is_told_is_read_again() {
        let told = serde_json::to_value(decision(Check::Address, "IP_NOT_ALLOWED")).unwrap();
        assert_eq!(told["check"], "Address");
        assert_eq!(told["request"]["target"], "/v1/models?page=(1 byte)");
        assert_eq!(told["concerns"], serde_json::json!({"ipAllowlist": ["192.0.2.0/24"]}));
        let read: Decision = serde_json::from_value(told).unwrap();
        assert_eq!(read, decision(Check::Address, "IP_NOT_ALLOWED"));
    }
}
