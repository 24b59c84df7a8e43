//! A rate limit as arithmetic: a sliding window estimated from two cells that are aligned to the Unix epoch.
//!
//! ```text
//! used = current + previous × (1 − elapsed ÷ window)
//! ```
//!
//! All of it in whole milliseconds and units of cost, multiplied out so that nothing is rounded.

use std::num::NonZeroU32;
use std::time::Duration;

use jiff::Timestamp;

/// Longest window, in milliseconds (720 h). It keeps `limit × window` within 64 bits.
const MAX_WINDOW: u64 = 720 * 3_600 * 1_000;

/// How much one window admits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Rule {
    limit: u32,
    /// In milliseconds, 1 to [`MAX_WINDOW`].
    window: u64,
}

impl Rule {
    /// At most `limit` units of cost in any window. A window outside 1 ms to 720 h is brought to the nearer end.
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        let window = u64::try_from(window.as_millis()).map_or(MAX_WINDOW, |window| window.clamp(1, MAX_WINDOW));
        Self { limit, window }
    }

    /// Units of cost that one window admits.
    #[must_use]
    pub const fn limit(self) -> u32 {
        self.limit
    }

    /// What each of so many admits so that all together admit no less than one would.
    #[must_use]
    pub const fn shared_among(self, processes: NonZeroU32) -> Self {
        Self { limit: self.limit.div_ceil(processes.get()), ..self }
    }

    /// Whether the cells of both begin and end at the same instants, so that charges to one count for the other.
    #[must_use]
    pub const fn shares_window_with(self, other: Self) -> bool {
        self.window == other.window
    }

    /// The window in milliseconds: 1 to 2,592,000,000 (720 h).
    #[must_use]
    pub const fn window_milliseconds(self) -> u64 {
        self.window
    }

    /// The window in seconds, rounded up.
    #[must_use]
    pub const fn window_seconds(self) -> u32 {
        seconds(self.window)
    }
}

/// What has been charged: in the cell of that number, counted from the epoch in windows, and in the one before.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cells {
    number: u64,
    current: u32,
    previous: u32,
}

/// Why a charge is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// Seconds after which the same charge passes if nothing else is charged, rounded up; `None` if it costs
    /// more than the limit and never will.
    pub retry_after: Option<u32>,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Whole units that can be charged now.
    pub remaining: u32,
    /// Seconds until nothing counts any more if nothing else is charged, rounded up.
    pub reset_after: u32,
}

impl Cells {
    /// What was charged in the cell of that number, and in the one before.
    #[must_use]
    pub const fn new(number: u64, current: u32, previous: u32) -> Self {
        Self { number, current, previous }
    }

    /// The cells after charging `cost` at `now`. A cost of 0 looks without charging. A clock that steps back
    /// behind the current cell counts as standing at that cell's beginning, so that stepping admits nothing.
    ///
    /// # Errors
    /// The limit has no room for the cost.
    pub fn charge(self, rule: Rule, now: Timestamp, cost: u32) -> Result<Self, Refusal> {
        let Position { cells, elapsed, behind } = self.at(rule, now);
        let used = cells.used(rule, elapsed) + product(cost, rule.window);
        if used > product(rule.limit, rule.window) {
            let wait = cells.wait(rule, elapsed, cost);
            return Err(Refusal { retry_after: wait.map(|wait| seconds(wait.saturating_add(behind))) });
        }
        Ok(Self { current: cells.current.saturating_add(cost), ..cells })
    }

    /// What is left at `now`.
    #[must_use]
    pub fn standing(self, rule: Rule, now: Timestamp) -> Standing {
        let Position { cells, elapsed, behind } = self.at(rule, now);
        let free = product(rule.limit, rule.window).saturating_sub(cells.used(rule, elapsed));
        let reset_after = match cells {
            Self { current: 0, previous: 0, .. } => 0,
            Self { current: 0, .. } => rule.window - elapsed,
            _ => 2 * rule.window - elapsed,
        };
        // Not above `limit × window`, hence within 64 bits.
        let remaining = u64::try_from(free).unwrap_or(u64::MAX) / rule.window;
        Standing {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_after: seconds(reset_after.saturating_add(behind)),
        }
    }

    /// Brings the cells up to `now`.
    fn at(self, rule: Rule, now: Timestamp) -> Position {
        let now = u64::try_from(now.as_millisecond()).unwrap_or(0);
        let number = now / rule.window;
        if number < self.number {
            let behind = (self.number.saturating_mul(rule.window)).saturating_sub(now);
            return Position { cells: self, elapsed: 0, behind };
        }
        let cells = match number - self.number {
            0 => self,
            1 => Self { number, current: 0, previous: self.current },
            _ => Self { number, current: 0, previous: 0 },
        };
        Position { cells, elapsed: now - number * rule.window, behind: 0 }
    }

    /// `used × window`.
    fn used(self, rule: Rule, elapsed: u64) -> u128 {
        product(self.current, rule.window) + product(self.previous, rule.window - elapsed)
    }

    /// Milliseconds from `elapsed` until `cost` fits, which it does not yet.
    fn wait(self, rule: Rule, elapsed: u64, cost: u32) -> Option<u64> {
        let room = rule.limit.checked_sub(cost)?;
        // In this cell the share of the previous one shrinks to nothing; what is in the current one stays.
        if let Some(room) = room.checked_sub(self.current) {
            return Some(rule.until_share_is(room, self.previous).saturating_sub(elapsed));
        }
        // In the next one the same happens to what is in the current one.
        Some(rule.window - elapsed + rule.until_share_is(room, self.current))
    }
}

impl Rule {
    /// Milliseconds into a cell from which on no more than `room` of the `previous` cell's count weighs in:
    /// the smallest e with `previous × (window − e) ≤ room × window`.
    fn until_share_is(self, room: u32, previous: u32) -> u64 {
        let weight = (u64::from(room) * self.window).checked_div(previous.into()).unwrap_or(self.window);
        self.window.saturating_sub(weight)
    }
}

/// Cells brought up to an instant.
struct Position {
    cells: Cells,
    /// Milliseconds since the current cell began.
    elapsed: u64,
    /// Milliseconds until the clock reaches the current cell, if it has stepped back.
    behind: u64,
}

fn product(count: u32, milliseconds: u64) -> u128 {
    u128::from(count) * u128::from(milliseconds)
}

/// Milliseconds as whole seconds, rounded up.
#[expect(clippy::cast_possible_truncation, reason = "two windows are 5,184,000 s; more is brought to the end")]
const fn seconds(milliseconds: u64) -> u32 {
    let seconds = milliseconds.div_ceil(1_000);
    if seconds > u32::MAX as u64 { u32::MAX } else { seconds as u32 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(limit: u32, window: u64) -> Rule {
        Rule::new(limit, Duration::from_millis(window))
    }

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(milliseconds).unwrap()
    }

    const fn cells(number: u64, current: u32, previous: u32) -> Cells {
        Cells::new(number, current, previous)
    }

    #[test]
    fn charges_by_the_share_of_the_previous_cell() {
        for (before, now, cost, expected) in [
            (cells(0, 0, 0), 100_000, 1, Ok(cells(10, 1, 0))),
            (cells(10, 9, 0), 100_000, 1, Ok(cells(10, 10, 0))),
            // 10 × (1 − 0.1) + 1 = 10
            (cells(10, 10, 0), 111_000, 1, Ok(cells(11, 1, 10))),
            (cells(10, 10, 0), 120_000, 10, Ok(cells(12, 10, 0))),
            // 10 + 3 × 0.5 is above the limit, as after lowering it.
            (cells(10, 10, 3), 105_000, 0, Err(5)),
            (cells(10, 10, 0), 105_000, 0, Ok(cells(10, 10, 0))),
            // Full: the next cell admits one at 1 s.
            (cells(10, 10, 0), 105_000, 1, Err(6)),
            // 10 × (1 − 0.0999) + 1 > 10 until 111 s
            (cells(10, 10, 0), 110_999, 1, Err(1)),
            // 4 + 10 × (1 − e) ≤ 9 from e = 0.5
            (cells(11, 4, 10), 111_000, 1, Err(4)),
            // Nothing of either cell may weigh in: two cells on.
            (cells(10, 10, 0), 100_000, 10, Err(20)),
        ] {
            let charged = before.charge(rule(10, 10_000), at(now), cost);
            let expected = expected.map_err(|seconds| Refusal { retry_after: Some(seconds) });
            assert_eq!(charged, expected, "{before:?} at {now} for {cost}");
        }
    }

    #[test]
    fn a_share_is_rounded_up() {
        for (limit, processes, expected) in [(10, 1, 10), (10, 3, 4), (10, 10, 1), (1, 99, 1)] {
            let share = rule(limit, 10_000).shared_among(NonZeroU32::new(processes).unwrap());
            assert_eq!(share, rule(expected, 10_000));
        }
    }

    #[test]
    fn a_cost_above_the_limit_never_passes() {
        let charged = Cells::default().charge(rule(10, 1_000), at(0), 11);
        assert_eq!(charged, Err(Refusal { retry_after: None }));
    }

    #[test]
    fn standing_tells_what_is_left_and_until_when_it_counts() {
        for (cells, now, remaining, reset_after) in [
            (cells(0, 0, 0), 0, 10, 0),
            (cells(10, 4, 0), 105_000, 6, 15),
            (cells(11, 0, 4), 115_001, 8, 5),
            (cells(10, 4, 0), 115_001, 8, 5),
            (cells(11, 1, 5), 115_000, 6, 15),
            (cells(10, 12, 12), 105_000, 0, 15),
            (cells(10, 12, 12), 130_000, 10, 0),
        ] {
            let standing = cells.standing(rule(10, 10_000), at(now));
            assert_eq!(standing, Standing { remaining, reset_after }, "{cells:?} at {now}");
        }
    }

    #[test]
    fn a_clock_that_steps_back_admits_nothing_and_says_when_it_will() {
        let full = cells(10, 10, 0);
        assert_eq!(full.charge(rule(10, 10_000), at(95_000), 1), Err(Refusal { retry_after: Some(16) }));
        assert!(full.charge(rule(10, 10_000), at(-5), 1).is_err());
    }

    #[test]
    fn the_largest_numbers_fit() {
        let rule = Rule::new(u32::MAX, Duration::MAX);
        let full = cells(1, u32::MAX, u32::MAX);
        assert_eq!(rule.window_seconds(), 2_592_000);
        assert_eq!(full.charge(rule, at(2_592_000_000), u32::MAX), Err(Refusal { retry_after: Some(5_184_000) }));
        assert_eq!(full.standing(rule, Timestamp::MAX).remaining, u32::MAX);
        assert!(cells(u64::MAX, 1, 1).charge(rule, Timestamp::MIN, u32::MAX).is_err());
    }

    /// The formula as it is written, in exact fractions.
    fn admits(cells: Cells, limit: u32, window: u64, now: u64, cost: u32) -> bool {
        let number = now / window;
        let in_cell = |wanted: Option<u64>| match wanted {
            Some(wanted) if wanted == cells.number => u128::from(cells.current),
            Some(wanted) if Some(wanted) == cells.number.checked_sub(1) => u128::from(cells.previous),
            _ => 0,
        };
        let elapsed = u128::from(now % window);
        let window = u128::from(window);
        let used = in_cell(Some(number)) * window + in_cell(number.checked_sub(1)) * (window - elapsed);
        used + u128::from(cost) * window <= u128::from(limit) * window
    }

    proptest! {
        #[test]
        fn agrees_with_the_formula_and_retry_after_is_the_smallest_wait(
            limit in 1_u32..60, window in 1_000_u64..20_000, number in 1_u64..1_000, later in 0_u64..50_000,
            current in 0_u32..80, previous in 0_u32..80, cost in 0_u32..60,
        ) {
            let cells = cells(number, current, previous);
            let now = number * window + later;
            let charged = cells.charge(rule(limit, window), at(now.cast_signed()), cost);
            prop_assert_eq!(charged.is_ok(), admits(cells, limit, window, now, cost));
            match charged {
                Ok(_) => {}
                Err(Refusal { retry_after: None }) => prop_assert!(cost > limit),
                Err(Refusal { retry_after: Some(wait) }) => {
                    let wait = u64::from(wait);
                    prop_assert!(admits(cells, limit, window, now + wait * 1_000, cost), "passes after {}", wait);
                    prop_assert!(!admits(cells, limit, window, now + (wait - 1) * 1_000, cost), "not before {}", wait);
                }
            }
        }

        #[test]
        fn remaining_is_what_can_be_charged(
            limit in 1_u32..60, window in 1_000_u64..20_000, later in 0_u64..50_000, current in 0_u32..80, previous in 0_u32..80,
        ) {
            let cells = cells(7, current, previous);
            let now = at((7 * window + later).cast_signed());
            let remaining = cells.standing(rule(limit, window), now).remaining;
            prop_assert!(remaining == 0 || cells.charge(rule(limit, window), now, remaining).is_ok());
            prop_assert!(cells.charge(rule(limit, window), now, remaining + 1).is_err());
        }

        #[test]
        fn no_cell_admits_more_than_the_limit_whatever_the_clock_does(
            limit in 1_u32..20, steps in prop::collection::vec((-3_000_i64..4_000, 0_u32..6), 0..200),
        ) {
            let mut cells = Cells::default();
            let mut now = 1_000_000_i64;
            let mut admitted = std::collections::HashMap::<u64, u32>::new();
            for (step, cost) in steps {
                now += step;
                if let Ok(charged) = cells.charge(rule(limit, 1_000), at(now), cost) {
                    prop_assert!(charged.number >= cells.number);
                    cells = charged;
                    let count = admitted.entry(charged.number).or_default();
                    *count += cost;
                    prop_assert!(*count <= limit);
                }
            }
        }
    }
}
