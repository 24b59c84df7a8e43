//! How long to wait before trying again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// Well below the age at which a watch counts as stale, so that one more try always fits in.
const LONGEST: Duration = Duration::from_secs(5);

/// The pause after the `failures`th failure in a row (from 1): it doubles from 100 ms up to 5 s, of which half
/// to all is waited, as `fraction` (0 to 1, drawn anew each time) says, so that verifiers that lost the API
/// server together do not come back together.
pub(super) fn pause(failures: u32, fraction: f64) -> Duration {
    let full = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
    full.mul_f64(0.5 + fraction.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_seconds() {
        for (failures, fraction, millis) in [
            (1, 0.0, 50),
            (1, 1.0, 100),
            (2, 1.0, 200),
            (3, 0.5, 300),
            (7, 1.0, 5000),
            (u32::MAX, 0.0, 2500),
            (u32::MAX, 7.0, 5000),
        ] {
            assert_eq!(pause(failures, fraction), Duration::from_millis(millis), "{failures} {fraction}");
        }
    }
}
