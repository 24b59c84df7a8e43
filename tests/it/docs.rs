//! What the documentation refers to is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::support::root;

/// Names between backticks in the column of tests: `| promise | test |`.
fn named_tests(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next());
    let names = rows.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let is_test = |name: &&str| name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    names.filter(is_test).collect()
}

fn sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("a source is text"));
        }
    }
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let page = fs::read_to_string(root().join("docs/security.md")).expect("the page is there");
    let promised = named_tests(&page);
    assert!(promised.len() > 20, "the page names its tests in another way: {promised:?}");
    let mut all = String::new();
    for folder in ["src", "tests"] {
        sources(&root().join(folder), &mut all);
    }
    let missing: Vec<_> = promised.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "docs/security.md names tests that there are not: {missing:?}");
}
