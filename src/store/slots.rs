//! Which server of a cluster keeps which keys.
//!
//! A key belongs to one of 16,384 slots, by a checksum of its hash tag; `CLUSTER SLOTS` tells who has which.

use redis::Value;

/// How many slots every cluster has.
const SLOTS: u16 = 16_384;

/// The slot of a key: of what stands between its first `{` and the `}` after that, if anything does.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let inside = &key[open + 1..];
        inside.iter().position(|byte| *byte == b'}').map(|close| &inside[..close])
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM, as the cluster specification asks for.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(
            crc ^ (u16::from(*byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    })
}

/// Slots that one server has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Range<S> {
    first: u16,
    last: u16,
    pub(super) server: S,
}

/// Who has which slots.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Slots<S>(
    /// In order, none overlapping.
    Vec<Range<S>>,
);

impl<S> Slots<S> {
    /// Who has that slot; `None` while nobody does.
    pub(super) fn server(&self, slot: u16) -> Option<&S> {
        let after = self.0.partition_point(|range| range.last < slot);
        self.0.get(after).filter(|range| range.first <= slot).map(|range| &range.server)
    }

    /// Everybody who has any, once for every range.
    pub(super) fn servers(&self) -> impl Iterator<Item = &S> {
        self.0.iter().map(|range| &range.server)
    }

    pub(super) fn map<T>(&self, mut other: impl FnMut(&S) -> T) -> Slots<T> {
        let ranges = self.0.iter();
        Slots(
            ranges.map(|range| Range { first: range.first, last: range.last, server: other(&range.server) }).collect(),
        )
    }
}

/// A server's host and port as a cluster tells them; no host: that of whoever has told.
pub(super) type Told = (Option<String>, u16);

impl Slots<Told> {
    /// Reads the reply to `CLUSTER SLOTS`; `None` if it is none. Replicas are left out.
    pub(super) fn read(reply: &Value) -> Option<Self> {
        let mut ranges = array(reply)?.iter().map(range).collect::<Option<Vec<_>>>()?;
        ranges.sort_by_key(|range| range.first);
        Some(Self(ranges))
    }
}

/// `[first, last, [host, port, …], …]`
fn range(value: &Value) -> Option<Range<Told>> {
    let [Value::Int(first), Value::Int(last), primary, ..] = array(value)? else { return None };
    let [host, Value::Int(port), ..] = array(primary)? else { return None };
    let host = match host {
        Value::BulkString(host) => Some(str::from_utf8(host).ok()?).filter(|host| !host.is_empty() && *host != "?"),
        Value::Nil => None,
        _ => return None,
    };
    Some(Range {
        first: u16::try_from(*first).ok()?,
        last: u16::try_from(*last).ok()?,
        server: (host.map(str::to_owned), u16::try_from(*port).ok()?),
    })
}

fn array(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn told(first: i64, last: i64, primary: Vec<Value>) -> Value {
        let replica = Value::Array(vec![bulk("10.0.0.9"), Value::Int(1)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), Value::Array(primary), replica])
    }

    #[test]
    fn the_hash_tag_decides_the_slot() {
        // From the cluster specification, and as a server answers CLUSTER KEYSLOT.
        for (key, expected) in [
            ("123456789", 12_739),
            ("foo", 12_182),
            ("{foo}.bar", 12_182),
            ("keyturn:{foo}:k:requests:1000", 12_182),
            ("foo{}{bar}", slot(b"foo{}{bar}")),
            ("{foo}}", 12_182),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS, "an empty tag is none");
        assert_eq!(slot(b"{foo"), crc16(b"{foo") % SLOTS, "a brace that does not close is none");
    }

    #[test]
    fn what_is_no_reply_is_not_read() {
        for reply in [
            Value::Nil,
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![told(0, 1, vec![])]),
            Value::Array(vec![told(-1, 1, vec![bulk("a"), Value::Int(1)])]),
            Value::Array(vec![told(0, 1, vec![bulk("a"), Value::Int(65_536)])]),
            Value::Array(vec![told(0, 1, vec![Value::Int(1), Value::Int(1)])]),
        ] {
            assert_eq!(Slots::read(&reply), None, "{reply:?}");
        }
    }

    #[test]
    fn every_slot_is_found_with_whom_it_belongs_to() {
        let reply = Value::Array(vec![
            told(8_192, 16_383, vec![bulk("10.0.0.2"), Value::Int(7_001), bulk("id"), Value::Array(vec![])]),
            told(0, 99, vec![bulk("10.0.0.1"), Value::Int(7_000)]),
            told(100, 100, vec![Value::Nil, Value::Int(7_002)]),
            told(200, 200, vec![bulk("?"), Value::Int(7_003)]),
        ]);
        let slots = Slots::read(&reply).unwrap();
        let at = |slot| slots.server(slot).map(|(host, port)| (host.as_deref(), *port));
        for (slot, expected) in [
            (0, Some((Some("10.0.0.1"), 7_000))),
            (99, Some((Some("10.0.0.1"), 7_000))),
            (100, Some((None, 7_002))),
            (101, None),
            (200, Some((None, 7_003))),
            (8_191, None),
            (8_192, Some((Some("10.0.0.2"), 7_001))),
            (16_383, Some((Some("10.0.0.2"), 7_001))),
        ] {
            assert_eq!(at(slot), expected, "{slot}");
        }
    }
}
