//! One line: `{"key":"key_4fJ2","in":512,"out":20480,"at":1795339200.123}`, a request that has ended.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::core::report::{MOST_BYTES, is_id};
use crate::core::usage::{Bytes, Day};

/// What went through the proxy with a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// status.id of the key.
    pub key: String,
    /// The day on which the request has ended.
    pub day: Day,
    pub bytes: Bytes,
}

/// A line that the proxy cannot have written so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the line is not of the format keyturn_bandwidth; it looks like {{\"key\":\"\",\"in\":0,\"out\":0,\"at\":0.0}}"
)]
pub struct Malformed;

/// A field that is there twice is an error, others than these are nobody's business.
#[derive(Deserialize)]
struct Line {
    key: String,
    r#in: u64,
    out: u64,
    /// Seconds of Unix time.
    at: f64,
}

/// Reads a line without its end; `None`: a request that nobody's key was let in with.
///
/// # Errors
/// The line is of another format, or cut short.
pub fn parse(line: &[u8]) -> Result<Option<Entry>, Malformed> {
    let Line { key, r#in: inward, out: outward, at } = serde_json::from_slice(line).map_err(|_| Malformed)?;
    if key.is_empty() {
        return Ok(None);
    }
    let at = SignedDuration::try_from_secs_f64(at).map_err(|_| Malformed)?;
    let day = Day::of(Timestamp::from_duration(at).map_err(|_| Malformed)?);
    if !is_id(&key) || inward.max(outward) > MOST_BYTES {
        return Err(Malformed);
    }
    Ok(Some(Entry { key, day, bytes: Bytes { inward, outward } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_not_written_so_is_none() {
        for line in [
            "",
            "127.0.0.1 - - \"GET / HTTP/1.1\" 200 17",
            r#"{"key":"key_1","in":1,"out":2}"#,
            r#"{"key":"key_1","in":1,"out":2,"at":1e300}"#,
            r#"{"key":"key_1","in":1,"out":2,"at":"1"}"#,
            r#"{"key":"key_1","in":-1,"out":2,"at":1.0}"#,
            r#"{"key":"key_1","in":1,"out":1000000000000001,"at":1.0}"#,
            r#"{"key":"a b","in":1,"out":2,"at":1.0}"#,
            r#"{"key":"key_1","in":1,"out":2,"at":1."#,
            r#"{"key":"key_1","in":1,"out":2,"at":1.0}{"key":"key_2","in":1,"out":2,"at":1.0}"#,
            // What is put between quotes without escape=json ends up as a second field.
            r#"{"key":"key_1","in":1,"out":2,"at":1.0,"agent":"x","key":"key_2","in":9}"#,
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line}");
        }
        assert_eq!(parse(b"{\"key\":\"\xff\"}"), Err(Malformed));
    }

    #[test]
    fn what_is_nobodys_is_skipped() {
        assert_eq!(parse(br#"{"key":"","in":1,"out":2,"at":1795339200.000}"#), Ok(None));
    }

    #[test]
    fn a_request_counts_on_the_day_it_has_ended() {
        let bytes = Bytes { inward: 120, outward: 4096 };
        for (at, day) in [("1795305599.999", "2026-11-21"), ("1795305600.000", "2026-11-22")] {
            let line = format!(r#"{{"key":"key_1","in":120,"out":4096,"at":{at},"agent":"a\",\"in\":9"}}"#);
            let entry = Entry { key: "key_1".into(), day: day.parse().unwrap(), bytes };
            assert_eq!(parse(line.as_bytes()), Ok(Some(entry)), "{at}");
        }
    }
}
