//! When the Lease is written.

use std::time::Duration;

/// At most four writes a second, however fast keys change.
const MOVED: Duration = Duration::from_millis(250);

/// What to do about the Lease now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    Write,
    /// Look again after this, or when something moves.
    Wait(Duration),
}

/// Decides by the time since the last write was begun and by whether there is something new to say. A quiet process
/// is heard of every `quiet`.
pub(super) fn decide(since_last_write: Duration, moved: bool, quiet: Duration) -> Step {
    let due = if moved { MOVED.min(quiet) } else { quiet };
    match due.checked_sub(since_last_write) {
        None | Some(Duration::ZERO) => Step::Write,
        Some(left) => Step::Wait(left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_soon_after_a_move_and_seldom_otherwise() {
        let millis = Duration::from_millis;
        for (since, moved, step) in [
            (0, true, Step::Wait(millis(250))),
            (100, true, Step::Wait(millis(150))),
            (249, true, Step::Wait(millis(1))),
            (250, true, Step::Write),
            (9_999, true, Step::Write),
            (0, false, Step::Wait(millis(10_000))),
            (250, false, Step::Wait(millis(9_750))),
            (10_000, false, Step::Write),
            (3_600_000, false, Step::Write),
        ] {
            assert_eq!(decide(millis(since), moved, millis(10_000)), step, "{since} {moved}");
        }
    }
}
