//! Client addresses and the ranges that a key may be used from.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::SmallVec;

/// A string that is neither an address nor a range in CIDR notation.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a CIDR range; write 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32")]
pub struct AddressError(pub String);

/// Addresses and ranges, IPv4 and IPv6. Host bits of a range are masked; an IPv4-mapped IPv6 range counts as
/// the IPv4 range that it maps (RFC 4291, section 2.5.5.2). Empty admits every address.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddressSet(
    /// Most keys that have a range have one: it lies where the key does.
    SmallVec<[IpNet; 1]>,
);

impl AddressSet {
    /// Parses every entry.
    ///
    /// # Errors
    /// The first entry that is neither an address nor a range.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, AddressError> {
        let parse = |entry: S| -> Result<IpNet, AddressError> {
            let entry = entry.as_ref();
            let net = entry.parse::<IpNet>().ok().or_else(|| entry.parse::<IpAddr>().ok().map(IpNet::from));
            net.map(unmap).ok_or_else(|| AddressError(entry.to_owned()))
        };
        let mut nets = entries.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        nets = IpNet::aggregate(&nets);
        Ok(Self(SmallVec::from_slice(&nets)))
    }

    /// Whether there is no restriction.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, as manifests have them.
    pub fn entries(&self) -> impl Iterator<Item = String> {
        let single = |net: &IpNet| net.prefix_len() == net.max_prefix_len();
        self.0.iter().map(move |net| if single(net) { net.addr().to_string() } else { net.to_string() })
    }

    /// Whether the address lies in one of the ranges, or there is no restriction.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        self.0.is_empty() || self.contains(address)
    }

    /// Whether the address lies in one of the ranges. None of them contains any.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }
}

fn unmap(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else {
        return net.trunc();
    };
    match (v6.network().to_ipv4_mapped(), v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(prefix)) => {
            ipnet::Ipv4Net::new(v4, prefix).map_or_else(|_| net.trunc(), |net| IpNet::V4(net).trunc())
        }
        _ => net.trunc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(entries: &[&str], address: &str) -> bool {
        AddressSet::parse(entries).unwrap().admits(address.parse().unwrap())
    }

    #[test]
    fn admits_by_address_and_range() {
        for (entries, address, expected) in [
            (&["127.0.0.1"][..], "127.0.0.1", true),
            (&["127.0.0.1"], "127.0.0.2", false),
            (&["10.0.0.0/8"], "10.255.0.1", true),
            (&["10.0.0.0/8"], "11.0.0.1", false),
            (&["10.1.2.3/8"], "10.9.9.9", true),
            (&["0.0.0.0/0"], "198.51.100.1", true),
            (&["0.0.0.0/0"], "2001:db8::1", false),
            (&["2001:db8::/32"], "2001:db8:1::1", true),
            (&["2001:db8::/32"], "2001:db9::1", false),
            (&["10.0.0.0/8"], "::ffff:10.0.0.1", true),
            (&["::ffff:10.0.0.0/104"], "10.0.0.1", true),
            (&["::ffff:10.0.0.1"], "10.0.0.1", true),
            (&["10.0.0.0/8", "192.0.2.1"], "192.0.2.1", true),
            (&[], "192.0.2.1", true),
        ] {
            assert_eq!(admits(entries, address), expected, "{entries:?} {address}");
        }
    }

    #[test]
    fn names_the_entry_that_is_wrong() {
        for entry in ["10.0.0.0/33", "10.0.0", "host", "", "10.0.0.1 ", "2001:db8::/129"] {
            assert_eq!(AddressSet::parse([entry]), Err(AddressError(entry.to_owned())), "{entry}");
        }
    }
}
