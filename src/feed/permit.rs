//! The permit under the present Lease, for all those who learn something about it. The gate follows it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::since_boot;
use crate::core::enforced::permit::{Over, Permit};
use crate::verify::gate::Gate;

/// How long nobody looks whether the permit has lapsed. The gate closes at once by itself; this is only about
/// starting over, and about a clock that went on while the runtime's stood still.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A permit, and what hangs on it.
pub(super) struct Held {
    permit: Mutex<Permit>,
    gate: Arc<Gate>,
    /// The highest ApiKey resourceVersion applied, for the Lease.
    applied: watch::Sender<Option<u64>>,
    /// Why it is over. From then on nothing changes any more.
    over: watch::Sender<Option<Over>>,
}

impl Held {
    /// Under a Lease whose claim was begun at this time since boot.
    pub(super) fn new(claimed: Duration, max_staleness: Duration, gate: Arc<Gate>) -> Self {
        Self {
            permit: Mutex::new(Permit::claimed(claimed, max_staleness)),
            gate,
            applied: watch::Sender::new(None),
            over: watch::Sender::new(None),
        }
    }

    /// Hears what the Lease has to say.
    pub(super) fn progress(&self) -> watch::Receiver<Option<u64>> {
        self.applied.subscribe()
    }

    /// Applies a complete list of ApiKeys as of `version`, begun at `begun`, if that is allowed.
    pub(super) fn apply_list(&self, begun: Duration, version: Option<u64>, apply: impl FnOnce()) {
        // A version that cannot be compared allows nothing, but must not keep a revocation from being applied.
        let Some(version) = version else { return apply() };
        if self.change(|permit, now| permit.may_list(version, now)) {
            apply();
            self.change(|permit, now| permit.listed(begun, version, now));
        }
    }

    /// The ApiKeys are applied up to `version`.
    pub(super) fn applied(&self, version: u64) {
        self.change(|permit, now| permit.applied(version, now));
    }

    /// A consistent list that was begun at `begun` was answered as of `version`.
    pub(super) fn checked(&self, begun: Duration, version: u64) {
        self.change(|permit, now| permit.checked(begun, version, now));
    }

    /// A write of the Lease that was begun at `begun` has taken place.
    pub(super) fn written(&self, begun: Duration) {
        self.change(|permit, now| permit.written(begun, now));
    }

    /// Whether there is something to be checked, and nothing being checked already.
    pub(super) fn wants_check(&self) -> bool {
        let permit = self.permit();
        permit.has_applied().is_some() && !permit.is_checking()
    }

    /// Waits until the process has to start over, and answers why.
    pub(super) async fn over(&self) -> Over {
        let mut over = self.over.subscribe();
        loop {
            if let Some(over) = *over.borrow_and_update() {
                return over;
            }
            let left = self.permit().over_at().saturating_sub(since_boot());
            tokio::select! {
                // The sender lives as long as `self`.
                _ = over.changed() => {}
                () = sleep(left.min(LONGEST_LOOK)) => {
                    self.change(|permit, now| permit.still_runs(now));
                }
            }
        }
    }

    /// Answers whether the permit goes on.
    fn change(&self, change: impl FnOnce(&mut Permit, Duration) -> Result<(), Over>) -> bool {
        let mut permit = self.permit();
        if self.over.borrow().is_some() {
            return false;
        }
        // Told before the lock is given back, so that nobody opens the gate again who was slower.
        match change(&mut permit, since_boot()) {
            Ok(()) => {
                if let Some(until) = permit.until() {
                    self.gate.permit(until);
                }
                let applied = permit.has_applied();
                self.applied.send_if_modified(|known| std::mem::replace(known, applied) != applied);
                true
            }
            Err(over) => {
                self.gate.close();
                self.over.send_replace(Some(over));
                false
            }
        }
    }

    fn permit(&self) -> MutexGuard<'_, Permit> {
        self.permit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::gate::Watched;

    const MAX_STALENESS: Duration = Duration::from_mins(15);

    fn held() -> (Held, Arc<Gate>) {
        let gate = Arc::new(Gate::new(MAX_STALENESS));
        let now = since_boot();
        Watched::ALL.into_iter().for_each(|kind| gate.listed(kind, now));
        (Held::new(now, MAX_STALENESS, Arc::clone(&gate)), gate)
    }

    #[test]
    fn the_gate_opens_once_a_list_is_applied_and_the_lease_is_written() {
        let (held, gate) = held();
        let mut applied = false;
        held.apply_list(since_boot(), Some(7), || applied = true);
        assert!(applied && !held.wants_check());
        assert!(!gate.is_open(since_boot()), "the Lease is not written yet");
        held.written(since_boot());
        assert!(gate.is_open(since_boot()));
        assert!(held.wants_check());
        assert_eq!(*held.progress().borrow(), Some(7));
    }

    #[test]
    fn a_list_of_an_older_history_is_not_applied_and_closes_the_gate_for_good() {
        let (held, gate) = held();
        held.apply_list(since_boot(), Some(7), || {});
        held.written(since_boot());
        held.apply_list(since_boot(), Some(6), || panic!("it is applied"));
        assert!(!gate.is_open(since_boot()));
        held.checked(since_boot(), 7);
        held.written(since_boot());
        assert!(!gate.is_open(since_boot()));
    }

    #[test]
    fn a_list_whose_version_is_no_number_is_applied_but_permits_nothing() {
        let (held, gate) = held();
        let mut applied = false;
        held.apply_list(since_boot(), None, || applied = true);
        held.written(since_boot());
        assert!(applied && !gate.is_permitted(since_boot()));
    }

    #[tokio::test]
    async fn it_says_why_it_is_over() {
        let (held, _) = held();
        held.apply_list(since_boot(), Some(7), || {});
        held.checked(since_boot(), 6);
        assert_eq!(held.over().await, Over::Restored { listed: 6, applied: 7 });
        let lapsed = Held::new(Duration::ZERO, Duration::from_nanos(1), Arc::new(Gate::new(MAX_STALENESS)));
        assert_eq!(lapsed.over().await, Over::Lapsed);
    }
}
