//! What shippers of logs tell verifiers: one JSON object in one line for each key,
//! `{"key": "key_4fJ2", "in": 512, "out": 20480, "day": "2026-11-22"}`.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::usage::{Bandwidth, Bytes, Day};

/// Longest batch, in bytes.
pub const MOST_BODY: usize = 1 << 20;

/// Most lines of a batch.
pub const MOST_LINES: usize = 5_000;

/// Longest id of a key, in bytes.
pub const LONGEST_ID: usize = 64;

/// Most bytes that one line may tell of, in each direction: a petabyte.
pub const MOST_BYTES: u64 = 1_000_000_000_000_000;

/// What went through a proxy with one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Line {
    /// status.id of the key, which backends know as `X-Apikey-Id`.
    pub key: String,
    pub bytes: Bytes,
    /// The day of the requests; `None`: that of the report.
    pub day: Option<Day>,
}

/// A batch that is not counted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BatchError {
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: Problem },
    #[error("there are more than {MOST_LINES} lines; send them in several batches")]
    TooMany,
}

/// What is wrong with a line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Problem {
    #[error("it is no JSON object; write {{\"key\": ID, \"in\": BYTES, \"out\": BYTES}}")]
    NoObject,
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("key must be an id, a string of 1 to {LONGEST_ID} visible ASCII characters")]
    Id,
    #[error("{0} must be a whole number from 0 to {MOST_BYTES}")]
    Bytes(&'static str),
    #[error("day must be a day of UTC such as \"2026-11-22\"")]
    Day,
    #[error("there is no field {0:?}; leave it out")]
    Unknown(String),
}

/// Reads a batch. Empty lines say nothing.
///
/// # Errors
/// The first line that is not as it should be.
pub fn parse(batch: &[u8]) -> Result<Vec<Line>, BatchError> {
    let numbered = (1..).zip(batch.split(|byte| *byte == b'\n'));
    let said = numbered.filter(|(_, text)| !text.trim_ascii().is_empty());
    let mut lines = Vec::new();
    for (line, text) in said {
        if lines.len() == MOST_LINES {
            return Err(BatchError::TooMany);
        }
        lines.push(parse_line(text).map_err(|problem| BatchError::Line { line, problem })?);
    }
    Ok(lines)
}

fn parse_line(text: &[u8]) -> Result<Line, Problem> {
    let mut object: Map<String, Value> = serde_json::from_slice(text).map_err(|_| Problem::NoObject)?;
    let mut required = |name| object.remove(name).ok_or(Problem::Missing(name));
    let (key, inward, outward) = (required("key")?, required("in")?, required("out")?);
    let day = match object.remove("day") {
        None => None,
        Some(Value::String(day)) => Some(day.parse().map_err(|_| Problem::Day)?),
        Some(_) => return Err(Problem::Day),
    };
    if let Some(name) = object.into_iter().next().map(|(name, _)| name) {
        return Err(Problem::Unknown(name.chars().take(LONGEST_ID).collect()));
    }
    let Value::String(key) = key else { return Err(Problem::Id) };
    if !is_id(&key) {
        return Err(Problem::Id);
    }
    let bytes = Bytes { inward: number("in", &inward)?, outward: number("out", &outward)? };
    Ok(Line { key, bytes, day })
}

fn number(name: &'static str, value: &Value) -> Result<u64, Problem> {
    value.as_u64().filter(|number| *number <= MOST_BYTES).ok_or(Problem::Bytes(name))
}

/// Whether that can be the id of a key.
#[must_use]
pub fn is_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Writes a batch, as [`parse`] reads it.
#[must_use]
pub fn write(lines: &[Line]) -> String {
    let mut batch = String::new();
    for Line { key, bytes, day } in lines {
        let key = Value::from(key.as_str());
        // Writing to a String cannot fail.
        let _ = write!(batch, "{{\"key\":{key},\"in\":{},\"out\":{}", bytes.inward, bytes.outward);
        let _ = day.iter().try_for_each(|day| write!(batch, ",\"day\":\"{day}\""));
        batch.push_str("}\n");
    }
    batch
}

impl Line {
    /// What is counted when it comes in at `now`. A day that has not begun is that of the report, so that no clock that is
    /// ahead ends a day before its time.
    #[must_use]
    pub fn bandwidth(&self, now: Timestamp) -> Bandwidth {
        let today = Day::of(now);
        Bandwidth::of(self.day.map_or(today, |day| day.min(today)), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::usage::Sums;

    fn line(key: &str, inward: u64, outward: u64, day: Option<&str>) -> Line {
        Line { key: key.into(), bytes: Bytes { inward, outward }, day: day.map(|day| day.parse().unwrap()) }
    }

    #[test]
    fn the_first_line_that_is_wrong_is_named_with_its_field() {
        let good = r#"{"key": "key_1", "in": 1, "out": 2}"#;
        for (bad, told) in [
            ("none", "line 2: it is no JSON object; write {\"key\": ID, \"in\": BYTES, \"out\": BYTES}"),
            ("[1]", "line 2: it is no JSON object; write {\"key\": ID, \"in\": BYTES, \"out\": BYTES}"),
            ("\u{0}", "line 2: it is no JSON object; write {\"key\": ID, \"in\": BYTES, \"out\": BYTES}"),
            ("{}", "line 2: key is missing"),
            (r#"{"key": "k", "out": 1}"#, "line 2: in is missing"),
            (r#"{"key": "k", "in": 1}"#, "line 2: out is missing"),
            (
                r#"{"key": "", "in": 1, "out": 1}"#,
                "line 2: key must be an id, a string of 1 to 64 visible ASCII characters",
            ),
            (
                r#"{"key": "a b", "in": 1, "out": 1}"#,
                "line 2: key must be an id, a string of 1 to 64 visible ASCII characters",
            ),
            (
                r#"{"key": 1, "in": 1, "out": 1}"#,
                "line 2: key must be an id, a string of 1 to 64 visible ASCII characters",
            ),
            (r#"{"key": "k", "in": -1, "out": 1}"#, "line 2: in must be a whole number from 0 to 1000000000000000"),
            (r#"{"key": "k", "in": 1.5, "out": 1}"#, "line 2: in must be a whole number from 0 to 1000000000000000"),
            (r#"{"key": "k", "in": 1, "out": "1"}"#, "line 2: out must be a whole number from 0 to 1000000000000000"),
            (
                r#"{"key": "k", "in": 1, "out": 1000000000000001}"#,
                "line 2: out must be a whole number from 0 to 1000000000000000",
            ),
            (r#"{"key": "k", "in": 1, "out": 1, "day": 1}"#, "line 2: day must be a day of UTC such as \"2026-11-22\""),
            (
                r#"{"key": "k", "in": 1, "out": 1, "day": "22.11."}"#,
                "line 2: day must be a day of UTC such as \"2026-11-22\"",
            ),
            (r#"{"key": "k", "in": 1, "out": 1, "bytes": 1}"#, "line 2: there is no field \"bytes\"; leave it out"),
        ] {
            let batch = format!("{good}\n{bad}\n{{}}\n");
            assert_eq!(parse(batch.as_bytes()).unwrap_err().to_string(), told, "{bad}");
        }
        assert!(matches!(parse(b"\n{\xff}"), Err(BatchError::Line { line: 2, problem: Problem::NoObject })));
        let long = line(&"k".repeat(LONGEST_ID + 1), 0, 0, None);
        assert!(parse(write(&[long]).as_bytes()).is_err());
    }

    #[test]
    fn a_batch_holds_as_many_lines_as_it_may_and_no_more() {
        let id = "k".repeat(LONGEST_ID);
        let most = vec![line(&id, MOST_BYTES, MOST_BYTES, Some("2026-11-22")); MOST_LINES];
        let batch = write(&most);
        assert!(batch.len() <= MOST_BODY, "{}", batch.len());
        assert_eq!(parse(batch.as_bytes()), Ok(most));
        assert_eq!(parse(format!("{batch}\n{{}}").as_bytes()), Err(BatchError::TooMany));
    }

    #[test]
    fn lines_may_end_in_any_way_and_empty_ones_say_nothing() {
        let batch = "\r\n{\"out\":2,\"in\":1,\"key\":\"key_1\"}\r\n\n{\"key\":\"key_2\",\"in\":0,\"out\":0,\"day\":\"2026-11-22\"}";
        let expected = vec![line("key_1", 1, 2, None), line("key_2", 0, 0, Some("2026-11-22"))];
        assert_eq!(parse(batch.as_bytes()), Ok(expected));
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn a_line_counts_on_its_day_but_on_none_that_has_not_begun() {
        let now: Timestamp = "2026-11-22T00:00:05Z".parse().unwrap();
        for (day, expected) in [
            (None, "2026-11-22"),
            (Some("2026-11-21"), "2026-11-21"),
            (Some("2026-11-22"), "2026-11-22"),
            (Some("2026-11-23"), "2026-11-22"),
            (Some("9999-12-30"), "2026-11-22"),
        ] {
            let bandwidth = line("k", 1, 2, day).bandwidth(now);
            let bytes = Sums::of(Bytes { inward: 1, outward: 2 });
            assert_eq!(bandwidth, Bandwidth { day: expected.parse().unwrap(), bytes }, "{day:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_whatsoever_make_it_panic(batch in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&batch);
        }

        #[test]
        fn what_is_written_is_read(key in "[!-~]{1,64}", inward in 0..=MOST_BYTES, outward in 0..=MOST_BYTES) {
            let lines = vec![line(&key, inward, outward, None), line(&key, outward, inward, Some("2026-02-28"))];
            prop_assert_eq!(parse(write(&lines).as_bytes()), Ok(lines));
        }
    }
}
