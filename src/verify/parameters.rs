//! Query parameters of a request target (URL standard, "application/x-www-form-urlencoded").

use crate::core::path;

/// The values of every parameter of that name, as they are written.
pub(super) fn values<'a>(target: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let (_, query) = path::split(target);
    query.unwrap_or_default().split(|byte| *byte == b'&').filter_map(move |pair| value_of(pair, name))
}

/// The value of a `name=value` pair of that name, which may be encoded itself.
fn value_of<'a>(pair: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&pair[..equals], &pair[equals + 1..]);
    let mut octets = Octets(name);
    let same = wanted.bytes().all(|byte| octets.next() == Some(byte)) && octets.next().is_none();
    same.then_some(value)
}

/// Percent-decodes on the way; a broken encoding stands for itself.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl Iterator for Octets<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if let Some(octet) = path::octet(rest).filter(|_| *first == b'%') {
            self.0 = &rest[2..];
            Some(octet)
        } else {
            self.0 = rest;
            Some(*first)
        }
    }
}
