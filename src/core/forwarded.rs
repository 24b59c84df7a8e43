//! Whose request a chain of proxies passes on, by `X-Forwarded-For`: each proxy adds the address that it was called
//! from, and whatever stood there before came from the caller.

use std::net::IpAddr;

use super::address::AddressSet;

/// The last address that is none of the trusted proxies'; all of them trusted, it is the first. `lines` are the
/// values of the header's lines in the order of arrival, which together make one list (RFC 9110, section 5.3).
///
/// `None`: there is no list, or an entry up to that address is none, such as `unknown` or an address with a port.
pub fn client<'a>(lines: impl DoubleEndedIterator<Item = &'a [u8]>, trusted: &AddressSet) -> Option<IpAddr> {
    let mut known = None;
    for line in lines.rev() {
        for entry in line.rsplit(|byte| *byte == b',') {
            let address = std::str::from_utf8(entry.trim_ascii()).ok()?.parse().ok()?;
            if !trusted.contains(address) {
                return Some(address);
            }
            known = Some(address);
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[&str], trusted: &[&str]) -> Option<String> {
        let trusted = AddressSet::parse(trusted).unwrap();
        client(lines.iter().map(|line| line.as_bytes()), &trusted).map(|address| address.to_string())
    }

    #[test]
    fn an_entry_that_is_no_address_leaves_the_client_unknown() {
        for lines in [
            &[][..],
            &[""],
            &["192.0.2.1,"],
            &["192.0.2.1", ""],
            &["unknown"],
            &["_hidden"],
            &["192.0.2.1:4711"],
            &["[2001:db8::1]"],
            &["fe80::1%eth0"],
            &["192.0.2.1 10.0.0.1"],
            &["192.0.2.1, nonsense, 10.0.0.1"],
            &["192.0.2.1", "\u{ff}", "10.0.0.1"],
        ] {
            assert_eq!(found(lines, &["10.0.0.0/8"]), None, "{lines:?}");
        }
    }

    #[test]
    fn what_stands_left_of_an_untrusted_address_counts_for_nothing() {
        for (lines, trusted, expected) in [
            (&["198.51.100.9, 192.0.2.1"][..], &[][..], "192.0.2.1"),
            (&["198.51.100.9", "192.0.2.1"], &[], "192.0.2.1"),
            (&["nonsense, 192.0.2.1"], &["10.0.0.0/8"], "192.0.2.1"),
            (&["192.0.2.1,10.0.0.1 ,\t10.0.0.2"], &["10.0.0.0/8"], "192.0.2.1"),
            (&["192.0.2.1", "10.0.0.1", "10.0.0.2"], &["10.0.0.0/8"], "192.0.2.1"),
            (&["10.0.0.9, 192.0.2.1, 10.0.0.1"], &["10.0.0.0/8"], "192.0.2.1"),
            (&["192.0.2.1, ::ffff:10.0.0.1"], &["10.0.0.0/8"], "192.0.2.1"),
            (&["2001:db8::1, fd00::1"], &["fd00::/8"], "2001:db8::1"),
            // A trusted proxy that calls by itself.
            (&["10.0.0.2, 10.0.0.1"], &["10.0.0.0/8"], "10.0.0.2"),
        ] {
            assert_eq!(found(lines, trusted).as_deref(), Some(expected), "{lines:?} {trusted:?}");
        }
    }
}
