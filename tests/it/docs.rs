//! What the documentation refers to is there, and what it lists is all there is.

pub(crate) mod events;
mod links;
pub(crate) mod metrics;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::root;

/// A page, by its path in the repository.
fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("reading {path}: {error}"))
}

/// The rows of a page's tables whose first cell begins with a backtick, as the texts of their cells.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `").and_then(|_| line.strip_prefix('|')?.strip_suffix('|')));
    rows.map(|row| row.split('|').map(str::trim).collect())
}

/// The texts between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Every file below a folder with that extension.
fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry can be read").path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|own| own == extension) {
            found.push(path);
        }
    }
}

/// Names between backticks in the column of tests: `| promise | test |`.
fn named_tests(page: &str) -> BTreeSet<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|')?.rsplit('|').next());
    let names = rows.flat_map(quoted);
    let is_test = |name: &&str| name.contains('_') && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    names.filter(is_test).collect()
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let mut sources = Vec::new();
    for folder in ["src", "tests"] {
        files(&root().join(folder), "rs", &mut sources);
    }
    let all: String = sources.iter().map(|path| fs::read_to_string(path).expect("a source is text")).collect();
    for path in ["docs/security.md", "docs/reliability.md"] {
        let page = page(path);
        let promised = named_tests(&page);
        assert!(promised.len() > 20, "{path} names its tests in another way: {promised:?}");
        let missing: Vec<_> = promised.iter().filter(|name| !all.contains(&format!("fn {name}("))).collect();
        assert!(missing.is_empty(), "{path} names tests that there are not: {missing:?}");
    }
}
