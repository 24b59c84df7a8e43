use super::*;

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Held, for 100 s, with this version and with this much applied.
fn lease(version: u64, applied: u64) -> Lease {
    Lease { uid: "u1".into(), version: Some(version), held: true, applied: Some(applied), duration: Some(at(100)) }
}

fn released(version: u64) -> Lease {
    Lease { held: false, ..lease(version, 5) }
}

fn list(begun: u64, version: u64, leases: &[(&str, Lease)]) -> List {
    let leases = leases.iter().map(|(name, lease)| (Arc::from(*name), lease.clone())).collect();
    List { begun: at(begun), version: Some(version), leases }
}

/// Told of these Leases by a list at 10.
fn known(leases: &[(&str, Lease)]) -> Processes {
    let mut processes = Processes::default();
    processes.listed(list(9, 50, leases), at(10));
    processes
}

fn waiting(behind: &[(&str, u64)], at_the_latest: Option<u64>) -> Judgement {
    let behind = behind.iter().map(|&(name, seconds)| Behind { name: name.into(), unchanged_for: at(seconds) });
    Judgement::Waiting(Waiting { behind: behind.collect(), at_the_latest: at_the_latest.map(at) })
}

#[test]
fn whoever_is_behind_is_named_with_how_long_nothing_was_heard() {
    let mut processes = known(&[("a", lease(1, 6)), ("b", lease(2, 7)), ("c", lease(3, 5))]);
    processes.saw("c".into(), lease(4, 6), at(40));
    assert_eq!(processes.judge(7, at(60)), waiting(&[("a", 50), ("c", 20)], Some(150)));
    assert_eq!(processes.judge(6, at(60)), Judgement::Enforced);
}

#[test]
fn versions_are_compared_as_numbers() {
    assert_eq!(known(&[("a", lease(1, 100))]).judge(99, at(20)), Judgement::Enforced);
    assert_eq!(known(&[("a", lease(1, 99))]).judge(100, at(20)), waiting(&[("a", 10)], Some(120)));
}

#[test]
fn a_lease_counts_until_it_is_unchanged_for_a_tenth_more_than_its_duration() {
    let processes = known(&[("a", lease(1, 5))]);
    assert_eq!(processes.judge(7, at(119)), waiting(&[("a", 109)], Some(120)));
    assert_eq!(processes.judge(7, at(120)), Judgement::Enforced);
}

#[test]
fn a_lease_without_duration_counts_for_ever() {
    let processes = known(&[("a", Lease { duration: None, ..lease(1, 5) }), ("b", lease(1, 5))]);
    assert_eq!(processes.judge(7, at(119)), waiting(&[("a", 109), ("b", 109)], None));
    assert_eq!(processes.judge(7, at(1_000_000)), waiting(&[("a", 999_990)], None));
}

#[test]
fn whoever_says_nothing_of_what_is_applied_has_applied_nothing() {
    let claimed = Lease { applied: None, ..lease(1, 0) };
    assert_eq!(known(&[("a", claimed)]).judge(1, at(20)), waiting(&[("a", 10)], Some(120)));
}

#[test]
fn a_released_lease_does_not_count() {
    assert_eq!(known(&[("a", released(1))]).judge(7, at(11)), Judgement::Enforced);
    let mut processes = known(&[("a", lease(1, 5))]);
    processes.saw("a".into(), released(2), at(11));
    assert_eq!(processes.judge(7, at(11)), Judgement::Enforced);
}

#[test]
fn any_change_begins_the_wait_anew() {
    let changes: [fn(&mut Processes); 4] = [
        |processes| processes.saw("a".into(), lease(2, 5), at(100)),
        |processes| processes.listed(list(99, 60, &[("a", lease(2, 5))]), at(100)),
        |processes| processes.saw("a".into(), Lease { uid: "u2".into(), ..lease(1, 5) }, at(100)),
        |processes| processes.listed(list(99, 60, &[("a", Lease { version: None, ..lease(1, 5) })]), at(100)),
    ];
    for change in changes {
        let mut processes = known(&[("a", lease(1, 5))]);
        change(&mut processes);
        assert_eq!(processes.judge(7, at(120)), waiting(&[("a", 20)], Some(210)));
    }
}

#[test]
fn news_that_come_late_change_nothing() {
    let mut processes = known(&[("a", lease(3, 5))]);
    processes.saw("a".into(), lease(2, 4), at(100));
    assert_eq!(processes, known(&[("a", lease(3, 5))]));
    processes.saw("a".into(), lease(4, 7), at(100));
    let told = processes.clone();
    processes.listed(list(99, 50, &[("a", lease(3, 5))]), at(101));
    assert_eq!(processes, told, "the list was begun before");
}

#[test]
fn a_later_list_is_believed_although_it_shows_an_older_version_as_after_a_restore() {
    let mut processes = known(&[("a", lease(3, 9))]);
    processes.listed(list(100, 60, &[("a", lease(2, 5))]), at(101));
    assert_eq!(processes.judge(7, at(111)), waiting(&[("a", 10)], Some(211)));
}

#[test]
fn a_lease_that_vanished_counts_from_then_on_until_its_permit_must_have_lapsed() {
    let vanishings: [fn(&mut Processes); 2] = [
        |processes| processes.saw_vanish("a", &lease(2, 5), at(100)),
        |processes| processes.listed(list(99, 60, &[]), at(100)),
    ];
    for vanish in vanishings {
        let mut processes = known(&[("a", lease(1, 5))]);
        vanish(&mut processes);
        assert_eq!(processes.judge(7, at(209)), waiting(&[("a", 109)], Some(210)));
        assert_eq!(processes.judge(7, at(210)), Judgement::Enforced);
        assert_eq!(processes.expendable(at(210)), [], "there is nothing to delete");
        processes.listed(list(150, 60, &[]), at(151));
        assert_eq!(processes.judge(7, at(200)), waiting(&[("a", 100)], Some(210)), "it does not vanish twice");
        processes.listed(list(210, 60, &[]), at(211));
        assert_eq!(processes, Processes::default());
    }
}

#[test]
fn a_lease_that_is_released_before_it_vanishes_is_forgotten() {
    let mut processes = known(&[("a", lease(1, 5))]);
    processes.saw_vanish("a", &released(2), at(20));
    assert_eq!(processes, Processes::default());
    processes.saw_vanish("a", &released(2), at(20));
    let mut processes = known(&[("a", released(1))]);
    processes.listed(list(20, 60, &[]), at(21));
    assert_eq!(processes, Processes::default());
}

#[test]
fn a_list_that_is_older_than_a_new_lease_does_not_make_it_vanish() {
    let mut processes = Processes::default();
    processes.saw("a".into(), lease(70, 5), at(20));
    let told = processes.clone();
    processes.listed(list(19, 60, &[]), at(21));
    assert_eq!(processes, told);
}

#[test]
fn what_stands_for_nobody_is_deleted_and_forgotten() {
    let processes = known(&[("a", released(1)), ("b", lease(1, 5)), ("c", lease(2, 9))]);
    let named = |name: &str| Expendable { name: name.into(), uid: "u1".into() };
    assert_eq!(processes.expendable(at(20)), [named("a")]);
    assert_eq!(processes.expendable(at(120)), [named("a"), named("b"), named("c")]);
    let mut processes = processes;
    processes.deleted(&Expendable { uid: "u2".into(), ..named("a") });
    processes.deleted(&named("b"));
    assert_eq!(processes, known(&[("a", released(1)), ("c", lease(2, 9))]));
}

#[test]
fn rotation_waits_for_the_living_only() {
    let mut processes = known(&[("a", lease(1, 5)), ("b", lease(1, 9)), ("c", released(1))]);
    assert!(!processes.living_have_applied(7, at(39)));
    assert!(processes.living_have_applied(5, at(39)));
    assert!(processes.living_have_applied(7, at(40)), "a was not heard of for 30 s");
    processes.saw("a".into(), lease(2, 5), at(40));
    assert!(!processes.living_have_applied(7, at(41)));
    processes.saw_vanish("a", &lease(3, 5), at(42));
    assert!(processes.living_have_applied(7, at(43)));
}

#[test]
fn those_live_that_hold_a_lease_which_has_changed_lately() {
    let mut processes = known(&[("a", lease(1, 6)), ("b", released(2)), ("c", lease(3, 5))]);
    assert_eq!(processes.count_living(at(39)), 2);
    processes.saw("c".into(), lease(4, 5), at(30));
    assert_eq!(processes.count_living(at(40)), 1, "nothing was heard of a");
    processes.saw_vanish("c", &lease(4, 5), at(41));
    assert_eq!(processes.count_living(at(41)), 0);
}
