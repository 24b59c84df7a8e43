//! docs/operations/metrics.md, and metrics that are named anywhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::events::calls;
use super::{files, page, quoted, rows};
use crate::support::root;

const PAGE: &str = "docs/operations/metrics.md";

/// The format of nginx's log; variables of its begin with a `$`.
const LOG_FORMAT: &str = "keyturn_bandwidth";

/// Names as they are registered, without what their type adds, as the text format has them, and their types.
type Types = BTreeMap<String, String>;

/// What a process exposes at the moment: of families without samples nothing.
pub(crate) fn exposed(text: &str) -> Types {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// What the page lists, by names as in queries; histograms stand there without a suffix.
pub(crate) fn documented() -> Types {
    let page = page(PAGE);
    let entry = |row: Vec<&str>| {
        let name = quoted(row[0]).next().unwrap_or_default().split('{').next().unwrap_or_default();
        let suffix = ["_total", "_info"][usize::from(row[1] == "info")];
        let name = if ["counter", "info"].contains(&row[1]) { name.strip_suffix(suffix) } else { Some(name) };
        (name.unwrap_or_else(|| panic!("{row:?} lacks {suffix}")).to_owned(), row[1].to_owned())
    };
    rows(&page).filter(|row| row[0].contains("`keyturn_")).map(entry).collect()
}

/// The names that samples of a metric of that type have in queries.
fn series(name: &str, kind: &str) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        "counter" => &["_total"],
        "histogram" => &["_bucket", "_count", "_sum", ""],
        "info" => &["_info"],
        _ => &[""],
    };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

/// The names that the sources register, with their units.
fn registered() -> BTreeSet<String> {
    let mut sources = vec![root().join("src/metrics.rs")];
    files(&root().join("src/metrics"), "rs", &mut sources);
    let mut found = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).expect("a source is text");
        for (call, has_unit) in [("registry.register", false), ("registry.register_with_unit", true)] {
            for arguments in calls(&text, call) {
                let unit = arguments.iter().find_map(|argument| argument.strip_prefix("Unit::"));
                assert_eq!(unit.is_some(), has_unit, "{arguments:?}");
                let unit = unit.map(|unit| format!("_{}", unit.to_lowercase())).unwrap_or_default();
                found.insert(format!("keyturn_{}{unit}", arguments[0].trim_matches('"')));
            }
        }
    }
    found
}

#[test]
fn the_page_lists_every_metric_and_no_other() {
    let documented: BTreeSet<String> = documented().into_keys().collect();
    assert_eq!(documented, registered());
}

#[test]
fn names_follow_the_conventions() {
    for (name, kind) in documented() {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        let abbreviates = ["_ms", "_millis", "_ns", "_sec", "_secs", "_kb", "_mb", "_count", "_total", "_percent"];
        assert!(!abbreviates.iter().any(|end| name.ends_with(end)), "{name}: base units, written out");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name} has no unit");
    }
}

#[test]
fn every_metric_that_is_named_anywhere_is_listed() {
    let known: BTreeSet<String> = documented().iter().flat_map(|(name, kind)| series(name, kind)).collect();
    let mut places = vec![root().join("docs/operations.md")];
    for (folder, extension) in [
        ("docs/operations", "md"),
        ("config/monitoring", "yaml"),
        ("config/monitoring", "json"),
        ("charts", "yaml"),
        ("charts", "txt"),
    ] {
        files(&root().join(folder), extension, &mut places);
    }
    let mut unknown = Vec::new();
    for place in places {
        let text = fs::read_to_string(&place).expect("it is text");
        let names = text.split(|character: char| !character.is_ascii_alphanumeric() && !"_$".contains(character));
        let metrics = names.filter(|name| name.starts_with("keyturn_") && *name != LOG_FORMAT);
        let missing = metrics.filter(|name| !known.contains(*name));
        unknown.extend(missing.map(|name| format!("{} names {name}, which {PAGE} does not list", place.display())));
    }
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}
