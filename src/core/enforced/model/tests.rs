//! What is reachable, and what is without one of the rules.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model as _};

use super::*;

/// Clocks of verifiers and of the controller: the worst for the claim, its opposite, and equal ones.
const ALL_RATES: &[(u64, u64)] = &[(SLOW, FAST), (FAST, SLOW), (SLOW, SLOW)];
const WORST_RATES: &[(u64, u64)] = &[(SLOW, FAST)];

/// One process that starts once, in detail. Its permit is over in the second step after the one that it counts
/// from, and so is the controller's patience.
fn one() -> Bounds {
    Bounds {
        verifiers: 1,
        late: 0,
        steps: 3,
        max_staleness: Duration::from_secs(21),
        starts: 1,
        detailed: true,
        slow_answers: false,
        ghosts: false,
        failovers: 0,
        deletions: 0,
        restores: 0,
        tier_changes: 0,
        rates: WORST_RATES,
    }
}

/// Nothing within these bounds breaks a promise, and what is promised can happen at all.
fn holds(bounds: Bounds) {
    // Depth first: what is still to be looked at stays small.
    Model { bounds, without: None }.checker().spawn_dfs().join().assert_properties();
}

/// Without the rule the promise is broken within these bounds.
fn needs(rule: Rule, promise: &'static str, bounds: Bounds) {
    let model = Model { bounds, without: Some(rule) };
    let found = HasDiscoveries::AllOf(BTreeSet::from([promise]));
    let checked = model.checker().finish_when(found).spawn_bfs().join();
    assert!(checked.discovery(promise).is_some(), "without {rule:?} still {promise}");
}

#[test]
fn one_process_that_starts_over_is_never_wrong_whoever_controls() {
    holds(Bounds { starts: 2, failovers: 1, steps: 2, ..one() });
}

#[test]
fn clocks_of_any_allowed_rates_do() {
    holds(Bounds { rates: ALL_RATES, steps: 4, max_staleness: Duration::from_secs(42), ..one() });
}

#[test]
fn answers_may_take_any_time() {
    holds(Bounds { slow_answers: true, steps: 2, ..one() });
}

#[test]
fn writes_whose_answer_is_lost_may_take_place_later() {
    holds(Bounds { ghosts: true, ..one() });
}

#[test]
fn a_lease_may_be_deleted_where_a_controller_has_seen_it() {
    holds(Bounds { deletions: 1, starts: 2, steps: 2, ..one() });
}

#[test]
fn etcd_may_be_restored_with_a_higher_revision() {
    holds(Bounds { restores: 1, steps: 2, ..one() });
}

#[test]
fn what_other_kinds_say_spreads_alike_and_is_not_claimed() {
    holds(other_kinds());
}

/// Several processes, in less detail.
fn several(verifiers: usize) -> Bounds {
    Bounds { verifiers, detailed: false, steps: 2, ..one() }
}

#[test]
fn two_processes_of_which_one_may_start_late_are_never_wrong() {
    holds(Bounds { steps: 3, failovers: 1, deletions: 1, ..several(2) });
}

#[test]
fn two_processes_that_start_over_are_never_wrong_whoever_controls() {
    holds(Bounds { starts: 2, failovers: 1, late: 1, ..several(2) });
}

#[test]
fn two_processes_survive_a_restore_with_a_higher_revision() {
    holds(Bounds { restores: 1, late: 1, ..several(2) });
}

#[test]
fn two_processes_whose_lost_writes_may_take_place_later_are_never_wrong() {
    holds(Bounds { ghosts: true, late: 1, ..several(2) });
}

#[test]
fn three_processes_are_never_wrong() {
    holds(several(3));
}

#[test]
fn three_processes_are_never_wrong_whoever_controls() {
    holds(Bounds { failovers: 1, late: 1, ..several(3) });
}

/// A function by the name of a rule, so that each is a test of its own.
macro_rules! needed {
    ($($name:ident: $rule:ident for $promise:expr, within $bounds:expr;)*) => {$(
        #[test]
        fn $name() {
            needs(Rule::$rule, $promise, $bounds);
        }
    )*};
}

fn other_kinds() -> Bounds {
    Bounds { tier_changes: 1, detailed: false, ..one() }
}

fn slow() -> Bounds {
    Bounds { slow_answers: true, steps: 2, ..one() }
}

needed! {
    a_process_claims_before_it_lists: ClaimBeforeList for SAFE, within one();
    lists_are_consistent: ConsistentList for SAFE, within one();
    a_lease_says_what_is_applied: SaysWhatIsApplied for SAFE, within one();
    a_lease_lasts_as_long_as_a_permit: DurationIsMaxStaleness for SAFE, within one();
    a_permit_needs_everything_applied_that_its_list_has_shown: AppliedUpToTheCheck for FRESH, within one();
    a_permit_needs_a_lease_write_begun_after_its_list: WriteBegunAfterTheCheck for SAFE, within slow();
    a_permit_counts_from_the_begin_of_its_list: PermitFromTheBegin for FRESH, within slow();
    the_clock_runs_on_in_suspend: Boottime for SAFE, within one();
    the_permit_is_read_at_every_decision: ReadAtEveryDecision for SAFE, within one();
    a_lapsed_permit_is_not_renewed: StartOverOnceLapsed for SAFE, within one();
    the_first_permit_comes_before_the_lease_lapses: FirstPermitInTime for SAFE, within one();
    a_process_that_has_lost_its_lease_starts_over: StartOverOnceLost for SAFE, within Bounds { deletions: 1, ..one() };
    other_kinds_are_heard_of_too: OtherKindsHeardOf for OTHERS_FRESH, within other_kinds();
    a_process_stops_answering_before_it_releases: StopBeforeRelease for SAFE, within one();
    a_process_is_waited_for_until_it_has_applied_r: AppliedR for SAFE, within one();
    not_only_the_living_are_waited_for: NotOnlyTheLiving for SAFE, within Bounds { max_staleness: Duration::from_secs(42), ..one() };
    leases_are_listed_after_the_status_write: LeasesListedAfterR for SAFE, within slow();
    a_lease_must_be_unchanged_for_a_tenth_more: TenPercentMore for SAFE, within one();
    another_controller_has_seen_nothing: SeenByThisController for SAFE, within Bounds { failovers: 1, ..one() };
    a_lease_ages_up_to_the_begin_of_the_list: AgeAtTheBeginOfTheList for SAFE, within slow();
    a_lease_that_vanished_counts: VanishedCounts for SAFE, within Bounds { deletions: 1, ..one() };
    a_restore_needs_a_higher_revision: RestoreWithBump for SAFE, within Bounds { restores: 1, steps: 2, ..one() };
}
