//! What `kubectl` shows of our kinds.

use std::process::Command;

use serde_json::json;

use super::server::Server;
use crate::support::process::tool;

fn kubectl(arguments: &[&str]) -> String {
    let output = Command::new(tool("kubectl")).args(arguments).output().expect("kubectl runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("kubectl prints text")
}

#[test]
fn explain_shows_what_a_field_means() {
    for (path, sentence) in [
        ("apikey", "An ApiKey is minted into a Secret"),
        ("apikey.spec.rotation.gracePeriod", "How long the previous version lives on after a rotation"),
        ("apikey.status.versions", "What was minted, newest first."),
        ("protectedapi.spec.routes.require", "Scopes that a key needs"),
        ("apikeytier.spec.rateLimits.window", "Length of the sliding window, 1s to 720h."),
        ("apikeyrole.spec.scopes", "What keys with the role may do"),
        ("apikeyowner.spec.namespaces", "Other namespaces whose keys may claim this owner."),
        ("apikeyusage.status.ledger.reserved", "Sum that was handed out to verifiers."),
    ] {
        let shown = kubectl(&["explain", path]);
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert!(words.join(" ").contains(sentence), "kubectl explain {path}:\n{shown}");
    }
}

#[tokio::test]
async fn get_shows_the_columns_and_finds_by_field() {
    let server = Server::new("ApiKey").await;
    server.create("ours", &json!({"owner": "acme", "tier": "pro", "scopes": ["a"]})).await;
    server.create("theirs", &json!({"owner": "other"})).await;
    let namespace = server.namespace.name();
    let headings = |arguments: &[&str]| {
        let shown = kubectl(&[&["--namespace", namespace, "get"], arguments].concat());
        shown
            .lines()
            .next()
            .unwrap_or_default()
            .split("  ")
            .filter(|word| !word.is_empty())
            .map(|word| word.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let narrow = ["NAME", "API", "OWNER", "TIER", "STATE", "START", "EXPIRES", "NEXT ROTATION", "AGE"];
    assert_eq!(headings(&["ak"]), narrow);
    assert_eq!(headings(&["ak", "--output=wide"]), [&narrow[..], &["SCOPES", "ID"]].concat());
    for selector in ["spec.owner=acme", "spec.tier=pro"] {
        let selector = format!("--field-selector={selector}");
        let found = kubectl(&["--namespace", namespace, "get", "apikeys", "--output=name", &selector]);
        assert_eq!(found, "apikey.keyturn.dev/ours\n", "{selector}");
    }
    let both =
        kubectl(&["--namespace", namespace, "get", "keyturn", "--output=name", "--field-selector=metadata.name=ours"]);
    assert_eq!(both, "apikey.keyturn.dev/ours\n");
}
