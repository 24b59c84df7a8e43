//! `config/` installs the same as the chart.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use super::helm::objects;
use crate::support::apply::manifests;
use crate::support::process::tool;
use crate::support::program::printed;

/// Labels and annotations by which Helm knows what is its own.
const HELMS: [&str; 3] = ["helm.sh/chart", "helm.sh/resource-policy", "app.kubernetes.io/managed-by"];

/// Objects by kind and name, without what makes them Helm's and with numbers of one type.
fn by_name(objects: Vec<Value>) -> BTreeMap<(String, String), Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named = objects.into_iter().map(|mut object| {
        forget(&mut object);
        ((text(&object["kind"]), text(&object["metadata"]["name"])), object)
    });
    named.collect()
}

fn forget(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !HELMS.contains(&name.as_str()));
            members.values_mut().for_each(forget);
            // Nothing else was in it.
            members.retain(|name, value| name != "annotations" || value.as_object().is_some_and(|all| !all.is_empty()));
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        // Kustomize writes a whole number of ten digits with an exponent.
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().filter(|float| float.fract() == 0.0) {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

fn kustomized(folder: &str) -> BTreeMap<(String, String), Value> {
    let text = printed(Command::new(tool("kubectl")).args(["kustomize", folder]));
    let text = text.unwrap_or_else(|error| panic!("{folder}: {error}"));
    by_name(serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{folder}: {error}")))
}

#[test]
fn kustomize_renders_what_the_chart_does() {
    let mut kustomized = kustomized("config/default");
    let namespace = ("Namespace".to_owned(), "keyturn-system".to_owned());
    kustomized.remove(&namespace).expect("kustomize brings the namespace, which Helm is told of");
    let rendered = by_name(objects(&["--set", "policies.actor=Never"]));
    for (name, object) in &rendered {
        assert_eq!(kustomized.get(name), Some(object), "{name:?} differs; run make manifests");
    }
    assert_eq!(kustomized.len(), rendered.len(), "there is more in config/default; run make manifests");
}

#[test]
fn what_is_beside_it_is_what_the_charts_options_bring() {
    let options = "policies.actor=Always,policies.deleteGuard=true,monitoring.rules.enabled=true,\
                   monitoring.serviceMonitor.enabled=true,monitoring.dashboard.enabled=true";
    let rendered = by_name(objects(&["--set", options]));
    let policies = ["audit", "guard"].map(|folder| by_name(manifests(&format!("config/{folder}/policy.yaml"))));
    for (name, object) in policies.into_iter().flatten().chain(kustomized("config/monitoring")) {
        let rendered = rendered.get(&name).unwrap_or_else(|| panic!("the chart does not bring {name:?}"));
        for member in ["spec", "data"] {
            assert_eq!(rendered.get(member), object.get(member), "{name:?}");
        }
    }
}
