//! How far the wall clock of this machine is from the API server's, as far as the `Date` of its answers proves it.
//!
//! ```text
//!        sent                     received        by the wall clock here
//!         ├───────── took ───────────┤
//!               ▲ somewhere in it, the wall clock there showed between Date and Date + 1 s
//! ```
//!
//! So each answer gives an interval, a second and the time that it took wide. Several of them narrow it down.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `Date` has whole seconds (RFC 9110, section 5.6.7), and cuts off the rest.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// By how much the clock here is ahead of the one there; negative where it is behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skew {
    least: SignedDuration,
    most: SignedDuration,
}

impl Skew {
    /// What an answer with this `Date` proves that was received at `received`, by the wall clock here, `took` after
    /// it was asked for, by a clock that nobody sets.
    #[must_use]
    pub fn of(date: Timestamp, received: Timestamp, took: Duration) -> Self {
        let most = received.duration_since(date);
        let took = SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX);
        Self { least: most.saturating_sub(took).saturating_sub(RESOLUTION), most }
    }

    /// What is known after one more answer. One that contradicts what was known is of a clock that was set meanwhile,
    /// or has drifted: it alone counts.
    #[must_use]
    pub fn narrowed_by(self, answer: Self) -> Self {
        let both = Self { least: self.least.max(answer.least), most: self.most.min(answer.most) };
        if both.least <= both.most { both } else { answer }
    }

    /// By how much the clock here is ahead for certain, or, negative, behind; zero where it may be right.
    #[must_use]
    pub fn certain(self) -> SignedDuration {
        self.least.max(SignedDuration::ZERO) + self.most.min(SignedDuration::ZERO)
    }

    /// Whether the clocks are certainly further apart.
    #[must_use]
    pub fn exceeds(self, limit: Duration) -> bool {
        self.certain().unsigned_abs() > limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::UNIX_EPOCH + ahead(1_700_000_000.0 + seconds)
    }

    fn ahead(seconds: f64) -> SignedDuration {
        SignedDuration::from_secs_f64(seconds)
    }

    fn skew(least: f64, most: f64) -> Skew {
        Skew { least: ahead(least), most: ahead(most) }
    }

    #[test]
    fn only_what_is_certain_counts() {
        // Date, received, took: what is certain.
        for (date, received, took, expected) in [
            (0.0, 0.0, 0.0, 0.0),
            // The clock there may show as much as 1 s more than its Date.
            (0.0, 1.0, 0.0, 0.0),
            (0.0, 1.25, 0.0, 0.25),
            // The Date may have been written when the request came, or when the answer left.
            (0.0, 6.0, 5.0, 0.0),
            (0.0, 6.5, 5.0, 0.5),
            (0.0, -0.25, 0.0, -0.25),
            (0.0, -0.25, 60.0, -0.25),
            (3600.0, 0.0, 0.5, -3600.0),
            (-3600.0, 0.0, 0.5, 3598.5),
        ] {
            let skew = Skew::of(at(date), at(received), Duration::from_secs_f64(took));
            assert_eq!(skew.certain(), ahead(expected), "{date} {received} {took}");
        }
    }

    #[test]
    fn the_end_of_time_is_no_mistake() {
        for (date, received, took) in [
            (Timestamp::MIN, Timestamp::MAX, Duration::ZERO),
            (Timestamp::MAX, Timestamp::MIN, Duration::MAX),
            (Timestamp::MIN, Timestamp::MAX, Duration::MAX),
        ] {
            let skew = Skew::of(date, received, took);
            assert_eq!(skew.exceeds(Duration::from_secs(5)), took == Duration::ZERO || date > received);
        }
    }

    #[test]
    fn answers_narrow_it_down() {
        let known = skew(4.0, 5.5);
        assert_eq!(known.narrowed_by(skew(4.5, 6.0)), skew(4.5, 5.5));
        assert_eq!(known.narrowed_by(skew(-10.0, 10.0)), known, "a slow answer proves little, and takes nothing back");
        assert_eq!(known.narrowed_by(skew(5.5, 6.5)), skew(5.5, 5.5));
    }

    #[test]
    fn an_answer_that_contradicts_what_was_known_counts_alone() {
        let known = skew(4.0, 5.5);
        for answer in [skew(-0.5, 0.5), skew(5.6, 6.6)] {
            assert_eq!(known.narrowed_by(answer), answer);
        }
    }

    #[test]
    fn it_exceeds_what_it_is_certainly_beyond() {
        let limit = Duration::from_secs(5);
        for (skew, expected) in [
            (skew(4.5, 5.5), false),
            (skew(5.0, 6.0), false),
            (skew(5.1, 6.1), true),
            (skew(-5.5, -4.5), false),
            (skew(-6.5, -5.5), true),
            (skew(-60.0, 60.0), false),
        ] {
            assert_eq!(skew.exceeds(limit), expected, "{skew:?}");
        }
    }
}
