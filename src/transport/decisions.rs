//! The last refusals of this process, for whoever wants to know why. They are kept by a digest of their request's id: an
//! id is the client's where a proxy passes it on, and could be anything.

mod describe;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::core::decision::Decision;

pub(super) use describe::{Asked, Reading, decision};

/// How many are kept, each of them some kilobytes at most; what is more drives out the oldest.
pub const MOST: usize = 1_000;

/// The refusals.
#[derive(Debug, Default)]
pub struct Decisions {
    /// The oldest first.
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Clone, Debug)]
struct Kept {
    id: [u8; 32],
    decision: Arc<Decision>,
}

impl Decisions {
    /// Keeps what became of the request of that id. Nobody is held up: what has to be allocated and freed is so outside of
    /// the lock.
    pub(super) fn keep(&self, request_id: &str, decision: Decision) {
        let new = Kept { id: Sha256::digest(request_id).into(), decision: Arc::new(decision) };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if kept.len() < MOST { None } else { kept.pop_front() };
        kept.push_back(new);
        drop(kept);
        drop(oldest);
    }

    /// What became of requests of that id, the last one first. Several may have had it.
    #[must_use]
    pub fn of(&self, request_id: &str) -> Vec<Arc<Decision>> {
        let id: [u8; 32] = Sha256::digest(request_id).into();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().filter(|kept| kept.id == id).map(|kept| Arc::clone(&kept.decision)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::check::Check;
    use crate::core::decision::tests::decision as some;

    #[test]
    fn the_last_ones_are_kept_and_told_by_their_id() {
        let decisions = Decisions::default();
        assert!(decisions.of("0").is_empty());
        for number in 0..=MOST {
            decisions.keep(&number.to_string(), some(Check::Address, "IP_NOT_ALLOWED"));
        }
        assert!(decisions.of("0").is_empty(), "it was driven out");
        assert_eq!(decisions.of("1").len(), 1);
        decisions.keep("1", some(Check::Key, "UNAUTHORIZED"));
        // The first one of that id is driven out by it.
        let told: Vec<_> = decisions.of("1").iter().map(|decision| decision.check).collect();
        assert_eq!(told, [Check::Key]);
        decisions.keep("1", some(Check::Api, "API_NOT_FOUND"));
        let told: Vec<_> = decisions.of("1").iter().map(|decision| decision.check).collect();
        assert_eq!(told, [Check::Api, Check::Key]);
        assert_eq!(decisions.kept.lock().unwrap().len(), MOST);
    }
}
