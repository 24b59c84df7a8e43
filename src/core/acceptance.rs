//! Whether a key may be what its manifest says: one function, run by the controller before it mints and by
//! every verifier before it honours, so that an edit gains nothing while the controller is away.

mod foreign;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::owner::Owner;
use super::policy::{Api, Delivery, Key, ObjectName, Policies, Schedule, Tier};
use super::scope::{Scope, ScopeSet};

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
    /// No grant that selects the key's namespace allows the role.
    RoleNotAllowed,
    ScopeNotAllowed,
    OwnerNotAllowed,
    /// An older ApiKeyOwner of the namespace has the same externalId.
    ExternalIdTaken,
    /// Said by the controller only: an older ProtectedApi claims one of the hosts.
    HostTaken,
    /// A value that the schema should have refused; the object was written past it.
    Invalid,
    InvalidRoutes,
    InvalidQuery,
    /// Said by the controller only: the string to take over is not there, or cannot become a key.
    SourceNotFound,
    /// Said by the controller only; verifiers find out by their index: an older key has the same string.
    DuplicateKey,
    /// Said by the controller only: the key's owner has as many keys as it may have.
    KeyLimitReached,
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
            Self::RoleNotAllowed => "RoleNotAllowed",
            Self::ScopeNotAllowed => "ScopeNotAllowed",
            Self::OwnerNotAllowed => "OwnerNotAllowed",
            Self::ExternalIdTaken => "ExternalIdTaken",
            Self::HostTaken => "HostTaken",
            Self::Invalid => "Invalid",
            Self::InvalidRoutes => "InvalidRoutes",
            Self::InvalidQuery => "InvalidQuery",
            Self::SourceNotFound => "SourceNotFound",
            Self::DuplicateKey => "DuplicateKey",
            Self::KeyLimitReached => "KeyLimitReached",
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
        Self { reason, message: message.into() }
    }
}

/// What an accepted key amounts to, with everything that it inherits.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub api: Arc<Api>,
    pub tier: Option<Arc<Tier>>,
    /// What the ApiKeyOwner says to whom the key was issued, if there is one.
    pub owner: Option<Arc<Owner>>,
    /// The key's own scopes, or the API's defaults, and those of its roles.
    pub scopes: ScopeSet,
    /// As [`expiry`] says.
    pub expires_at: Option<Timestamp>,
    /// Key over tier over API, each field by itself; the interval of a key whose strings do not stay in a Secret
    /// or were imported is its own only.
    pub schedule: Schedule,
}

/// The part of a key's spec on which it depends whether and how the key is accepted. Many keys claim the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Claim<'a> {
    pub api: &'a ObjectName,
    pub tier: Option<&'a Arc<str>>,
    pub scopes: Option<&'a [Scope]>,
    pub roles: &'a [Arc<str>],
    /// The externalId of an ApiKeyOwner in the API's namespace. A key of that namespace may name one that is not
    /// declared.
    pub owner: Option<&'a Arc<str>>,
    /// The key's namespace. `None`: it is the API's own, and nothing has to be granted.
    pub foreign: Option<&'a Arc<str>>,
}

impl<'a> From<&'a Key> for Claim<'a> {
    fn from(key: &'a Key) -> Self {
        Self {
            api: &key.api,
            tier: key.tier.as_ref(),
            scopes: key.scopes.as_deref(),
            roles: &key.roles,
            owner: key.owner.as_ref(),
            foreign: (key.api.namespace != key.name.namespace).then_some(&key.name.namespace),
        }
    }
}

impl<'a> Claim<'a> {
    /// The tier that the key would have, and the field that says so.
    fn tier_with_field(&self, api: &'a Api, owner: Option<&'a Owner>) -> (Cow<'static, str>, Option<&'a Arc<str>>) {
        let owners = owner.and_then(|owner| Some((owner, owner.tier.as_ref()?)));
        match (self.tier, owners) {
            (Some(name), _) => ("spec.tier".into(), Some(name)),
            (None, Some((owner, name))) => {
                (format!("the spec.tier of ApiKeyOwner {}", owner.object).into(), Some(name))
            }
            (None, None) => ("the API's spec.defaultTier".into(), api.default_tier.as_ref()),
        }
    }

    /// The scopes that the key would have besides those of its roles, and the field that says so.
    fn scopes_with_field(&self, api: &'a Api) -> (&'static str, &'a [Scope]) {
        match self.scopes {
            Some(scopes) => ("spec.scopes", scopes),
            None => ("the API's spec.defaults.scopes", &api.default_scopes),
        }
    }
}

/// What a claim comes to.
#[derive(Clone, Debug)]
pub struct Entitlement {
    pub api: Arc<Api>,
    pub tier: Option<Arc<Tier>>,
    /// The ApiKeyOwner that the claim names, if there is one.
    pub owner: Option<Arc<Owner>>,
    /// The claim's own scopes, or the API's defaults, and those of its roles.
    pub scopes: ScopeSet,
}

/// Judges a key against everything that it refers to.
///
/// # Errors
/// The first thing that is wrong.
pub fn accept(key: &Key, policies: &Policies) -> Result<Accepted, Rejection> {
    let Entitlement { api, tier, owner, scopes } = entitle(key.into(), policies)?;
    let inherited = tier.as_ref().map_or_else(Schedule::default, |tier| tier.schedule);
    let mut schedule = key.rotation.or(inherited).or(api.default_schedule);
    // Its strings do not stay where workloads read them, or its holders were given the first one by somebody else:
    // nobody else's schedule rotates it.
    if key.delivery != Delivery::Retain || key.source.is_some() {
        schedule.interval = key.rotation.interval;
    }
    let expires_at = expiry(key.expires_at, key.created_at, &api, tier.as_deref());
    Ok(Accepted { api, tier, owner, scopes, expires_at, schedule })
}

/// Judges the part of a key that it may share with others.
///
/// # Errors
/// The first thing that is wrong.
pub fn entitle(claim: Claim<'_>, policies: &Policies) -> Result<Entitlement, Rejection> {
    let api = api_of(claim, policies)?;
    let owner = match claim.foreign {
        Some(namespace) => foreign::admit(namespace, &claim, &api, policies)?,
        None => owner_of(claim, &api, policies)?,
    };
    let tier = tier_of(claim, &api, owner.as_deref(), policies)?;
    let scopes = scopes_of(claim, &api, policies)?;
    Ok(Entitlement { api, tier, owner, scopes })
}

/// When a key expires: as it says itself, or a while after its creation if the API says so; at the end of the life
/// that its tier gives it at the latest.
#[must_use]
pub fn expiry(own: Option<Timestamp>, created_at: Timestamp, api: &Api, tier: Option<&Tier>) -> Option<Timestamp> {
    let chosen = own.or_else(|| created_at.checked_add(api.expires_after?).ok());
    let latest = latest_expiry(created_at, tier);
    chosen.into_iter().chain(latest).min()
}

/// The end of the longest life that a key of that tier can have.
#[must_use]
pub fn latest_expiry(created_at: Timestamp, tier: Option<&Tier>) -> Option<Timestamp> {
    created_at.checked_add(tier?.max_lifetime?).ok()
}

/// What to tell people who want a longer life for a key than its tier allows.
#[must_use]
pub fn capped(key: &Key, accepted: &Accepted) -> Option<String> {
    let (wanted, tier) = (key.expires_at?, accepted.tier.as_deref()?);
    let latest = latest_expiry(key.created_at, Some(tier)).filter(|latest| *latest < wanted)?;
    Some(format!(
        "spec.expiresAt: {wanted} is later than spec.maxLifetime of ApiKeyTier {} allows; the key expires at {latest}, unless it gets another tier",
        tier.name
    ))
}

fn api_of(claim: Claim<'_>, policies: &Policies) -> Result<Arc<Api>, Rejection> {
    match policies.apis.get(claim.api) {
        Some(Ok(api)) => Ok(Arc::clone(api)),
        Some(Err(cause)) => {
            let message = match claim.foreign {
                None => format!("spec.apiRef: ProtectedApi {} is not accepted ({cause}); correct it", claim.api),
                // What is wrong with it is its own namespace's business.
                Some(_) => format!(
                    "spec.apiRef: ProtectedApi {} is not accepted; ask whoever owns it to correct it",
                    claim.api
                ),
            };
            Err(Rejection::new(Reason::ApiNotAccepted, message))
        }
        None => {
            let message = format!("spec.apiRef: there is no ProtectedApi {}; create it or correct the name", claim.api);
            Err(Rejection::new(Reason::ApiNotFound, message))
        }
    }
}

/// What the ApiKeyOwner says that a key of the API's own namespace names. One with a mistake is not taken for one that
/// is not declared: its keys would do without its limits.
fn owner_of(claim: Claim<'_>, api: &Api, policies: &Policies) -> Result<Option<Arc<Owner>>, Rejection> {
    let Some(id) = claim.owner else { return Ok(None) };
    match policies.owners.find(&api.name.namespace, id) {
        None => Ok(None),
        Some((_, Ok(owner))) => Ok(Some(Arc::clone(owner))),
        Some((object, Err(cause))) => {
            let message = format!("spec.owner: ApiKeyOwner {object} is not accepted ({cause}); correct it");
            Err(Rejection::new(Reason::OwnerNotAllowed, message))
        }
    }
}

fn tier_of(
    claim: Claim<'_>,
    api: &Api,
    owner: Option<&Owner>,
    policies: &Policies,
) -> Result<Option<Arc<Tier>>, Rejection> {
    let (field, Some(name)) = claim.tier_with_field(api, owner) else { return Ok(None) };
    let object = ObjectName { namespace: Arc::clone(&api.name.namespace), name: Arc::clone(name) };
    match policies.tiers.get(&object) {
        Some(Ok(tier)) => Ok(Some(Arc::clone(tier))),
        Some(Err(cause)) => {
            let message = format!("{field}: ApiKeyTier {object} is not accepted ({cause}); correct it");
            Err(Rejection::new(Reason::TierNotAllowed, message))
        }
        None => {
            let message = format!("{field}: there is no ApiKeyTier {object}; create it or correct the name");
            Err(Rejection::new(Reason::TierNotFound, message))
        }
    }
}

fn scopes_of(claim: Claim<'_>, api: &Api, policies: &Policies) -> Result<ScopeSet, Rejection> {
    let mut scopes = claim.scopes_with_field(api).1.to_vec();
    for name in claim.roles {
        let object = ObjectName { namespace: Arc::clone(&api.name.namespace), name: Arc::clone(name) };
        match policies.roles.get(&object) {
            Some(Ok(role)) => scopes.extend(role.scopes.iter().cloned()),
            Some(Err(cause)) => {
                let message = format!("spec.roles: ApiKeyRole {object} is not accepted ({cause}); correct it");
                return Err(Rejection::new(Reason::RoleNotAccepted, message));
            }
            None => {
                let message = format!("spec.roles: there is no ApiKeyRole {object}; create it or correct the name");
                return Err(Rejection::new(Reason::RoleNotFound, message));
            }
        }
    }
    Ok(ScopeSet::new(scopes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::fixtures;
    use crate::core::owner::OwnerClaim;
    use crate::core::policy::{Age, Role};
    use crate::core::source::Source;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn scopes(texts: &[&str]) -> Vec<Scope> {
        texts.iter().map(|text| Scope::parse(text).unwrap()).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "this is how policies hold it")]
    fn api(change: impl FnOnce(&mut Api)) -> Result<Arc<Api>, Rejection> {
        let mut api = Api { default_scopes: scopes(&["base"]), ..fixtures::api() };
        change(&mut api);
        Ok(Arc::new(api))
    }

    /// The API speech/transcripts, its tiers pro and broken, its roles reader and broken.
    fn policies(api: Option<Result<Arc<Api>, Rejection>>) -> Policies {
        let invalid = || Rejection::new(Reason::Invalid, "nonsense");
        let pro = Tier {
            name: "pro".into(),
            schedule: Schedule { interval: Some(HOUR * 24), grace_period: Some(HOUR) },
            ..Tier::default()
        };
        let reader = Role { scopes: scopes(&["read", "base"]) };
        let named = |name| ObjectName::new("speech", name);
        Policies {
            apis: api.into_iter().map(|api| (named("transcripts"), api)).collect(),
            tiers: [(named("pro"), Ok(Arc::new(pro))), (named("broken"), Err(invalid()))].into(),
            roles: [(named("reader"), Ok(Arc::new(reader))), (named("broken"), Err(invalid()))].into(),
            ..Policies::default()
        }
    }

    fn key(change: impl FnOnce(&mut Key)) -> Key {
        let mut key = fixtures::key();
        change(&mut key);
        key
    }

    fn refusal(key: &Key, policies: &Policies) -> String {
        accept(key, policies).unwrap_err().to_string()
    }

    #[test]
    fn every_reason_is_a_sentence_with_field_value_and_remedy() {
        let there = || policies(Some(api(|_| {})));
        let broken_api = Some(Err(Rejection::new(Reason::InvalidQuery, "byte 3")));
        let defaulting = policies(Some(api(|api| api.default_tier = Some("gold".into()))));
        for (key, policies, expected) in [
            (
                key(|_| {}),
                policies(None),
                "ApiNotFound: spec.apiRef: there is no ProtectedApi speech/transcripts; create it or correct the name",
            ),
            (
                key(|_| {}),
                policies(broken_api),
                "ApiNotAccepted: spec.apiRef: ProtectedApi speech/transcripts is not accepted (InvalidQuery: byte 3); correct it",
            ),
            (
                key(|key| key.tier = Some("gold".into())),
                there(),
                "TierNotFound: spec.tier: there is no ApiKeyTier speech/gold; create it or correct the name",
            ),
            (
                key(|_| {}),
                defaulting,
                "TierNotFound: the API's spec.defaultTier: there is no ApiKeyTier speech/gold; create it or correct the name",
            ),
            (
                key(|key| key.tier = Some("broken".into())),
                there(),
                "TierNotAllowed: spec.tier: ApiKeyTier speech/broken is not accepted (Invalid: nonsense); correct it",
            ),
            (
                key(|key| key.roles = vec!["reader".into(), "writer".into()]),
                there(),
                "RoleNotFound: spec.roles: there is no ApiKeyRole speech/writer; create it or correct the name",
            ),
            (
                key(|key| key.roles = vec!["broken".into()]),
                there(),
                "RoleNotAccepted: spec.roles: ApiKeyRole speech/broken is not accepted (Invalid: nonsense); correct it",
            ),
        ] {
            assert_eq!(refusal(&key, &policies), expected);
        }
    }

    #[test]
    fn scopes_are_the_keys_own_or_the_defaults_and_those_of_its_roles() {
        let policies = policies(Some(api(|_| {})));
        for (own, roles, expected) in [
            (None, &[][..], &["base"][..]),
            (Some(&["own"][..]), &[], &["own"]),
            (Some(&[]), &[], &[]),
            (Some(&["own"]), &["reader"], &["base", "own", "read"]),
            (None, &["reader"], &["base", "read"]),
        ] {
            let key = key(|key| {
                key.scopes = own.map(scopes);
                key.roles = roles.iter().map(|role| Arc::from(*role)).collect();
            });
            let accepted = accept(&key, &policies).unwrap();
            assert_eq!(accepted.scopes.iter().collect::<Vec<_>>(), expected);
        }
    }

    /// The same with ApiKeyOwner acme: what it says, or what keeps it from counting.
    fn with_owner(mut policies: Policies, owner: Result<Owner, Rejection>) -> Policies {
        let age = Age { created_at: Timestamp::UNIX_EPOCH, uid: "o1".into() };
        let claim = OwnerClaim { external_id: "acme-1".into(), age, owner: owner.map(Arc::new) };
        policies.owners.enter(&ObjectName::new("speech", "acme"), claim);
        policies
    }

    fn of_tier(tier: Option<&str>) -> Owner {
        Owner { tier: tier.map(Arc::from), ..fixtures::owner() }
    }

    #[test]
    fn the_keys_tier_wins_over_its_owners_and_that_one_over_the_apis() {
        for (own, id, owners, apis, expected) in [
            (Some("pro"), Some("acme-1"), Some("gold"), Some("gold"), Some("pro")),
            (None, Some("acme-1"), Some("pro"), Some("gold"), Some("pro")),
            (None, Some("acme-1"), None, Some("pro"), Some("pro")),
            (None, Some("nobody"), Some("gold"), Some("pro"), Some("pro")),
            (None, None, Some("gold"), Some("pro"), Some("pro")),
            (None, Some("acme-1"), None, None, None),
        ] {
            let policies = policies(Some(api(|api| api.default_tier = apis.map(Arc::from))));
            let key = key(|key| (key.tier, key.owner) = (own.map(Arc::from), id.map(Arc::from)));
            let accepted = accept(&key, &with_owner(policies, Ok(of_tier(owners)))).unwrap();
            assert_eq!(accepted.tier.as_deref().map(|tier| &*tier.name), expected, "{own:?} {id:?} {owners:?}");
            let declared = id.filter(|id| *id == "acme-1").map(|_| Arc::new(of_tier(owners)));
            assert_eq!(accepted.owner, declared, "{id:?}");
        }
    }

    #[test]
    fn an_owner_that_cannot_be_honoured_is_not_taken_for_one_that_is_not_declared() {
        let there = || policies(Some(api(|_| {})));
        let issued = key(|key| key.owner = Some("acme-1".into()));
        for (owner, expected) in [
            (
                Err(Rejection::new(Reason::Invalid, "nonsense")),
                "OwnerNotAllowed: spec.owner: ApiKeyOwner speech/acme is not accepted (Invalid: nonsense); correct it",
            ),
            (
                Ok(of_tier(Some("gold"))),
                "TierNotFound: the spec.tier of ApiKeyOwner speech/acme: there is no ApiKeyTier speech/gold; create it or correct the name",
            ),
            (
                Ok(of_tier(Some("broken"))),
                "TierNotAllowed: the spec.tier of ApiKeyOwner speech/acme: ApiKeyTier speech/broken is not accepted (Invalid: nonsense); correct it",
            ),
        ] {
            assert_eq!(refusal(&issued, &with_owner(there(), owner)), expected);
        }
        assert_eq!(accept(&issued, &there()).map(|accepted| accepted.owner), Ok(None));
    }

    #[test]
    fn the_schedule_is_inherited_field_by_field() {
        let policies = policies(Some(api(|api| {
            api.default_schedule.interval = Some(HOUR * 48);
            api.default_schedule.grace_period = Some(HOUR * 2);
        })));
        let own = key(|key| {
            key.tier = Some("pro".into());
            key.rotation.grace_period = Some(HOUR * 3);
        });
        for (key, interval, grace_period) in [(own, HOUR * 24, HOUR * 3), (key(|_| {}), HOUR * 48, HOUR * 2)] {
            let expected = Schedule { interval: Some(interval), grace_period: Some(grace_period) };
            assert_eq!(accept(&key, &policies).unwrap().schedule, expected);
        }
    }

    #[test]
    fn a_key_whose_strings_do_not_stay_or_were_imported_inherits_no_interval() {
        let policies = policies(Some(api(|api| api.default_schedule.interval = Some(HOUR * 48))));
        let source = || Source::Secret { name: "old".into(), key: "token".into() };
        for (delivery, source) in [
            (Delivery::Once { ttl: HOUR }, None),
            (Delivery::Sealed { ttl: HOUR }, None),
            (Delivery::Retain, Some(source())),
        ] {
            for own in [None, Some(HOUR * 24)] {
                let key = key(|key| {
                    key.tier = Some("pro".into());
                    (key.delivery, key.source) = (delivery, source.clone());
                    key.rotation.interval = own;
                });
                let expected = Schedule { interval: own, grace_period: Some(HOUR) };
                assert_eq!(accept(&key, &policies).unwrap().schedule, expected);
            }
        }
    }

    #[test]
    fn the_keys_expiry_wins_over_the_apis() {
        let policies = policies(Some(api(|api| api.expires_after = Some(HOUR))));
        let after = |hours: u32| Some(Timestamp::UNIX_EPOCH + HOUR * hours);
        for (own, expected) in [(None, after(1)), (after(5), after(5))] {
            let key = key(|key| key.expires_at = own);
            assert_eq!(accept(&key, &policies).unwrap().expires_at, expected);
        }
    }

    #[test]
    fn no_key_outlives_what_its_tier_allows() {
        let after = |hours: u32| Some(Timestamp::UNIX_EPOCH + HOUR * hours);
        let api = |expires_after| Api { expires_after, ..fixtures::api() };
        let tier = |max_lifetime| Tier { max_lifetime, ..Tier::default() };
        for (own, apis, tiers, expected) in [
            (None, None, None, None),
            (None, None, Some(3), after(3)),
            (None, Some(2), Some(3), after(2)),
            (None, Some(4), Some(3), after(3)),
            (Some(2), Some(1), Some(3), after(2)),
            (Some(5), None, Some(3), after(3)),
            (Some(5), Some(1), None, after(5)),
        ] {
            let own = own.and_then(after);
            let (api, tier) = (api(apis.map(|hours| HOUR * hours)), tier(tiers.map(|hours| HOUR * hours)));
            let found = expiry(own, Timestamp::UNIX_EPOCH, &api, Some(&tier));
            assert_eq!(found, expected, "{own:?} {apis:?} {tiers:?}");
        }
    }

    #[test]
    fn who_asks_for_more_than_the_tier_allows_is_told() {
        let mut policies = policies(Some(api(|_| {})));
        let short = Tier { name: "short".into(), max_lifetime: Some(HOUR * 24), ..Tier::default() };
        policies.tiers.insert(ObjectName::new("speech", "short"), Ok(Arc::new(short)));
        let note = |own: Option<&str>, tier: &str| {
            let key = key(|key| {
                key.expires_at = own.map(|own| own.parse().unwrap());
                key.tier = Some(tier.into());
            });
            capped(&key, &accept(&key, &policies).unwrap())
        };
        for (own, tier) in
            [(None, "short"), (Some("1970-01-02T00:00:00Z"), "short"), (Some("1970-01-03T00:00:00Z"), "pro")]
        {
            assert_eq!(note(own, tier), None, "{own:?} {tier}");
        }
        assert_eq!(
            note(Some("1970-01-03T00:00:00Z"), "short").as_deref(),
            Some(
                "spec.expiresAt: 1970-01-03T00:00:00Z is later than spec.maxLifetime of ApiKeyTier short allows; the key expires at 1970-01-02T00:00:00Z, unless it gets another tier"
            )
        );
    }
}
