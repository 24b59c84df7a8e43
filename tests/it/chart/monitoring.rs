//! Alerts say what to do. That they ask for metrics that there are is among the tests of the documentation.

use std::fs;

use crate::support::root;

#[test]
fn every_alert_has_a_line_that_says_what_to_do() {
    let text = |file: &str| fs::read_to_string(root().join(file)).expect("the file is there");
    let (rules, page) = (text("config/monitoring/rules.yaml"), text("docs/operations/alerts.md"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in alerts {
        assert!(
            page.contains(&format!("| `{alert}` |")),
            "docs/operations/alerts.md does not say what to do about {alert}"
        );
    }
}
