//! What the roles of `config/rbac` must never come to give.

use serde_json::Value;

use crate::support::apply::manifests;

/// Every right in a file, as `verb resource`, with the names of objects where it is for these only.
fn rights(file: &str) -> Vec<String> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| Some(text.as_str()?.to_owned())).collect()
    };
    let roles = manifests(&format!("config/rbac/{file}"));
    let mut rights = Vec::new();
    for rule in roles.iter().flat_map(|role| role["rules"].as_array().into_iter().flatten()) {
        let names = strings(&rule["resourceNames"]).join(" ");
        for resource in strings(&rule["resources"]) {
            let right = |verb: &String| format!("{verb} {resource} {names}").trim_end().to_owned();
            rights.extend(strings(&rule["verbs"]).iter().map(right));
        }
    }
    assert!(!rights.is_empty(), "{file} has no rules");
    rights
}

#[test]
fn nobody_has_a_wildcard_or_may_have_somebody_elses_rights() {
    for file in ["controller.yaml", "verifier.yaml", "tenants.yaml", "doctor.yaml"] {
        for right in rights(file) {
            let verb = right.split(' ').next().unwrap_or_default();
            assert!(!right.contains('*') && !["bind", "escalate", "impersonate"].contains(&verb), "{file}: {right}");
        }
    }
}

#[test]
fn tenants_write_no_status_and_see_no_usage() {
    let rights = rights("tenants.yaml");
    assert!(rights.contains(&"create apikeys".to_owned()) && rights.contains(&"watch apikeys".to_owned()));
    assert!(!rights.iter().any(|right| right.contains('/') || right.contains("usage")), "{rights:?}");
}

#[test]
fn whoever_asks_the_doctor_reads_pods_and_nothing_else() {
    assert_eq!(rights("doctor.yaml"), ["list pods", "get pods/proxy"]);
}

#[test]
fn a_verifier_reads_one_secret_and_writes_nothing_but_leases_and_usage() {
    let rights = rights("verifier.yaml");
    let about_secrets: Vec<&String> = rights.iter().filter(|right| right.contains("secrets")).collect();
    assert_eq!(
        about_secrets,
        ["get secrets keyturn-pepper", "list secrets keyturn-pepper", "watch secrets keyturn-pepper"]
    );
    let reads = |right: &str| ["get ", "list ", "watch "].iter().any(|verb| right.starts_with(verb));
    let writes: Vec<&String> = rights.iter().filter(|right| !reads(right)).collect();
    assert_eq!(writes, ["update apikeyusages/status", "create leases", "update leases"]);
}
