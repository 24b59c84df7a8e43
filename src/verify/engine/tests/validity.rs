use super::*;

#[test]
fn each_version_is_accepted_for_its_time() {
    let mut key = record(|_| {});
    key.versions = vec![
        version(5, 5, VersionState::Staged),
        version(4, 4, VersionState::Current),
        KeyVersion { not_after: Some(at(100)), ..version(3, 3, VersionState::Grace) },
        version(2, 2, VersionState::Grace),
        version(1, 1, VersionState::Retired),
    ];
    let engine = engine_with(key);
    for (seed, now, expected) in [
        (5, 0, None),
        (4, 1_000_000, None),
        (3, 99, None),
        (3, 100, Some(Code::Expired)),
        (2, 0, Some(Code::Expired)),
        (1, 0, Some(Code::Expired)),
        (6, 0, Some(Code::Unauthorized)),
    ] {
        let request = Ask { headers: vec![bearer(seed)], now, ..Ask::default() };
        assert_eq!(code(&engine, &request), expected, "{seed} at {now}");
    }
}

#[test]
fn expiry_is_the_keys_own_or_counted_from_its_creation() {
    let api = api(|api| api.expires_after = Some(Duration::from_secs(50)));
    for (own, now, expected) in [
        (None, 49, None),
        (None, 50, Some(Code::Expired)),
        (Some(at(60)), 59, None),
        (Some(at(60)), 60, Some(Code::Expired)),
    ] {
        let engine = engine(index(Arc::clone(&api), vec![record(|key| key.expires_at = own)]));
        assert_eq!(code(&engine, &Ask { now, ..Ask::default() }), expected, "{own:?} at {now}");
    }
}

#[test]
fn what_cannot_be_honoured_is_not_accepted() {
    let mut malformed = record(|_| {});
    malformed.key = Err(Rejection::new(Reason::Invalid, "spec.tier: nonsense"));
    let mut refused = record(|_| {});
    refused.refused_by_controller = Some(Rejection::new(Reason::SecretNameTaken, "taken"));
    for (key, reason) in [(malformed, "Invalid"), (refused, "SecretNameTaken")] {
        let denial = ask(&engine_with(key), &Ask::default()).denial;
        assert_eq!(denial, Some(Denial::new(Code::NotAccepted, reason)));
    }
}

#[test]
fn a_silent_watch_closes_the_gate_and_news_open_it() {
    let engine = engine_with(record(|_| {}));
    assert_eq!(code(&engine, &Ask { monotonic: 40, ..Ask::default() }), None);
    assert_eq!(code(&engine, &Ask { monotonic: 41, ..Ask::default() }), Some(Code::Unavailable));
    Watched::ALL.into_iter().for_each(|kind| engine.gate.heard(kind, Duration::from_secs(41)));
    assert_eq!(code(&engine, &Ask { monotonic: 41, ..Ask::default() }), None);
}

#[test]
fn a_permit_is_looked_at_for_every_request() {
    let engine = engine_with(record(|_| {}));
    engine.gate.permit(Duration::from_secs(20));
    assert_eq!(code(&engine, &Ask { monotonic: 19, ..Ask::default() }), None);
    assert_eq!(code(&engine, &Ask { monotonic: 20, ..Ask::default() }), Some(Code::Unavailable));
}
