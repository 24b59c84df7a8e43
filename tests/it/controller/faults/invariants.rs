//! Holds what controllers have written against the invariants.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keyturn::core::digest::Pepper;
use keyturn::core::pepper::Peppers;
use keyturn::resources::apikey::ApiKeyStatus;
use serde_json::Value;

use crate::support::apiserver::Call;

/// Asserts that no version ever had two strings that somebody could have read, and that every string that users
/// could read was one that verifiers accepted by then.
pub(super) fn check(before: Option<&ApiKeyStatus>, writes: &[Call], peppers: &Peppers, faults: &str) {
    // Of one string under each pepper.
    let mut digests: BTreeMap<(u64, String), String> = BTreeMap::new();
    let versions = before.iter().flat_map(|status| &status.versions);
    let mut accepted: Vec<String> = versions.map(|version| version.digest.clone()).collect();
    for call in writes {
        if call.path.ends_with("/status") {
            let versions = call.body["status"]["versions"].as_array().cloned().unwrap_or_default();
            for version in &versions {
                let number = version["number"].as_u64().expect("a version has a number");
                let digest = text(&version["digest"]);
                let place = (number, text(&version["pepper"]));
                let first = digests.entry(place).or_insert_with(|| digest.clone());
                assert_eq!(*first, digest, "{faults}: version {number} has had two strings");
            }
            let lives = |version: &&Value| matches!(text(&version["state"]).as_str(), "Staged" | "Current");
            accepted = versions.iter().filter(lives).map(|version| text(&version["digest"])).collect();
        } else if call.concerns("secrets") {
            let Some(string) = call.body["data"]["api-key"].as_str() else { continue };
            // Staged Secrets are for nobody to read.
            if call.body["data"]["api-key-version"].is_null() {
                continue;
            }
            let string = STANDARD.decode(string).expect("the data of a Secret is base64");
            let is_accepted = |pepper: &Pepper| accepted.contains(&pepper.digest_of(&string).to_hex());
            assert!(peppers.iter().any(is_accepted), "{faults}: a string is in the Secret before it is accepted");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
