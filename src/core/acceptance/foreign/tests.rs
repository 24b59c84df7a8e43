use jiff::Timestamp;

use super::*;
use crate::core::acceptance::accept;
use crate::core::fixtures;
use crate::core::owner::{Owner, OwnerClaim};
use crate::core::policy::{Age, Key, ObjectName, Role, Tier};
use crate::core::scope::ScopeSet;
use crate::core::selector::{Operator, Requirement, Selector};

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

fn scopes(texts: &[&str]) -> Vec<Scope> {
    texts.iter().map(|text| Scope::parse(text).unwrap()).collect()
}

/// Namespaces with the label team of that value.
fn team(value: &str) -> Selector {
    let operator = Operator::In([value.to_owned()].into());
    Selector::new(vec![Requirement { key: "team".to_owned(), operator }])
}

fn grant(change: impl FnOnce(&mut Grant)) -> Grant {
    let mut grant = Grant {
        name: "team-a".into(),
        from: team("a"),
        scopes: ScopeSet::new(scopes(&["docs.*", "status"])),
        roles: names(&["reader"]),
        tiers: names(&["free", "pro"]),
        owners: Owners::Declared,
    };
    change(&mut grant);
    grant
}

fn api(change: impl FnOnce(&mut Api)) -> Api {
    let mut api = Api { grants: vec![grant(|_| {})], default_tier: Some("free".into()), ..fixtures::api() };
    change(&mut api);
    api
}

/// The API in speech with its tiers, roles and owners, and the namespaces team-a and team-b with their labels. What
/// team-a has itself goes by the same names and counts for nothing.
fn policies(api: Api) -> Policies {
    let in_speech = |name: &str| ObjectName::new("speech", name);
    let tier = |name: &str| Ok(Arc::new(Tier { name: name.into(), ..Tier::default() }));
    let role = |scope: &str| Ok(Arc::new(Role { scopes: scopes(&[scope]) }));
    let mut policies = Policies {
        apis: [(in_speech("transcripts"), Ok(Arc::new(api)))].into(),
        tiers: ["free", "pro", "enterprise"].map(|name| (in_speech(name), tier(name))).into(),
        roles: [(in_speech("reader"), role("read")), (in_speech("admin"), role("*"))].into(),
        ..Policies::default()
    };
    policies.roles.insert(ObjectName::new("team-a", "reader"), role("everything"));
    policies.tiers.insert(ObjectName::new("team-a", "own"), tier("own"));
    for (namespace, value) in [("team-a", "a"), ("team-b", "b")] {
        policies.namespaces.insert(namespace.into(), [("team".to_owned(), value.to_owned())].into());
    }
    for (namespace, object, listed) in
        [("speech", "acme", &["team-a"][..]), ("speech", "hidden", &["team-b"]), ("team-a", "own", &["team-a"])]
    {
        let age = Age { created_at: Timestamp::UNIX_EPOCH, uid: object.into() };
        let owner = Ok(Arc::new(Owner { namespaces: names(listed), ..fixtures::owner() }));
        let claim = OwnerClaim { external_id: object.into(), age, owner };
        policies.owners.enter(&ObjectName::new(namespace, object), claim);
    }
    policies
}

/// A key of team-a for that API.
fn key(change: impl FnOnce(&mut Key)) -> Key {
    let mut key = Key { name: ObjectName::new("team-a", "ci"), ..fixtures::key() };
    change(&mut key);
    key
}

fn refusal(key: &Key, api: Api) -> String {
    accept(key, &policies(api)).unwrap_err().to_string()
}

#[test]
fn each_thing_that_is_not_granted_is_a_reason_with_field_value_and_remedy() {
    let unknown = || key(|key| key.name = ObjectName::new("team-x", "ci"));
    let other = || key(|key| key.name = ObjectName::new("team-b", "ci"));
    let tier = |name: &str| key(|key| key.tier = Some(name.into()));
    let owner = |name: &str| key(|key| key.owner = Some(name.into()));
    let claiming = |texts: &[&str]| key(|key| key.scopes = Some(scopes(texts)));
    for (key, api, expected) in [
        (
            unknown(),
            api(|_| {}),
            "NamespaceNotAllowed: spec.apiRef.namespace: the labels of namespace team-x, by which ProtectedApi speech/transcripts grants, are not known yet; the key is judged again once they are",
        ),
        (
            other(),
            api(|_| {}),
            "NamespaceNotAllowed: spec.apiRef.namespace: no grant of ProtectedApi speech/transcripts selects namespace team-b by its labels; ask whoever owns the API for one",
        ),
        (
            tier("enterprise"),
            api(|_| {}),
            "TierNotAllowed: spec.tier: \"enterprise\" is no tier of grant team-a of ProtectedApi speech/transcripts; set spec.tier to free, pro",
        ),
        (
            tier("own"),
            api(|_| {}),
            "TierNotAllowed: spec.tier: \"own\" is no tier of grant team-a of ProtectedApi speech/transcripts; set spec.tier to free, pro",
        ),
        (
            key(|_| {}),
            api(|api| api.default_tier = Some("enterprise".into())),
            "TierNotAllowed: the API's spec.defaultTier: \"enterprise\" is no tier of grant team-a of ProtectedApi speech/transcripts; set spec.tier to free, pro",
        ),
        (
            key(|_| {}),
            api(|api| api.default_tier = None),
            "TierNotAllowed: spec.tier: it is missing, and grant team-a of ProtectedApi speech/transcripts allows no key without; set it to free, pro",
        ),
        (
            key(|key| key.roles = names(&["reader", "admin"])),
            api(|_| {}),
            "RoleNotAllowed: spec.roles: \"admin\" is no role of grant team-a of ProtectedApi speech/transcripts; it allows reader",
        ),
        (
            claiming(&["docs.read", "*"]),
            api(|_| {}),
            "ScopeNotAllowed: spec.scopes: \"*\" is more than the scopes of grant team-a of ProtectedApi speech/transcripts; set spec.scopes to what status, docs.* covers",
        ),
        (
            key(|_| {}),
            api(|api| api.default_scopes = scopes(&["admin"])),
            "ScopeNotAllowed: the API's spec.defaults.scopes: \"admin\" is more than the scopes of grant team-a of ProtectedApi speech/transcripts; set spec.scopes to what status, docs.* covers",
        ),
        (
            owner("acme"),
            api(|api| api.grants[0].owners = Owners::Nobody),
            "OwnerNotAllowed: spec.owner: \"acme\" cannot be claimed, for grant team-a of ProtectedApi speech/transcripts says nothing of owners; leave it out, or ask whoever owns the API",
        ),
        (
            owner("nobody"),
            api(|_| {}),
            "OwnerNotAllowed: spec.owner: no ApiKeyOwner of namespace speech that counts has the externalId \"nobody\" and lists namespace team-a; leave the owner out, or ask whoever owns the API to declare it",
        ),
        (
            owner("hidden"),
            api(|_| {}),
            "OwnerNotAllowed: spec.owner: no ApiKeyOwner of namespace speech that counts has the externalId \"hidden\" and lists namespace team-a; leave the owner out, or ask whoever owns the API to declare it",
        ),
        (
            owner("own"),
            api(|_| {}),
            "OwnerNotAllowed: spec.owner: no ApiKeyOwner of namespace speech that counts has the externalId \"own\" and lists namespace team-a; leave the owner out, or ask whoever owns the API to declare it",
        ),
    ] {
        assert_eq!(refusal(&key, api), expected);
    }
}

#[test]
fn an_api_that_is_not_accepted_says_no_more_to_strangers() {
    let mut policies = policies(api(|_| {}));
    let broken = Err(Rejection::new(Reason::InvalidQuery, "spec.routes[secret]"));
    policies.apis.insert(ObjectName::new("speech", "transcripts"), broken);
    assert_eq!(
        accept(&key(|_| {}), &policies).unwrap_err().to_string(),
        "ApiNotAccepted: spec.apiRef: ProtectedApi speech/transcripts is not accepted; ask whoever owns it to correct it"
    );
}

#[test]
fn one_grant_has_to_allow_everything_and_the_nearest_is_named() {
    let writes_slowly = || {
        grant(|grant| {
            grant.name = "writes".into();
            grant.scopes = ScopeSet::new(scopes(&["docs.write"]));
            grant.tiers = names(&["free"]);
        })
    };
    let reads_fast = || {
        grant(|grant| {
            grant.name = "reads".into();
            grant.scopes = ScopeSet::new(scopes(&["docs.read"]));
            grant.tiers = names(&["pro"]);
        })
    };
    let elsewhere = || {
        grant(|grant| {
            grant.from = team("b");
            grant.scopes = ScopeSet::new(scopes(&["*"]));
            grant.tiers = names(&["enterprise"]);
        })
    };
    let grants = || api(|api| api.grants = vec![writes_slowly(), reads_fast(), elsewhere()]);
    let claim = |tier: &str, scope: &str| {
        key(|key| {
            key.tier = Some(tier.into());
            key.scopes = Some(scopes(&[scope]));
        })
    };
    for (tier, scope) in [("free", "docs.write"), ("pro", "docs.read")] {
        assert!(accept(&claim(tier, scope), &policies(grants())).is_ok());
    }
    for (tier, scope, expected) in [
        ("pro", "docs.write", "ScopeNotAllowed: spec.scopes: \"docs.write\" is more than the scopes of grant reads of"),
        ("free", "docs.read", "ScopeNotAllowed: spec.scopes: \"docs.read\" is more than the scopes of grant writes of"),
        ("enterprise", "docs.read", "TierNotAllowed: spec.tier: \"enterprise\" is no tier of grant writes of"),
    ] {
        let refusal = refusal(&claim(tier, scope), grants());
        assert!(refusal.starts_with(expected), "{refusal}");
        assert!(refusal.contains("(the nearest of 2; one must allow all of it)"), "{refusal}");
    }
}

#[test]
fn what_is_granted_is_had_and_a_role_brings_its_scopes() {
    let key = key(|key| {
        key.tier = Some("pro".into());
        key.roles = names(&["reader"]);
        key.scopes = Some(scopes(&["docs.*.read", "status"]));
        key.owner = Some("acme".into());
    });
    let accepted = accept(&key, &policies(api(|_| {}))).unwrap();
    assert_eq!(accepted.tier.as_deref().map(|tier| &*tier.name), Some("pro"));
    assert_eq!(accepted.scopes.iter().collect::<Vec<_>>(), ["read", "status", "docs.*.read"]);
}

#[test]
fn the_tier_of_an_owner_must_be_granted_as_the_apis_default_must() {
    let with_tiers = |acme: &str, hidden: &str| {
        let mut policies = policies(api(|_| {}));
        for (object, listed, tier) in [("acme", "team-a", acme), ("hidden", "team-b", hidden)] {
            let age = Age { created_at: Timestamp::UNIX_EPOCH, uid: object.into() };
            let owner = Owner {
                object: ObjectName::new("speech", object),
                namespaces: names(&[listed]),
                tier: Some(tier.into()),
                ..fixtures::owner()
            };
            let claim = OwnerClaim { external_id: object.into(), age, owner: Ok(Arc::new(owner)) };
            policies.owners.enter(&ObjectName::new("speech", object), claim);
        }
        policies
    };
    let owned =
        |owner: &str, tier: Option<&str>| key(|key| (key.owner, key.tier) = (Some(owner.into()), tier.map(Arc::from)));
    let tier = |key: &Key, policies: &Policies| {
        let accepted = accept(key, policies).map_err(|rejection| rejection.to_string())?;
        Ok::<_, String>(accepted.tier.map(|tier| tier.name.to_string()))
    };
    assert_eq!(tier(&owned("acme", None), &with_tiers("pro", "pro")), Ok(Some("pro".to_owned())));
    assert_eq!(tier(&owned("acme", Some("free")), &with_tiers("pro", "pro")), Ok(Some("free".to_owned())));
    assert_eq!(
        tier(&owned("acme", None), &with_tiers("enterprise", "pro")).unwrap_err(),
        "TierNotAllowed: the spec.tier of ApiKeyOwner speech/acme: \"enterprise\" is no tier of grant team-a of ProtectedApi speech/transcripts; set spec.tier to free, pro"
    );
    // Whoever may not claim an owner learns nothing about its tier.
    let refused = tier(&owned("hidden", None), &with_tiers("pro", "enterprise")).unwrap_err();
    assert!(refused.starts_with("OwnerNotAllowed: ") && !refused.contains("enterprise"), "{refused}");
}

#[test]
fn a_key_without_claims_fits_into_a_grant_of_nothing_where_the_api_gives_nothing_by_default() {
    let bare = |default_tier: Option<&str>| {
        api(|api| {
            api.default_tier = default_tier.map(Into::into);
            api.grants = vec![Grant { name: "all".into(), ..Grant::default() }];
        })
    };
    let accepted = accept(&key(|_| {}), &policies(bare(None))).unwrap();
    assert_eq!((accepted.tier.is_none(), accepted.scopes), (true, ScopeSet::default()));
    assert_eq!(
        refusal(&key(|_| {}), bare(Some("free"))),
        "TierNotAllowed: the API's spec.defaultTier: \"free\" is no tier of grant all of ProtectedApi speech/transcripts; set spec.tier to nothing"
    );
}

#[test]
fn a_key_of_the_apis_own_namespace_needs_no_grant() {
    let key = key(|key| {
        key.name = ObjectName::new("speech", "ci");
        key.tier = Some("enterprise".into());
        key.roles = names(&["admin"]);
        key.scopes = Some(scopes(&["*"]));
        key.owner = Some("anybody".into());
    });
    assert!(accept(&key, &policies(api(|api| api.grants.clear()))).is_ok());
}

#[test]
fn a_long_list_is_cut_short() {
    let tiers: Vec<String> = (0..64).map(|at| format!("t{at}")).collect();
    assert_eq!(one_of(&tiers), "t0, t1, t2, t3, t4, t5, t6, t7 or one of 56 more");
}
