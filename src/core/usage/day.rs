//! Days of UTC.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

const SECONDS_PER_DAY: i64 = 86_400;

/// The day that Unix time begins with.
const FIRST: Date = Date::constant(1970, 1, 1);

/// One day, by how many lie between it and the one that Unix time begins with. Written `2026-11-22`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Day(i32);

/// A string that is no day.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no day; write one as 2026-11-22")]
pub struct DayError(String);

impl Day {
    /// The day that an instant is in.
    #[must_use]
    pub fn of(at: Timestamp) -> Self {
        // An instant has at most seven digits of days.
        Self(i32::try_from(at.as_second().div_euclid(SECONDS_PER_DAY)).unwrap_or_default())
    }

    /// Year and month.
    pub(super) fn month(self) -> (i16, i8) {
        let date = self.date();
        (date.year(), date.month())
    }

    fn date(self) -> Date {
        FIRST.saturating_add(self.0.days())
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.date(), f)
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let midnight = text.parse().and_then(|date: Date| date.to_zoned(TimeZone::UTC));
        let day = midnight.ok().map(|midnight| Self::of(midnight.timestamp()));
        // There are other ways to write a date, and one day must not have two names.
        day.filter(|day| day.to_string() == text).ok_or_else(|| DayError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_day_is_refused() {
        for text in ["", "today", "2026-11", "2026-11-31", "20261122", "2026-11-22T00:00:00Z", " 2026-11-22", "1e9"] {
            assert_eq!(text.parse::<Day>(), Err(DayError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn days_are_written_as_they_are_read_and_begin_at_midnight() {
        for (instant, expected) in [
            ("2026-11-22T00:00:00Z", "2026-11-22"),
            ("2026-11-21T23:59:59.999Z", "2026-11-21"),
            ("2024-02-29T12:00:00Z", "2024-02-29"),
            ("1969-12-31T23:59:59Z", "1969-12-31"),
            ("9999-12-30T21:00:00Z", "9999-12-30"),
        ] {
            let day = Day::of(instant.parse().unwrap());
            assert_eq!((day.to_string().as_str(), expected.parse()), (expected, Ok(day)), "{instant}");
        }
        let day = |text: &str| text.parse::<Day>().unwrap();
        assert!(day("2026-11-30") < day("2026-12-01"));
        assert_eq!(day("2026-11-30").month(), (2026, 11));
    }
}
