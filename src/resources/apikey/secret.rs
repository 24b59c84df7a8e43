//! Where a key's string goes.

use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::duration::Duration;
use crate::resources::{names, rules};

/// Labels and annotations that belong to somebody else, at the beginning of their names.
const RESERVED: &str = r"^([^/]*\.)?(kubernetes\.io|k8s\.io|keyturn\.dev|argocd\.argoproj\.io)/";
/// The data keys that Keyturn fills in every Secret of its own.
const OWN_KEYS: [&str; 3] = [names::SECRET_ID_KEY, names::SECRET_VERSION_KEY, names::SECRET_PROOF_KEY];

/// The Secret that Keyturn makes and keeps.
#[derive(Clone, Debug, Deserialize, Eq, KubeSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = seal_to_with_sealed_only())]
#[x_kube(validation = seal_to_with_sealed())]
#[x_kube(validation = previous_key_is_another())]
#[x_kube(validation = data_keys_are_free())]
#[x_kube(validation = basic_auth_has_its_key())]
#[x_kube(validation = docker_config_is_there())]
pub struct SecretTemplate {
    /// Name of the Secret. Defaults to the ApiKey's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::object_name("spec.secret.name"))]
    pub name: Option<String>,
    /// Data key of the string.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::data_key("spec.secret.key"), validation = key_is_free("spec.secret.key"))]
    pub key: String,
    /// Data key of the previous version's string during its grace period. Absent: it is not kept in the Secret, as
    /// strings that were delivered Once never are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::data_key("spec.secret.previousKey"), validation = key_is_free("spec.secret.previousKey"))]
    pub previous_key: Option<String>,
    /// Retain keeps the Secret for workloads to mount. Once removes it when acknowledged (annotation
    /// `keyturn.dev/delivered: "<version number>"` on the ApiKey or its Secret, or deleting the Secret) or after
    /// `onceTtl`. Sealed stores no string in the cluster: only the holder of `sealTo`'s private key can read it, in
    /// `status.versions[].sealed` until acknowledged or after `onceTtl`.
    ///
    /// A change mints nothing; it holds from the next version on. Until then a string that is in the Secret stays
    /// there: after a change to Once or Sealed until it is acknowledged or superseded, after one to Retain for good.
    /// What was removed already is not brought back.
    #[serde(default)]
    pub delivery: Delivery,
    /// With Once and Sealed: the string is gone after this time, unless acknowledged before. Counts for the first
    /// version and for requested ones, from the instant at which the string can be read; a version that came by
    /// schedule stays until it is acknowledged.
    #[serde(default = "default_once_ttl")]
    #[x_kube(validation = rules::at_least("spec.secret.onceTtl", "1s"))]
    pub once_ttl: Duration,
    /// ML-KEM-768 public key in base64, 1,580 characters; read when a version is minted. With Sealed only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1580, max = 1580))]
    #[x_kube(validation = seal_to_is_base64())]
    pub seal_to: Option<String>,
    /// Type of the Secret: Opaque, kubernetes.io/basic-auth (needs the data key `username` or `password`) or
    /// kubernetes.io/dockerconfigjson (needs `.dockerconfigjson` in `data`, as JSON). A string that waits to be
    /// acknowledged keeps its Secret's type.
    #[serde(default, rename = "type")]
    pub type_: SecretType,
    /// Labels of the Secret; not below kubernetes.io, k8s.io, keyturn.dev or argocd.argoproj.io.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "labels", transform = rules::values(label_value()))]
    #[x_kube(validation = not_reserved("spec.secret.labels"), validation = label_names("spec.secret.labels"))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret; not below kubernetes.io, k8s.io, keyturn.dev or argocd.argoproj.io.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "annotations")]
    #[x_kube(
        validation = not_reserved("spec.secret.annotations"),
        validation = label_names("spec.secret.annotations")
    )]
    pub annotations: BTreeMap<String, String>,
    /// Further data keys, with the placeholders `$(apiKey)`, `$(keyId)`, `$(start)` and `$(version)`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "data", transform = rules::values(known_placeholders()))]
    #[x_kube(validation = data_keys())]
    pub data: BTreeMap<String, String>,
}

impl Default for SecretTemplate {
    fn default() -> Self {
        Self {
            name: None,
            key: default_key(),
            previous_key: None,
            delivery: Delivery::default(),
            once_ttl: default_once_ttl(),
            seal_to: None,
            type_: SecretType::default(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            data: BTreeMap::new(),
        }
    }
}

/// How the string reaches whoever uses it: Retain, Once or Sealed.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum Delivery {
    #[default]
    Retain,
    Once,
    Sealed,
}

/// Type of a Secret.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum SecretType {
    #[default]
    Opaque,
    #[serde(rename = "kubernetes.io/basic-auth")]
    BasicAuth,
    #[serde(rename = "kubernetes.io/dockerconfigjson")]
    DockerConfigJson,
}

fn default_key() -> String {
    names::DEFAULT_SECRET_KEY.to_owned()
}

fn default_once_ttl() -> Duration {
    Duration::from("1h")
}

fn labels(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    strings(32, 63)
}

fn annotations(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    strings(32, 1024)
}

fn data(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    strings(16, 4096)
}

fn strings(properties: u32, length: u32) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "maxProperties": properties,
        "additionalProperties": { "type": "string", "maxLength": length },
    })
}

fn seal_to_with_sealed_only() -> Rule {
    rules::rule(
        "!has(self.sealTo) || self.delivery == 'Sealed'",
        "'spec.secret.sealTo belongs to delivery Sealed, not to ' + self.delivery + '; remove sealTo or set delivery to Sealed'",
    )
}

fn seal_to_with_sealed() -> Rule {
    Rule::new("has(self.sealTo) || self.delivery != 'Sealed'")
        .message("spec.secret.delivery Sealed needs spec.secret.sealTo; add the ML-KEM-768 public key of whoever is to read the string")
}

fn seal_to_is_base64() -> Rule {
    Rule::new("self.matches('^[A-Za-z0-9+/]+=$')")
        .message("spec.secret.sealTo is no ML-KEM-768 public key; write its 1,184 bytes in base64, with padding")
}

fn previous_key_is_another() -> Rule {
    rules::rule(
        "!has(self.previousKey) || self.previousKey != self.key",
        "'spec.secret.previousKey ' + self.previousKey + ' is also spec.secret.key; choose another name for one of them'",
    )
}

fn key_is_free(field: &str) -> Rule {
    rules::rule(
        format!("!(self in {})", own_keys()),
        format!("'{field} ' + self + ' is a data key that Keyturn fills itself; choose another name'"),
    )
}

/// CEL: [`OWN_KEYS`].
fn own_keys() -> String {
    format!("['{}']", OWN_KEYS.join("', '"))
}

fn data_keys_are_free() -> Rule {
    Rule::new(format!(
        "!has(self.data) || !self.data.exists(k, k in {} || k == self.key || (has(self.previousKey) && k == self.previousKey))",
        own_keys()
    ))
    .message(
        format!("spec.secret.data must not have the keys that Keyturn fills itself, which are {} and those that key and previousKey name; choose other names", OWN_KEYS.join(", ")).as_str(),
    )
}

/// What the API server demands of the type.
fn basic_auth_has_its_key() -> Rule {
    Rule::new(
        "self.type != 'kubernetes.io/basic-auth' || self.key in ['username', 'password'] || (has(self.data) && self.data.exists(k, k in ['username', 'password']))",
    )
    .message("spec.secret.type kubernetes.io/basic-auth needs a data key username or password; set key to password, or write data: {password: $(apiKey)}")
}

/// What the API server demands of the type.
fn docker_config_is_there() -> Rule {
    Rule::new("self.type != 'kubernetes.io/dockerconfigjson' || (has(self.data) && '.dockerconfigjson' in self.data)")
        .message("spec.secret.type kubernetes.io/dockerconfigjson needs the data key .dockerconfigjson; write it into data as JSON, with $(apiKey) for the password")
}

/// Known placeholders are blanked out, not removed, so that what was around one makes up none.
fn known_placeholders() -> Rule {
    Rule::new(
        "!self.replace('$(apiKey)', ' ').replace('$(keyId)', ' ').replace('$(start)', ' ').replace('$(version)', ' ').contains('$(')",
    )
    .message("spec.secret.data has a placeholder that there is not; write $(apiKey), $(keyId), $(start) or $(version), and no other $(")
}

fn data_keys() -> Rule {
    Rule::new(format!(
        "self.all(k, k.size() <= 253 && k.matches(r'{}') && k != '.' && !k.startsWith('..'))",
        rules::DATA_KEY
    ))
    .message("spec.secret.data has a name that is no data key of a Secret; use at most 253 letters, digits, -, _ and .")
}

fn not_reserved(field: &str) -> Rule {
    Rule::new(format!("!self.exists(k, k.matches(r'{RESERVED}'))")).message(
        format!("{field} has a name below kubernetes.io, k8s.io, keyturn.dev or argocd.argoproj.io, which are not yours to set; remove it").as_str(),
    )
}

fn label_names(field: &str) -> Rule {
    Rule::new("self.all(k, !format.qualifiedName().validate(k).hasValue())").message(
        format!("{field} has a name that is none of a label or annotation; write it as team or example.com/team")
            .as_str(),
    )
}

fn label_value() -> Rule {
    rules::rule(
        "!format.labelValue().validate(self).hasValue()",
        "'spec.secret.labels \"' + self + '\" is no value of a label; use at most 63 letters, digits, -, _ and .'",
    )
}
