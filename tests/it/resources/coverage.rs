//! No rule goes untested.

use keyturn::resources::all_crds;
use serde_json::Value;

use super::all_rules;

struct Rule {
    kind: String,
    path: String,
    message: String,
}

#[test]
fn every_rule_has_an_accepting_and_a_refusing_case() {
    let tables = all_rules();
    let rules = rules_in_crds();
    assert!(rules.len() > 50, "only {} rules were found in the schemas", rules.len());
    for rule in &rules {
        let cases: Vec<_> = tables
            .iter()
            .filter(|table| table.kind == rule.kind && table.path == rule.path && rule.message.contains(table.message))
            .flat_map(|table| &table.cases)
            .collect();
        let what = format!("{} {:?}: {}", rule.kind, rule.path, rule.message);
        assert!(cases.iter().any(|case| case.accepted), "no case that is accepted by {what}");
        assert!(cases.iter().any(|case| !case.accepted), "no case that is refused by {what}");
    }
    for table in &tables {
        let known =
            |rule: &&Rule| rule.kind == table.kind && rule.path == table.path && rule.message.contains(table.message);
        let found = rules.iter().filter(known).count();
        assert_eq!(found, 1, "rules of {} {:?} with the message {:?}", table.kind, table.path, table.message);
    }
}

fn rules_in_crds() -> Vec<Rule> {
    let mut rules = Vec::new();
    for crd in all_crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap();
        collect(kind, "", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut rules);
    }
    rules
}

fn collect(kind: &str, path: &str, schema: &Value, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let message = rule["message"].as_str().or_else(|| rule["messageExpression"].as_str());
        let message = message.unwrap_or_else(|| panic!("{kind} {path} has a rule without a message: {rule}"));
        rules.push(Rule { kind: kind.to_owned(), path: path.to_owned(), message: message.to_owned() });
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(kind, &path, property, rules);
    }
    for (inner, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[inner].is_object() {
            collect(kind, &format!("{path}{suffix}"), &schema[inner], rules);
        }
    }
}
