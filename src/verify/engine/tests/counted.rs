use super::*;

#[test]
fn what_is_judged_of_a_known_key_is_counted() {
    let engine = engine_with(record(|key| key.rate_limits = vec![limit("two", 2, 60)]));
    let write = || Ask { method: "POST", target: "/v1/transcripts".to_owned(), ..Ask::default() };
    let of_nobody = [
        Ask { headers: vec![bearer(9)], ..Ask::default() },
        Ask { target: "/healthz".to_owned(), ..Ask::default() },
        Ask { broken: Some("a header is missing"), ..Ask::default() },
    ];
    let of_the_key = [Ask::default(), write(), Ask { now: 101, ..Ask::default() }, Ask::default(), write()];
    of_nobody.iter().chain(&of_the_key).for_each(|request| drop(ask(&engine, request)));

    let key = only_used(&engine.index);
    assert_eq!((key.namespace(), key.uid(), key.since), ("speech", "u1", Duration::from_secs(10)));
    let usage = key.take();
    let mut expected = Usage::default();
    let from = Some([192, 0, 2, 1].into());
    for now in [100, 101] {
        expected.allowed(LastUse { at: at(now), from }, 1, Some(&"read".into()));
    }
    for code in [Code::InsufficientScope, Code::InsufficientScope, Code::RateLimited] {
        expected.denied(code.as_str());
    }
    assert_eq!(usage, expected);
}

#[test]
fn a_key_waits_once_to_be_written_down_however_often_it_is_used() {
    let index = index(api(|_| {}), vec![record(|_| {})]);
    let engine = engine(Arc::clone(&index));
    let use_it = || assert_eq!(code(&engine, &Ask::default()), None);
    use_it();
    let key = only_used(&index);
    // An edit of the key changes nothing about it.
    index.apply(record(|key| key.owner = Some("another".into())));
    use_it();
    assert_eq!((key.take().requests.total, index.used().take().len()), (2, 0));
    use_it();
    assert!(key.settle(), "it was used while it was written");
    assert_eq!((key.take().requests.total, key.settle()), (1, false));
    use_it();
    let key = only_used(&index);
    let taken = key.take();
    key.put_back(&taken);
    use_it();
    assert_eq!((key.take().requests.total, index.used().take().len()), (2, 0));
}

#[test]
fn in_audit_mode_what_would_be_refused_is_counted_as_refused() {
    let engine = engine(index(api(|api| api.mode = Mode::Audit), vec![record(|key| key.enabled = false)]));
    assert_eq!(code(&engine, &Ask::default()), None);
    let key = only_used(&engine.index);
    let usage = key.take();
    assert_eq!((usage.requests.total, usage.denied.get("DISABLED")), (0, Some(&1)));
}
