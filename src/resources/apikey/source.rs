//! An existing key that Keyturn takes over.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::references::SecretKeyRef;
use crate::resources::rules;

/// Where the existing key comes from; at most one member.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = at_most_one_member())]
pub struct Source {
    /// A Secret that holds the string and carries the label `keyturn.dev/importable: "true"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,
    /// A digest of the string, which itself stays unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<SourceDigest>,
}

/// A digest of a key's string.
#[derive(Clone, Debug, Default, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceDigest {
    /// How the digest was made: SHA-256.
    pub algorithm: DigestAlgorithm,
    /// The digest: 64 hexadecimal digits, or base64.
    #[schemars(length(min = 43, max = 64))]
    #[x_kube(validation = digest_value())]
    pub value: String,
}

/// A digest algorithm: SHA-256.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum DigestAlgorithm {
    #[default]
    #[serde(rename = "SHA-256")]
    Sha256,
}

fn at_most_one_member() -> kube::core::Rule {
    kube::core::Rule::new("!has(self.secretRef) || !has(self.digest)")
        .message("spec.source has both secretRef and digest; remove one of them")
}

fn digest_value() -> kube::core::Rule {
    rules::rule(
        "self.matches('^([0-9A-Fa-f]{64}|[A-Za-z0-9+/_-]{43}=?)$')",
        "'spec.source.digest.value \"' + self + '\" is no SHA-256 digest; write it as 64 hexadecimal digits or as base64'",
    )
}
