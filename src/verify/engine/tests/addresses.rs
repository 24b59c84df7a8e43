use super::*;

#[test]
fn an_allowlist_needs_a_known_address() {
    let engine =
        engine_with(record(|key| key.ip_allowlist = AddressSet::parse(["10.0.0.0/8", "2001:db8::/32"]).unwrap()));
    for (client, expected) in [
        (None, Some(Code::IpNotAllowed)),
        (Some("192.0.2.1"), Some(Code::IpNotAllowed)),
        (Some("10.1.2.3"), None),
        (Some("::ffff:10.1.2.3"), None),
        (Some("2001:db8::1"), None),
    ] {
        assert_eq!(code(&engine, &Ask { client, ..Ask::default() }), expected, "{client:?}");
    }
}

#[test]
fn an_allowlist_is_judged_by_the_address_before_the_trusted_forwarders() {
    for (forwarders, chain, expected) in [
        (&[][..], &["192.0.2.1, 10.0.0.1"][..], Some(Code::IpNotAllowed)),
        (&[], &["10.0.0.1, 192.0.2.1"], None),
        (&["10.0.0.0/8"], &["192.0.2.1, 10.0.0.1"], None),
        (&["10.0.0.0/8"], &["192.0.2.1", "10.0.0.1"], None),
        (&["10.0.0.0/8"], &["192.0.2.1, 198.51.100.1, 10.0.0.1"], Some(Code::IpNotAllowed)),
        (&["10.0.0.0/8"], &["192.0.2.1, nonsense, 10.0.0.1"], Some(Code::IpNotAllowed)),
        (&["10.0.0.0/8"], &[], Some(Code::IpNotAllowed)),
    ] {
        let api = api(|api| api.trusted_forwarders = AddressSet::parse(forwarders).unwrap());
        let allowed = AddressSet::parse(["192.0.2.0/24"]).unwrap();
        let engine = engine(index(api, vec![record(|key| key.ip_allowlist = allowed)]));
        let mut headers = vec![bearer(1)];
        headers.extend(chain.iter().map(|line| ("x-forwarded-for", (*line).to_owned())));
        let found = ask_from(&engine, &Ask { headers, ..Ask::default() }, ClientAddress::Forwarded);
        assert_eq!(found.denial.map(|denial| denial.code), expected, "{forwarders:?} {chain:?}");
    }
}

#[test]
fn a_caller_is_the_client_unless_it_is_a_trusted_forwarder() {
    for (peer, chain, expected) in [
        ("198.51.100.1", Some("192.0.2.1"), Some(Code::IpNotAllowed)),
        ("192.0.2.1", Some("198.51.100.1"), None),
        ("10.0.0.1", Some("192.0.2.1"), None),
        ("10.0.0.1", Some("192.0.2.1, 10.0.0.1"), None),
        ("10.0.0.1", Some("192.0.2.1, 198.51.100.1"), Some(Code::IpNotAllowed)),
        ("10.0.0.1", Some("nonsense"), Some(Code::IpNotAllowed)),
        ("10.0.0.1", None, Some(Code::IpNotAllowed)),
    ] {
        let api = api(|api| api.trusted_forwarders = AddressSet::parse(["10.0.0.0/8"]).unwrap());
        let allowed = AddressSet::parse(["192.0.2.0/24"]).unwrap();
        let engine = engine(index(api, vec![record(|key| key.ip_allowlist = allowed)]));
        let mut headers = vec![bearer(1)];
        headers.extend(chain.map(|line| ("x-forwarded-for", line.to_owned())));
        let client = ClientAddress::Through(peer.parse().unwrap());
        let found = ask_from(&engine, &Ask { headers, ..Ask::default() }, client);
        assert_eq!(found.denial.map(|denial| denial.code), expected, "{peer} {chain:?}");
    }
}
