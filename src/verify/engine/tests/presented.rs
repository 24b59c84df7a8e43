use super::*;

#[test]
fn a_key_is_found_where_the_api_looks_and_only_there() {
    let engine = engine_with(record(|_| {}));
    let good = string(1).expose().to_owned();
    let other = string(2).expose().to_owned();
    let encoded = format!("%73{}", &good[1..]);
    let jwt = || "Bearer eyJhbGciOi.eyJzdWIi.c2ln".to_owned();
    let target = |query: &str| format!("/v1/transcripts/1?{query}");
    for (headers, query, expected) in [
        (vec![], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", good.clone())], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", format!("Basic {good}"))], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", format!("Bearer{good}"))], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", format!("Bearer {good} x"))], String::new(), Some(Code::Unauthorized)),
        (vec![("authorization", "Bearer ".to_owned())], String::new(), Some(Code::Unauthorized)),
        (vec![("x-other", good.clone())], String::new(), Some(Code::Unauthorized)),
        (
            vec![("authorization", format!("Bearer {good}")), ("x-api-key", other.clone())],
            String::new(),
            Some(Code::Unauthorized),
        ),
        (vec![("x-api-key", good.clone()), ("x-api-key", other.clone())], String::new(), Some(Code::Unauthorized)),
        (vec![("x-api-key", good.clone())], format!("api_key={other}"), Some(Code::Unauthorized)),
        (
            vec![("x-api-key", good.clone()), ("x-api-key", other.clone()), ("x-api-key", good.clone())],
            String::new(),
            Some(Code::Unauthorized),
        ),
        (vec![], format!("api_keys={good}"), Some(Code::Unauthorized)),
        (vec![], format!("api_key={good}%"), Some(Code::Unauthorized)),
        (vec![], format!("api_key={}", "%41".repeat(200)), Some(Code::Unauthorized)),
        (vec![("authorization", format!("bearer   {good}"))], String::new(), None),
        (vec![("x-api-key", format!(" {good}\t"))], String::new(), None),
        (vec![("authorization", jwt()), ("x-api-key", good.clone())], String::new(), None),
        (
            vec![("authorization", format!("Bearer {good}")), ("x-api-key", good.clone())],
            format!("api_key={encoded}"),
            None,
        ),
        (vec![], format!("a=b&api%5Fkey={encoded}&c"), None),
    ] {
        let request = Ask { headers, target: target(&query), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{:?} {query}", request.headers);
    }
}

/// The key u2, imported as that string, whatever it looks like.
fn imported(string: &str, pepper: &Pepper) -> KeyRecord {
    let mut record = record(|key| {
        key.uid = "u2".into();
        key.source = Some(Source::Secret { name: "old".into(), key: "token".into() });
    });
    record.versions[0].digest = pepper.digest_of(string.as_bytes());
    record
}

#[test]
fn an_imported_string_is_a_key_whatever_it_looks_like_and_only_where_it_is_known() {
    const LEGACY: &str = "legacy-token%2f/0123456789";
    let plain = || engine_with(record(|_| {}));
    let importing = || engine(index(api(|_| {}), vec![record(|_| {}), imported(LEGACY, &pepper())]));
    let legacy = ("x-api-key", LEGACY.to_owned());
    let jwt = |length: usize| ("authorization", format!("Bearer {}", "e".repeat(length)));
    for (engine, headers, query, expected) in [
        (plain(), vec![legacy.clone()], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![("x-api-key", LEGACY[1..].to_owned())], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![("x-api-key", "x".repeat(5_000))], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![legacy.clone(), bearer(1)], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![legacy.clone(), bearer(9)], String::new(), Some(Code::Unauthorized)),
        (importing(), vec![legacy.clone()], String::new(), None),
        (importing(), vec![legacy.clone(), jwt(60)], String::new(), None),
        (importing(), vec![jwt(5_000), legacy.clone()], String::new(), None),
        (importing(), vec![bearer(1)], String::new(), None),
        (importing(), vec![], format!("api_key={}", LEGACY.replace('%', "%25")), None),
    ] {
        let request = Ask { headers, target: format!("/v1/transcripts/1?{query}"), ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{:?} {query}", request.headers);
    }
}

#[test]
fn a_string_is_known_under_every_pepper_and_of_two_keys_the_older_counts() {
    let older = Pepper::new("p2", &[8; 32]).unwrap();
    let both = || Peppers::new(older.clone(), [pepper()]);
    // u1 was created first, or else has the smaller uid.
    let same = imported(string(1).expose(), &older);
    let engine = engine(index(api(|_| {}), vec![record(|_| {}), same]));
    let holder = || ask(&engine, &Ask::default()).identity.map(|identity| identity.entry().uid().to_owned());
    for (peppers, expected) in [
        (both(), Some("u1")),
        (Peppers::from(older.clone()), Some("u2")),
        (Peppers::from(pepper()), Some("u1")),
        (Peppers::from(Pepper::new("p3", &[9; 32]).unwrap()), None),
    ] {
        engine.set_peppers(peppers);
        assert_eq!(holder().as_deref(), expected);
    }
}

#[test]
fn a_key_that_goes_over_to_another_pepper_is_known_all_the_while() {
    let next = Pepper::new("p2", &[8; 32]).unwrap();
    let index = index(api(|_| {}), vec![record(|_| {})]);
    let engine = engine(Arc::clone(&index));
    engine.set_peppers(Peppers::new(next.clone(), [pepper()]));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..2_000 {
                let mut record = record(|_| {});
                let pepper = if round % 2 == 0 { next.clone() } else { pepper() };
                record.versions[0].digest = pepper.digest(&string(1));
                index.apply(record);
            }
        });
        while !writer.is_finished() {
            assert_eq!(code(&engine, &Ask::default()), None);
        }
    });
}

#[test]
fn a_key_of_another_api_is_unknown_here() {
    let index = index(api(|_| {}), vec![record(|_| {})]);
    let other = api(|api| api.name = name("other"));
    index.change_policies(|policies| {
        policies.apis.insert(name("other"), Ok(other));
    });
    let engine = engine(index);
    let verdict = ask(&engine, &Ask { api: "other", ..Ask::default() });
    assert_eq!(verdict.denial.map(|denial| denial.code), Some(Code::Unauthorized));
    assert!(verdict.identity.is_none());
}
