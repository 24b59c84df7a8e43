//! When the first chunks of periods to come are reserved: spread over the last tenth of the period before, so that
//! keys do not meet at midnight.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::core::budget::Period;
use crate::core::budget::calendar::CalendarPeriod;

/// Whose quotas of which kind of period.
type Subject = (Arc<str>, Period);

/// What is due when, by uid.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    order: BTreeSet<(Timestamp, Arc<str>, Period)>,
    due: HashMap<Subject, Timestamp>,
}

impl Schedule {
    /// Plans it for an instant in what is left of the period's last tenth; `fraction` of it is waited, 0 to 1. What
    /// is planned already stays.
    pub(super) fn plan(&mut self, uid: &Arc<str>, period: CalendarPeriod, now: Timestamp, fraction: f64) {
        let subject = (Arc::clone(uid), period.period());
        if !self.due.contains_key(&subject) {
            self.insert(subject, period.late(now, fraction));
        }
    }

    /// Plans it for that instant.
    pub(super) fn plan_at(&mut self, uid: &Arc<str>, period: Period, at: Timestamp) {
        let subject = (Arc::clone(uid), period);
        if let Some(before) = self.due.remove(&subject) {
            self.order.remove(&(before, Arc::clone(uid), period));
        }
        self.insert(subject, at);
    }

    /// Takes out the first that is due.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Subject> {
        let (at, ..) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, uid, period) = self.order.pop_first()?;
        let subject = (uid, period);
        self.due.remove(&subject);
        Some(subject)
    }

    fn insert(&mut self, subject: Subject, at: Timestamp) {
        self.order.insert((at, Arc::clone(&subject.0), subject.1));
        self.due.insert(subject, at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::super::pace::{Pace, Patient};
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn uid(n: usize) -> Arc<str> {
        format!("{n:08}").into()
    }

    #[test]
    fn what_is_due_comes_out_once_in_its_order() {
        let mut schedule = Schedule::default();
        let [day, month] = ["2026-11-22", "2026-11"].map(|period| period.parse::<CalendarPeriod>().unwrap());
        let noon = at("2026-11-22T12:00:00Z");
        schedule.plan(&uid(1), day, noon, 0.5);
        schedule.plan(&uid(1), day, noon, 0.0);
        schedule.plan(&uid(2), day, noon, 0.25);
        schedule.plan(&uid(1), month, noon, 0.0);
        schedule.plan(&uid(3), day, noon, 0.9);
        schedule.plan_at(&uid(3), Period::Day, at("2026-11-22T13:00:00Z"));
        assert_eq!(schedule.pop(noon), None);
        for (before, now, expected) in [
            ("2026-11-22T12:59:59Z", "2026-11-22T13:00:00Z", (uid(3), Period::Day)),
            ("2026-11-22T22:11:59Z", "2026-11-22T22:12:00Z", (uid(2), Period::Day)),
            ("2026-11-22T22:47:59Z", "2026-11-22T22:48:00Z", (uid(1), Period::Day)),
            ("2026-11-27T23:59:59Z", "2026-11-28T00:00:00Z", (uid(1), Period::Month)),
        ] {
            assert_eq!(schedule.pop(at(before)), None, "{before}");
            assert_eq!(schedule.pop(at(now)), Some(expected), "{now}");
        }
        assert!(schedule.order.is_empty() && schedule.due.is_empty());
    }

    /// Writes whatever is due, as fast as is allowed, from then to midnight; answers how many writes there were in
    /// the second that had most, and how many were not done by midnight.
    fn run(schedule: &mut Schedule, from: Timestamp) -> (usize, usize) {
        let (mut pace, mut most, midnight) = (Pace::default(), 0, at("2026-11-23T00:00:00Z"));
        for second in 0..from.duration_until(midnight).as_secs() {
            let mut written = 0;
            for millis in (0..1_000).step_by(5) {
                let passed = Duration::from_secs(second.unsigned_abs()) + Duration::from_millis(millis);
                let now = from + SignedDuration::try_from(passed).unwrap();
                // As long as since boot; a request that waits takes a place now and then.
                let since_boot = Duration::from_secs(1_000) + passed;
                if millis % 100 == 0 {
                    assert!(pace.urgent(since_boot, Duration::from_millis(250)).is_some(), "{now}");
                }
                while schedule.order.first().is_some_and(|(due, ..)| *due <= now)
                    && pace.patient(Patient::Next, since_boot).is_ok()
                {
                    schedule.pop(now);
                    written += 1;
                }
            }
            most = most.max(written);
        }
        (most, schedule.order.len())
    }

    #[test]
    fn a_hundred_thousand_keys_have_their_first_chunk_before_midnight() {
        let day: CalendarPeriod = "2026-11-22".parse().unwrap();
        // All of them in use since noon, or only since half an hour before midnight.
        for (first_used, most_a_second) in [("2026-11-22T12:00:00Z", 40), ("2026-11-22T23:30:00Z", 110)] {
            let mut schedule = Schedule::default();
            for n in 0..100_000_u32 {
                // Evenly, as a hundred thousand random numbers are on the whole.
                let fraction = f64::from(n.wrapping_mul(48_271) % 100_000) / 100_000.0;
                schedule.plan(&uid(n as usize), day, at(first_used), fraction);
            }
            let (most, late) = run(&mut schedule, at(first_used).max(day.last_tenth()));
            assert_eq!(late, 0, "{first_used}");
            assert!(most <= most_a_second, "{most} writes in one second of a day that began at {first_used}");
        }
    }
}
