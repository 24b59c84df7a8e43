//! Sums over a day, its month and all time: two of them make one, in whatever order they come.

use super::day::Day;

/// What can be added up.
pub(super) trait Amount: Copy + Default {
    /// The sum, or the highest there is.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

impl Amount for u64 {
    fn plus(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

/// Sums of what was counted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sums<T> {
    /// On the day of the last.
    pub today: T,
    /// In the month of the last.
    pub this_month: T,
    pub total: T,
}

#[expect(private_bounds, reason = "what is added up is for this module to say")]
impl<T: Amount> Sums<T> {
    /// One amount that was counted.
    #[must_use]
    pub fn of(amount: T) -> Self {
        Self { today: amount, this_month: amount, total: amount }
    }

    /// Adds others, of which the last was counted on `their_day`; of these it was `day`.
    pub(super) fn add(&mut self, day: Day, others: &Self, their_day: Day) {
        let total = self.total.plus(others.total);
        *self = if day == their_day {
            Self { today: self.today.plus(others.today), this_month: self.this_month.plus(others.this_month), total }
        } else {
            let (newer, older) = if day < their_day { (others, &*self) } else { (&*self, others) };
            let older = if day.month() == their_day.month() { older.this_month } else { T::default() };
            Self { today: newer.today, this_month: newer.this_month.plus(older), total }
        };
    }
}
