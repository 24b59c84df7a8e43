//! The copy of a spec that the status keeps, to tell later what has changed.

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::core::digest::hex;

/// Bytes of JSON up to which a member of the spec is kept as it is. A key has some 25 of them, so that a line of the
/// log, with each member before and after, stays far below what collectors of logs take, and the status far
/// below what the API server takes.
const LARGEST: usize = 4096;

/// Keeps each member of a spec, or its hash where it is large: enough to see that it changes.
#[must_use]
pub fn keep(spec: &Value) -> BTreeMap<String, Value> {
    let members = spec.as_object().into_iter().flatten();
    members.map(|(name, value)| (name.clone(), keep_member(value))).collect()
}

fn keep_member(value: &Value) -> Value {
    let text = value.to_string();
    if text.len() <= LARGEST {
        return value.clone();
    }
    format!("{} bytes, sha-256 {}", text.len(), hex(&Sha256::digest(&text))).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_large_is_kept_as_its_hash_and_everything_else_as_it_is() {
        // With the quotes, the first is as large as may be.
        let (fits, exceeds) = ("a".repeat(LARGEST - 2), "a".repeat(LARGEST - 1));
        let spec = json!({"apiRef": {"name": "transcripts"}, "description": fits, "scopes": exceeds});
        let kept = keep(&spec);
        assert_eq!(kept["apiRef"], spec["apiRef"]);
        assert_eq!(kept["description"], spec["description"]);
        let hash = hex(&Sha256::digest(spec["scopes"].to_string()));
        assert_eq!(kept["scopes"], json!(format!("4097 bytes, sha-256 {hash}")));
    }

    #[test]
    fn what_is_no_object_has_no_members() {
        assert_eq!(keep(&json!(null)), BTreeMap::new());
    }
}
