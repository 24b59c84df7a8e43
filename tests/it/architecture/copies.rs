//! What the chart carries because Helm reads nothing outside of it.

use std::fs;
use std::path::Path;

use crate::support::root;

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("reading {}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let mut files: Vec<_> = paths
        .map(|path| {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(&path).expect("a manifest is text"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_chart_carries_what_the_repository_has() {
    let carried = |folder: &str| files(&root().join("charts/keyturn/files").join(folder));
    assert_eq!(carried("crds"), files(&root().join("crds")), "run make crds");
    // Without what is only for kubectl and for people.
    let manifest =
        |(name, _): &(String, String)| !["kustomization.yaml", "namespace.yaml", "README.md"].contains(&&**name);
    for folder in ["rbac", "audit", "guard", "monitoring"] {
        let mut sources = files(&root().join("config").join(folder));
        sources.retain(manifest);
        assert_eq!(carried(folder), sources, "config/{folder} has changed; run make crds");
    }
}
