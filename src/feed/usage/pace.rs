//! When what was counted is written.

use std::num::NonZeroU32;
use std::time::Duration;

/// Writes that all processes together make in a second.
const WRITES_PER_SECOND: u32 = 20;

/// Processes that are reckoned with while it is not known how many there are.
const SUPPOSED: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// What to do now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Write what has waited longest.
    Write,
    /// Look again after this.
    Wait(Duration),
}

/// The pause between two writes of one of so many processes.
pub(super) fn gap(processes: Option<NonZeroU32>) -> Duration {
    Duration::from_secs(1).saturating_mul(processes.unwrap_or(SUPPOSED).get()) / WRITES_PER_SECOND
}

/// Decides by when the next write is due, if there is anything to write, and by when one is allowed at the soonest.
/// News are looked for at least every `poll`. All instants are readings of one clock.
pub(super) fn decide(due: Option<Duration>, allowed: Duration, now: Duration, poll: Duration) -> Step {
    let Some(due) = due else { return Step::Wait(poll) };
    match due.max(allowed).saturating_sub(now) {
        Duration::ZERO => Step::Write,
        left => Step::Wait(left.min(poll)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn all_processes_together_write_twenty_times_a_second() {
        for (processes, gap_of_each) in [(1, 50), (2, 100), (7, 350), (60, 3_000)] {
            assert_eq!(gap(NonZeroU32::new(processes)), millis(gap_of_each), "{processes}");
        }
        assert_eq!(gap(None), millis(1_000));
    }

    #[test]
    fn nothing_is_written_before_it_is_due_and_allowed() {
        for (due, allowed, expected) in [
            (None, 0, Step::Wait(millis(1_000))),
            (Some(5_000), 0, Step::Write),
            (Some(4_000), 5_000, Step::Write),
            (Some(5_001), 0, Step::Wait(millis(1))),
            (Some(0), 5_050, Step::Wait(millis(50))),
            (Some(60_000), 0, Step::Wait(millis(1_000))),
        ] {
            let found = decide(due.map(millis), millis(allowed), millis(5_000), millis(1_000));
            assert_eq!(found, expected, "{due:?} {allowed}");
        }
    }
}
