//! Alerts and the dashboard ask for metrics that there are.

use std::collections::BTreeSet;
use std::fs;

use crate::support::root;

/// What OpenMetrics puts behind the names that metrics are registered under, outermost first.
const SUFFIXES: [&str; 7] = ["_bucket", "_count", "_sum", "_total", "_info", "_seconds", "_bytes"];

/// Names that begin like ours.
fn asked_for(file: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("reading {file}: {error}"));
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit();
    let names = text.split(|c| !is_name(c)).filter_map(|word| word.strip_prefix("keyturn_"));
    names.map(str::to_owned).collect()
}

/// Under which names the sources register metrics.
fn registered() -> BTreeSet<String> {
    let folder = fs::read_dir(root().join("src/metrics")).expect("the folder can be read");
    let files = folder.map(|entry| entry.expect("an entry can be read").path());
    let mut names = BTreeSet::new();
    for file in files.chain([root().join("src/metrics.rs")]) {
        let text = fs::read_to_string(file).expect("a source is text");
        for call in text.split("registry.register").skip(1) {
            names.extend(call.split('"').nth(1).map(str::to_owned));
        }
    }
    names
}

#[test]
fn alerts_and_the_dashboard_ask_for_metrics_that_there_are() {
    let registered = registered();
    assert!(registered.contains("verdicts") && registered.len() > 20, "{registered:?}");
    for file in ["config/monitoring/rules.yaml", "config/monitoring/dashboard.json"] {
        let asked_for = asked_for(file);
        assert!(asked_for.len() > 5, "{file} asks for {asked_for:?}");
        for name in asked_for {
            let bare = SUFFIXES.iter().fold(name.as_str(), |name, suffix| name.strip_suffix(suffix).unwrap_or(name));
            assert!(registered.contains(bare), "{file} asks for keyturn_{name}, which there is not");
        }
    }
}

#[test]
fn every_alert_has_a_line_that_says_what_to_do() {
    let text = |file: &str| fs::read_to_string(root().join(file)).expect("the file is there");
    let (rules, page) = (text("config/monitoring/rules.yaml"), text("docs/operations.md"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(page.contains(&format!("| `{alert}` |")), "docs/operations.md does not say what to do about {alert}");
    }
}
