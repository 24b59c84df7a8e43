//! Helm, on the repository's chart.

use std::process::Command;

use serde_json::Value;

use crate::support::process::tool;
use crate::support::program::printed;
use crate::support::root;

pub(super) const CHART: &str = "charts/keyturn";
pub(super) const NAMESPACE: &str = "keyturn-system";
/// Helm knows none by itself where it is not built by its own makefile.
pub(super) const VERSION: &str = "--kube-version=1.36.0";

/// Sets of values that the chart is rendered with, one file for each, beside its defaults.
pub(super) fn value_files() -> Vec<String> {
    let folder = std::fs::read_dir(root().join(CHART).join("ci")).expect("the chart has sets of values");
    let names = folder.map(|entry| entry.expect("an entry can be read").file_name().into_string());
    let mut files: Vec<_> = names.map(|name| format!("{CHART}/ci/{}", name.expect("its name is text"))).collect();
    files.sort();
    files
}

pub(super) fn helm(arguments: &[&str]) -> Result<String, String> {
    printed(Command::new(tool("helm")).args(arguments))
}

/// What `helm install` with these further arguments would apply to a cluster of the version that tests run.
pub(super) fn template(further: &[&str]) -> Result<String, String> {
    helm(&[&["template", "keyturn", CHART, "--namespace", NAMESPACE, VERSION], further].concat())
}

/// The objects that the chart renders with these further arguments.
pub(super) fn objects(further: &[&str]) -> Vec<Value> {
    let text = template(further).unwrap_or_else(|error| panic!("helm template {further:?}: {error}"));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{further:?}: {error}"));
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// The object of that kind and name among them.
pub(super) fn object<'o>(objects: &'o [Value], kind: &str, name: &str) -> &'o Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("the chart renders no {kind} {name}"))
}
