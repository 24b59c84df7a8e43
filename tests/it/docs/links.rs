//! Links between pages.

use std::fs;

use super::files;
use crate::support::root;

/// The targets of a page's links that are files of this repository.
fn targets(page: &str) -> impl Iterator<Item = &str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with('#') && !target.contains(' '));
    files.map(|target| target.split('#').next().unwrap_or_default())
}

#[test]
fn every_link_leads_somewhere() {
    let mut pages = vec![root().join("README.md")];
    for folder in ["docs", "config"] {
        files(&root().join(folder), "md", &mut pages);
    }
    let mut broken = Vec::new();
    for page in pages {
        let (text, folder) =
            (fs::read_to_string(&page).expect("a page is text"), page.parent().expect("a page is in a folder"));
        let missing = targets(&text).filter(|target| !folder.join(target).exists());
        broken.extend(missing.map(|target| format!("{} links to {target}, which is not there", page.display())));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
