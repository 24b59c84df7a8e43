//! When a balance is refilled: at midnight UTC of every day, or of one day of the month.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};

use super::calendar::{day, midnight};
use super::{Interval, Refill};

impl Refill {
    /// The latest instant at or before `now` at which a refill was due.
    #[must_use]
    pub fn latest(self, now: Timestamp) -> Timestamp {
        let today = day(now);
        let due = match self.interval {
            Interval::Daily => today,
            Interval::Monthly { day } => {
                let this_month = of_month(today, day);
                if this_month <= today { this_month } else { of_month(month_before(today), day) }
            }
        };
        midnight(due)
    }

    /// The first instant after `now` at which a refill is due.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Timestamp {
        let today = day(now);
        let due = match self.interval {
            Interval::Daily => today.saturating_add(1.day()),
            Interval::Monthly { day } => {
                let this_month = of_month(today, day);
                if this_month > today {
                    this_month
                } else {
                    of_month(today.first_of_month().saturating_add(1.month()), day)
                }
            }
        };
        midnight(due)
    }
}

/// That day of the month that `date` is in, or the month's last day if it has fewer.
fn of_month(date: Date, day: u8) -> Date {
    let missing = date.days_in_month().saturating_sub_unsigned(day);
    date.last_of_month().saturating_sub(i32::from(missing.max(0)).days())
}

fn month_before(date: Date) -> Date {
    date.first_of_month().saturating_sub(1.month())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instants(interval: Interval, now: &str) -> (String, String) {
        let refill = Refill { interval, amount: 1 };
        let now = now.parse().unwrap();
        (refill.latest(now).to_string(), refill.next(now).to_string())
    }

    #[test]
    fn a_daily_refill_is_due_at_every_midnight() {
        for (now, latest, next) in [
            ("2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("2026-11-22T23:59:59.9Z", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
            ("2024-02-29T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            ("2026-12-31T12:00:00Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(instants(Interval::Daily, now), (latest.to_owned(), next.to_owned()), "{now}");
        }
    }

    #[test]
    fn a_monthly_refill_is_due_on_its_day_or_on_the_last_of_a_shorter_month() {
        for (day, now, latest, next) in [
            (1, "2026-11-22T12:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            (1, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (22, "2026-11-21T23:59:59.9Z", "2026-10-22T00:00:00Z", "2026-11-22T00:00:00Z"),
            (22, "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-12-22T00:00:00Z"),
            (28, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-28T00:00:00Z"),
            (29, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-29T00:00:00Z"),
            (29, "2024-02-28T00:00:00Z", "2024-01-29T00:00:00Z", "2024-02-29T00:00:00Z"),
            (30, "2026-03-01T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-30T00:00:00Z"),
            (30, "2024-03-01T00:00:00Z", "2024-02-29T00:00:00Z", "2024-03-30T00:00:00Z"),
            (31, "2026-02-27T12:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
            (31, "2026-04-30T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"),
            (31, "2026-05-30T23:59:59Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"),
            (31, "2026-01-15T00:00:00Z", "2025-12-31T00:00:00Z", "2026-01-31T00:00:00Z"),
            (31, "2026-12-31T00:00:00Z", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z"),
        ] {
            let expected = (latest.to_owned(), next.to_owned());
            assert_eq!(instants(Interval::Monthly { day }, now), expected, "{day} {now}");
        }
    }

    #[test]
    fn between_two_refills_there_is_none() {
        let intervals = (1..=31).map(|day| Interval::Monthly { day }).chain([Interval::Daily]);
        for refill in intervals.map(|interval| Refill { interval, amount: 1 }) {
            let mut now: Timestamp = "2023-12-15T06:00:00Z".parse().unwrap();
            for _ in 0..30 {
                let next = refill.next(now);
                assert!(next > now && refill.latest(next) == next, "{refill:?} {now}");
                let before: Timestamp = next - jiff::SignedDuration::from_nanos(1);
                assert_eq!((refill.latest(before), refill.next(before)), (refill.latest(now), next), "{refill:?}");
                now = next;
            }
        }
    }
}
