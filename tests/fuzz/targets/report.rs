//! Batches of a log shipper, lines of an access log, and messages of Envoy's access log service: whatever the bytes, reading ends with what can be counted and
//! written again, or with what is wrong.

#![no_main]

use keyturn::core::access_log;
use keyturn::core::report::{self, MOST_BYTES, is_id};
use keyturn::transport::report::access_log::Entries;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lines) = report::parse(bytes) {
        for line in &lines {
            assert!(is_id(&line.key) && line.bytes.inward.max(line.bytes.outward) <= MOST_BYTES, "{line:?}");
        }
        assert_eq!(report::parse(report::write(&lines).as_bytes()), Ok(lines));
    }
    if let Ok(entries) = Entries::decode(bytes) {
        for line in &entries.lines {
            assert!(is_id(&line.key) && line.bytes.inward.max(line.bytes.outward) <= MOST_BYTES, "{line:?}");
        }
    }
    if let Ok(Some(entry)) = access_log::parse(bytes) {
        assert!(is_id(&entry.key) && entry.bytes.inward.max(entry.bytes.outward) <= MOST_BYTES, "{entry:?}");
    }
});
