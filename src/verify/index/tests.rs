use super::*;
use crate::core::policy::Role;
use crate::core::rotation::VersionState::{Current, Grace};
use crate::core::scope::Scope;
use crate::core::source::Source;
use crate::core::verdict::LimitState;
use crate::verify::allowance::Shadow;
use crate::verify::fixtures::{api, at, index, key, limit, name, record, version};
use crate::verify::limits::Demand;
use crate::verify::terms::Granted;
use crate::verify::transaction::{self, Part};

/// A key with that uid, created at that second, with these strings.
fn named(uid: &str, created_at: i64, seeds: &[u8]) -> KeyRecord {
    let mut record = record(|key| {
        key.uid = uid.into();
        key.name = name(uid);
        key.created_at = at(created_at);
    });
    let numbered = seeds.iter().zip(1..);
    record.versions = numbered.map(|(seed, number)| version(number, *seed, Current)).collect();
    record
}

fn with(records: Vec<KeyRecord>) -> Arc<Index> {
    index(api(|_| {}), records)
}

fn find(index: &Index, seed: u8) -> Option<Arc<Entry>> {
    index.view().key(&version(1, seed, Current).digest, &api(|_| {}))
}

/// The uid of the key with that string.
fn holder(index: &Index, seed: u8) -> Option<String> {
    find(index, seed).map(|entry| entry.uid().to_owned())
}

fn scopes(index: &Index, seed: u8) -> Result<Vec<String>, String> {
    let entry = find(index, seed).unwrap();
    entry
        .granted()
        .map(|granted| granted.scopes.iter().map(str::to_owned).collect())
        .map_err(|reason| reason.to_string())
}

#[test]
fn a_deleted_key_is_unknown_with_all_its_versions() {
    let index = with(vec![named("a", 0, &[1, 2]), named("b", 0, &[3])]);
    index.delete("a");
    index.delete("never seen");
    assert_eq!([1, 2, 3].map(|seed| holder(&index, seed)), [None, None, Some("b".to_owned())]);
    assert_eq!(index.len(), 1);
}

#[test]
fn a_version_that_is_dropped_is_unknown_and_the_others_are_kept() {
    let index = with(vec![named("a", 0, &[1, 2])]);
    index.apply(named("a", 0, &[2, 3]));
    assert_eq!([1, 2, 3].map(|seed| holder(&index, seed).is_some()), [false, true, true]);
    assert_eq!(index.len(), 1);
}

#[test]
fn a_list_replaces_everything() {
    let index = with(vec![named("a", 0, &[1]), named("b", 0, &[2])]);
    index.reset(vec![named("b", 0, &[3]), named("c", 0, &[4])]);
    let holders = [1, 2, 3, 4].map(|seed| holder(&index, seed));
    assert_eq!(holders, [None, None, Some("b".to_owned()), Some("c".to_owned())]);
    assert_eq!(index.len(), 2);
    assert!(!index.is_empty());
}

#[test]
fn of_two_keys_with_one_string_the_older_counts() {
    for (a, b, expected) in [((5, "a"), (6, "b"), "a"), ((6, "a"), (5, "b"), "b"), ((5, "b"), (5, "a"), "a")] {
        let records = || vec![named(a.1, a.0, &[1]), named(b.1, b.0, &[1])];
        let listed = with(records());
        let applied = with(vec![]);
        for index in [&listed, &applied] {
            if index.is_empty() {
                records().into_iter().for_each(|record| index.apply(record));
            }
            assert_eq!(holder(index, 1).as_deref(), Some(expected));
            // An edit of either changes nothing about it.
            records().into_iter().for_each(|record| index.apply(record));
            assert_eq!(holder(index, 1).as_deref(), Some(expected));
            let other = if expected == a.1 { b.1 } else { a.1 };
            index.delete(expected);
            assert_eq!(holder(index, 1).as_deref(), Some(other));
            index.delete(other);
            assert_eq!(holder(index, 1), None);
        }
    }
}

#[test]
fn one_string_may_be_a_key_of_several_apis() {
    let mut other = named("b", 1, &[1]);
    other.key.as_mut().unwrap().api = name("other");
    let index = with(vec![named("a", 0, &[1]), other]);
    let digest = version(1, 1, Current).digest;
    let elsewhere = api(|api| api.name = name("other"));
    let uid = |api: &Api| index.view().key(&digest, api).map(|entry| entry.uid().to_owned());
    assert_eq!((uid(&api(|_| {})), uid(&elsewhere)), (Some("a".to_owned()), Some("b".to_owned())));
    index.delete("a");
    assert_eq!((uid(&api(|_| {})), uid(&elsewhere)), (None, Some("b".to_owned())));
}

#[test]
fn an_api_has_imported_keys_as_long_as_one_of_them_is_there() {
    let imported = |uid: &str| {
        let mut record = named(uid, 0, &[]);
        record.key.as_mut().unwrap().source = Some(Source::Secret { name: "old".into(), key: "token".into() });
        record
    };
    let index = with(vec![named("a", 0, &[1])]);
    let has_imported = || index.view().has_imported(&api(|_| {}));
    assert!(!has_imported());
    index.apply(imported("b"));
    index.apply(imported("b"));
    index.apply(imported("c"));
    index.delete("b");
    assert!(has_imported());
    index.delete("c");
    assert!(!has_imported());
    index.reset(vec![imported("d")]);
    assert!(has_imported());
    index.reset(vec![]);
    assert!(!has_imported());
}

#[test]
fn a_contender_that_goes_away_never_comes_back() {
    let index = with(vec![named("a", 0, &[1]), named("b", 1, &[1]), named("c", 2, &[1])]);
    index.delete("b");
    index.apply(named("a", 0, &[2]));
    assert_eq!(holder(&index, 1).as_deref(), Some("c"));
    index.apply(named("c", 2, &[3]));
    assert_eq!(holder(&index, 1), None);
}

#[test]
fn a_change_of_policy_is_judged_for_every_key_that_it_concerns() {
    let mut reader = named("reader", 0, &[1]);
    reader.key = Ok(key(|key| {
        key.uid = "reader".into();
        key.roles = vec!["reader".into()];
        key.scopes = Some(vec![]);
    }));
    let index = with(vec![reader, named("plain", 0, &[2])]);
    let role = |scope: &str| Ok(Arc::new(Role { scopes: vec![Scope::parse(scope).unwrap()] }));
    assert_eq!(scopes(&index, 1), Err("RoleNotFound".to_owned()));
    for scope in ["a", "b"] {
        index.change_policies(|policies| {
            policies.roles.insert(name("reader"), role(scope));
        });
        assert_eq!(scopes(&index, 1), Ok(vec![scope.to_owned()]));
        assert_eq!(scopes(&index, 2), Ok(vec!["transcripts:read".to_owned()]));
    }
    index.change_policies(|policies| {
        policies.apis.clear();
    });
    assert_eq!(scopes(&index, 2), Err("ApiNotFound".to_owned()));
    assert!(index.view().api("speech", "transcripts").is_none());
}

/// Charges a request to the key's limits, and answers how the closest stands.
fn charge_once(entry: &Entry, granted: &Granted) -> Option<LimitState> {
    let demand = Demand { now: at(0), charges: &[], processes: NonZeroU32::MIN };
    let mut counters = entry.counters.open();
    let part = Part {
        account: counters.account(),
        allowance: &granted.allowance,
        usage: entry.usage(),
        shadow: Shadow::default(),
    };
    let parts = &mut [part];
    transaction::charge_limits(parts, &demand, true).unwrap();
    transaction::closest(parts, &demand)
}

#[test]
fn what_was_charged_outlives_edits_lists_and_changes_of_policy() {
    let limited = || {
        let mut record = record(|key| key.rate_limits = vec![limit("requests", 5, 60)]);
        record.versions.push(version(2, 2, Grace));
        record
    };
    let index = with(vec![limited()]);
    let charge = |expected| {
        let entry = find(&index, 1).unwrap();
        let granted = entry.granted().unwrap();
        assert_eq!(charge_once(&entry, granted).map(|state| state.remaining), Some(expected));
    };
    charge(4);
    index.apply(limited());
    charge(3);
    index.reset(vec![limited()]);
    charge(2);
    index.change_policies(|policies| {
        policies.tiers.clear();
    });
    charge(1);
    index.delete("u1");
    index.apply(limited());
    charge(4);
}

#[test]
fn what_no_key_uses_any_more_is_forgotten() {
    let index = with(
        (0..100)
            .map(|at| {
                let uid = format!("u{at}");
                let mut record = record(|key| {
                    key.uid = uid.as_str().into();
                    key.tier = Some(uid.as_str().into());
                });
                record.versions.clear();
                record
            })
            .collect(),
    );
    assert_eq!(index.write().terms.len(), 100);
    index.reset(vec![named("a", 0, &[1]), named("b", 0, &[2])]);
    assert_eq!(index.write().terms.len(), 1);
}

#[test]
fn a_known_key_is_never_unknown_while_lists_and_edits_come_in() {
    let index = with(vec![named("a", 0, &[1, 2])]);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..200 {
                if round % 2 == 0 {
                    index.reset(vec![named("a", 0, &[1, 2]), named("b", 0, &[3])]);
                } else {
                    index.apply(named("a", 0, &[1, round.max(4)]));
                }
            }
        });
        while !writer.is_finished() {
            assert_eq!(holder(&index, 1).as_deref(), Some("a"));
        }
    });
}
