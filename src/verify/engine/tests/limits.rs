use super::*;

#[test]
fn the_limit_refuses_and_says_when_it_will_not() {
    let engine = engine_with(record(|key| key.tier = Some("pro".into())));
    for remaining in [2, 1, 0] {
        let verdict = ask(&engine, &Ask::default());
        assert_eq!((verdict.denial, verdict.limit.map(|limit| limit.remaining)), (None, Some(remaining)));
    }
    // Cells begin at 60, 120, ...: the three of this one weigh two at 140.
    for now in [100, 139] {
        let verdict = ask(&engine, &Ask { now, ..Ask::default() });
        let denial = verdict.denial.unwrap();
        assert_eq!((denial.code, denial.retry_after), (Code::RateLimited, u32::try_from(140 - now).ok()));
        assert_eq!(verdict.limit.map(|limit| limit.remaining), Some(0));
    }
    assert_eq!(code(&engine, &Ask { now: 140, ..Ask::default() }), None);
}

#[test]
fn a_denial_about_a_known_key_tells_its_limit_and_charges_nothing() {
    let engine = engine_with(record(|key| key.tier = Some("pro".into())));
    let refused = Ask { method: "POST", target: "/v1/transcripts".to_owned(), ..Ask::default() };
    for _ in 0..5 {
        let verdict = ask(&engine, &refused);
        assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::InsufficientScope));
        assert_eq!(verdict.limit.map(|limit| limit.remaining), Some(3));
    }
    let unknown = ask(&engine, &Ask { headers: vec![bearer(9)], ..Ask::default() });
    assert_eq!(unknown.limit, None);
}

fn key_of_acme(uid: &str, seed: u8) -> KeyRecord {
    let versions = vec![version(1, seed, VersionState::Current)];
    KeyRecord { versions, ..record(|key| (key.uid, key.name) = (uid.into(), name(uid))) }
}

fn with_string(seed: u8) -> Ask {
    Ask { headers: vec![bearer(seed)], ..Ask::default() }
}

#[test]
fn keys_of_one_owner_share_its_limits_from_the_moment_it_is_declared() {
    let keys = || vec![key_of_acme("a", 1), key_of_acme("b", 2)];
    let shared = Owner { rate_limits: vec![limit("shared", 2, 60)], ..fixtures::owner() };
    let index = index_with_owner(keys(), shared.clone());
    let engine = engine(Arc::clone(&index));
    let remaining = |seed| ask(&engine, &with_string(seed)).limit.map(|limit| limit.remaining);
    assert_eq!((remaining(1), remaining(2)), (Some(1), Some(0)));
    assert_eq!(code(&engine, &with_string(1)), Some(Code::RateLimited));
    // What was charged outlives edits of the owner and of its keys.
    let raised = Owner { rate_limits: vec![limit("shared", 3, 60)], ..shared };
    index.change_owners_if(|owners| {
        enter_owner(owners, Ok(Arc::new(raised)));
        true
    });
    index.reset(keys());
    assert_eq!((remaining(2), code(&engine, &with_string(1))), (Some(0), Some(Code::RateLimited)));
    index.change_owners_if(|owners| {
        owners.clear();
        true
    });
    assert_eq!((remaining(1), remaining(2)), (None, None));
}

#[test]
fn a_route_says_what_its_requests_cost() {
    let routes = vec![
        Route {
            cost: 5,
            charges: vec![RouteCharge { limit: "heavy".into(), cost: 3 }],
            ..route("infer", &["POST"], "/v1/infer", None)
        },
        Route { cost: 0, ..route("list", &["GET"], "/v1/list", None) },
    ];
    let engine = engine(index(
        api(|api| api.routes = Routes::build(routes).unwrap()),
        vec![record(|key| {
            key.rate_limits = vec![RateLimit { auto_apply: false, ..limit("heavy", 7, 60) }, limit("all", 100, 60)];
        })],
    ));
    let infer = || Ask { method: "POST", target: "/v1/infer".to_owned(), ..Ask::default() };
    let list = || Ask { target: "/v1/list".to_owned(), ..Ask::default() };
    let told = |ask: &Verdict| ask.limit.as_ref().map(|limit| (limit.name.to_string(), limit.remaining));
    assert_eq!(told(&ask(&engine, &infer())), Some(("heavy".to_owned(), 4)));
    assert_eq!(told(&ask(&engine, &list())), Some(("all".to_owned(), 98)));
    assert_eq!(told(&ask(&engine, &infer())), Some(("heavy".to_owned(), 1)));
    assert_eq!(code(&engine, &infer()), Some(Code::RateLimited));
    assert_eq!(code(&engine, &list()), None);
}

#[test]
fn limits_are_not_shared_before_it_is_known_among_how_many() {
    let index = Arc::new(Index::default());
    index.change_policies(|policies| drop(policies.apis.insert(name("transcripts"), Ok(api(|_| {})))));
    index.reset(vec![key_of_acme("free", 1), record(|key| key.rate_limits = vec![limit("a", 9, 60)])]);
    index.apply(KeyRecord {
        versions: vec![version(1, 2, VersionState::Current)],
        ..record(|key| key.rate_limits = vec![limit("a", 10, 60)])
    });
    let engine = engine(Arc::clone(&index));
    assert_eq!(code(&engine, &with_string(1)), None);
    assert_eq!(code(&engine, &with_string(2)), Some(Code::Unavailable));
    index.set_processes(NonZeroU32::new(4).unwrap());
    assert_eq!([(); 4].map(|()| code(&engine, &with_string(2))), [None, None, None, Some(Code::RateLimited)]);
}
