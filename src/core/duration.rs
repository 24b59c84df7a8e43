//! Durations as manifests spell them: `90d`, `2160h`, `1m30s`, `500ms`, `0s`.

use std::time::Duration;

/// The spelling that the resource schemas admit, for messages and for the schemas themselves.
pub const PATTERN: &str = "^([0-9]{1,4}d|([0-9]{1,5}(h|m|s|ms)){1,4})$";

/// Longest spelling, in characters.
pub const MAX_LENGTH: u32 = 16;

/// A string that is no duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no duration; write days (90d) or hours, minutes, seconds, milliseconds (1h30m, 45s, 500ms)")]
pub struct DurationError(pub String);

/// Reads a duration: whole days alone (`90d`), or up to four numbers each with `h`, `m`, `s` or `ms`.
///
/// # Errors
/// Anything that [`PATTERN`] refuses.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let refuse = || DurationError(text.to_owned());
    if text.len() > MAX_LENGTH as usize {
        return Err(refuse());
    }
    if let Some(days) = text.strip_suffix('d') {
        let days = number(days, 4).ok_or_else(refuse)?;
        return Ok(Duration::from_secs(days * 86_400));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let value = number(&rest[..digits], 5).ok_or_else(refuse)?;
        let (unit, length) = match &rest.as_bytes()[digits..] {
            [b'm', b's', ..] => (Duration::from_millis(value), 2),
            [b'h', ..] => (Duration::from_secs(value * 3600), 1),
            [b'm', ..] => (Duration::from_secs(value * 60), 1),
            [b's', ..] => (Duration::from_secs(value), 1),
            _ => return Err(refuse()),
        };
        total += unit;
        parts += 1;
        rest = &rest[digits + length..];
    }
    if parts == 0 || parts > 4 {
        return Err(refuse());
    }
    Ok(total)
}

fn number(digits: &str, most: usize) -> Option<u64> {
    if digits.is_empty() || digits.len() > most || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_spelling() {
        for (text, millis) in [
            ("90d", 7_776_000_000),
            ("9999d", 863_913_600_000),
            ("2160h", 7_776_000_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("0s", 0),
            ("1h2m3s4ms", 3_723_004),
        ] {
            assert_eq!(parse(text).map(|d| d.as_millis()), Ok(millis), "{text}");
        }
    }

    #[test]
    fn refuses_what_the_schema_refuses() {
        for text in ["", "d", "90", "1.5h", "-1s", "1d2h", "10000d", "100000s", "1w", "1h1h1h1h1h", "1 h", "１s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
