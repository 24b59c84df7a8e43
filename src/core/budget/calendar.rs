//! Days and months of UTC.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::Period;

/// One day or month, from its first midnight to the midnight after it. Written `2026-11-22` or `2026-11`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct CalendarPeriod {
    period: Period,
    first_day: Date,
}

/// Neither a day nor a month.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a period; it looks like 2026-11-22 or 2026-11")]
pub struct ParseError(String);

impl CalendarPeriod {
    /// The one that `now` is in.
    #[must_use]
    pub fn of(period: Period, now: Timestamp) -> Self {
        Self::beginning_with(period, day(now))
    }

    fn beginning_with(period: Period, day: Date) -> Self {
        let first_day = match period {
            Period::Day => day,
            Period::Month => day.first_of_month(),
        };
        Self { period, first_day }
    }

    /// Whether it is a day or a month.
    #[must_use]
    pub const fn period(self) -> Period {
        self.period
    }

    #[must_use]
    pub fn begin(self) -> Timestamp {
        midnight(self.first_day)
    }

    /// The first instant after it.
    #[must_use]
    pub fn end(self) -> Timestamp {
        self.next().begin()
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        let day = match self.period {
            Period::Day => self.first_day.saturating_add(1.day()),
            Period::Month => self.first_day.saturating_add(1.month()),
        };
        Self::beginning_with(self.period, day)
    }

    /// When its last tenth begins.
    #[must_use]
    pub fn last_tenth(self) -> Timestamp {
        let length = self.begin().duration_until(self.end());
        instant(self.end(), -(length / 10))
    }

    /// An instant in what is left of its last tenth at `now`; `fraction` of that is before it, 0 to 1.
    #[must_use]
    pub fn late(self, now: Timestamp, fraction: f64) -> Timestamp {
        let from = self.last_tenth().max(now).min(self.end());
        instant(from, from.duration_until(self.end()).mul_f64(fraction.clamp(0.0, 1.0)))
    }
}

impl fmt::Display for CalendarPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period {
            Period::Day => fmt::Display::fmt(&self.first_day, f),
            Period::Month => write!(f, "{:04}-{:02}", self.first_day.year(), self.first_day.month()),
        }
    }
}

impl FromStr for CalendarPeriod {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (period, day) = match text.len() {
            10 => (Period::Day, text.parse()),
            7 => (Period::Month, format!("{text}-01").parse()),
            _ => return Err(ParseError(text.to_owned())),
        };
        let parsed = day.ok().map(|day: Date| Self::beginning_with(period, day));
        // There are other ways to write a date, and one period must not have two names.
        parsed.filter(|parsed| parsed.to_string() == text).ok_or_else(|| ParseError(text.to_owned()))
    }
}

/// The day that an instant is in.
pub(super) fn day(now: Timestamp) -> Date {
    TimeZone::UTC.to_datetime(now).date()
}

/// The instant a day begins.
pub(super) fn midnight(day: Date) -> Timestamp {
    // Only the last day that there is has none after it.
    TimeZone::UTC.to_timestamp(day.to_datetime(Time::midnight())).unwrap_or(Timestamp::MAX)
}

fn instant(from: Timestamp, distance: SignedDuration) -> Timestamp {
    from.saturating_add(distance).unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_no_period_is_refused() {
        for text in ["", "2026", "2026-13", "2026-00", "2026-1", "2026-11-31", "2026-1-22", "20261122", "2026-W47-7"] {
            assert_eq!(text.parse::<CalendarPeriod>(), Err(ParseError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn a_period_begins_and_ends_at_midnight() {
        for (period, now, name, begin, end) in [
            (Period::Day, "2026-11-22T00:00:00Z", "2026-11-22", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            (
                Period::Day,
                "2026-11-22T23:59:59.999999999Z",
                "2026-11-22",
                "2026-11-22T00:00:00Z",
                "2026-11-23T00:00:00Z",
            ),
            (Period::Day, "2024-02-28T12:00:00Z", "2024-02-28", "2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z"),
            (Period::Day, "2023-02-28T12:00:00Z", "2023-02-28", "2023-02-28T00:00:00Z", "2023-03-01T00:00:00Z"),
            (Period::Day, "2026-12-31T12:00:00Z", "2026-12-31", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Month, "2024-02-29T23:59:59Z", "2024-02", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Month, "2023-02-28T23:59:59Z", "2023-02", "2023-02-01T00:00:00Z", "2023-03-01T00:00:00Z"),
            (Period::Month, "2026-01-31T00:00:00Z", "2026-01", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"),
            (Period::Month, "2026-12-31T23:59:59Z", "2026-12", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            let found = CalendarPeriod::of(period, at(now));
            assert_eq!((found.to_string().as_str(), found.begin(), found.end()), (name, at(begin), at(end)), "{now}");
            assert_eq!(name.parse(), Ok(found));
            assert_eq!(CalendarPeriod::of(period, found.end()), found.next());
        }
    }

    #[test]
    fn the_last_tenth_is_as_long_as_the_period_makes_it() {
        for (name, begin) in [
            ("2026-11-22", "2026-11-22T21:36:00Z"),
            ("2026-11", "2026-11-28T00:00:00Z"),
            ("2024-02", "2024-02-27T02:24:00Z"),
        ] {
            let period: CalendarPeriod = name.parse().unwrap();
            assert_eq!(period.last_tenth(), at(begin));
        }
    }

    #[test]
    fn what_is_done_late_is_spread_over_what_is_left_of_the_last_tenth() {
        let day: CalendarPeriod = "2026-11-22".parse().unwrap();
        for (now, fraction, expected) in [
            ("2026-11-22T12:00:00Z", 0.0, "2026-11-22T21:36:00Z"),
            ("2026-11-22T12:00:00Z", 0.5, "2026-11-22T22:48:00Z"),
            ("2026-11-22T23:00:00Z", 0.5, "2026-11-22T23:30:00Z"),
            ("2026-11-22T23:00:00Z", 2.0, "2026-11-23T00:00:00Z"),
            ("2026-11-22T23:00:00Z", -1.0, "2026-11-22T23:00:00Z"),
            ("2026-11-23T01:00:00Z", 0.5, "2026-11-23T00:00:00Z"),
        ] {
            assert_eq!(day.late(at(now), fraction), at(expected), "{now} {fraction}");
        }
    }

    #[test]
    fn the_last_day_that_there_is_ends() {
        let last = CalendarPeriod::of(Period::Day, Timestamp::MAX);
        assert!(last.begin() <= last.end());
    }
}
