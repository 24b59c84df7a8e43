//! Every name that outlives a process: what is written into a cluster under one of these is found by it again
//! after an upgrade, so none of them may change.

/// API group of the custom resources, and the prefix of every label and annotation.
pub const GROUP: &str = "keyturn.dev";
/// Version of the custom resources.
pub const VERSION: &str = "v1alpha1";

/// Field manager of the controller's writes.
pub const CONTROLLER_MANAGER: &str = "keyturn-controller";
/// Field manager of a judging process's writes: its own Lease.
pub const VERIFIER_MANAGER: &str = "keyturn-verifier";

/// Label of every object that Keyturn makes; its value is [`MANAGED_BY`].
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "keyturn";
/// Label of a Secret: uid of the ApiKey whose string it holds. A name may be too long for a label.
pub const APIKEY_UID_LABEL: &str = "keyturn.dev/apikey-uid";
/// Annotation of a Secret: name of the ApiKey whose string it holds.
pub const APIKEY_NAME_ANNOTATION: &str = "keyturn.dev/apikey";
/// Label of a staged Secret, `"true"`: the string of a version that is not handed out yet.
pub const STAGED_LABEL: &str = "keyturn.dev/staged";

/// Annotation of an ApiKey or its Secret: number of the version whose string its reader has.
pub const DELIVERED_ANNOTATION: &str = "keyturn.dev/delivered";
/// Annotation of an ApiKey, written by the admission policy [`ACTOR_POLICY`]: who has last changed its spec, as
/// `<generation>/<token>/<user name>`.
pub const ACTOR_ANNOTATION: &str = "keyturn.dev/actor";
/// Admission policy and its binding that write [`ACTOR_ANNOTATION`], and the ConfigMap of the operator's namespace
/// that holds their token.
pub const ACTOR_POLICY: &str = "keyturn-actor";
/// Label of a Secret, `"true"`: its string may be taken over by an ApiKey of its namespace. Whoever may make
/// ApiKeys could otherwise read any Secret by importing it.
pub const IMPORTABLE_LABEL: &str = "keyturn.dev/importable";
/// Label of a staged Secret, `"true"`: backups leave it out. Restored, nobody would know whose it was.
pub const NO_BACKUP_LABEL: &str = "velero.io/exclude-from-backup";

/// Annotation of an ApiKey or ApiKeyOwner: uid of an ApiKeyUsage that is gone, so that an empty one takes its place.
pub const RESET_USAGE_ANNOTATION: &str = "keyturn.dev/reset-usage";

/// Label of a Lease, `"true"`: its holder judges keys.
pub const JUDGING_LABEL: &str = "keyturn.dev/judging";
/// Annotation of a judging process's Lease: the highest ApiKey resourceVersion that it has applied.
pub const APPLIED_ANNOTATION: &str = "keyturn.dev/applied";

/// Lease of the operator's namespace by which one of several controllers leads.
pub const LEADER_LEASE: &str = "keyturn-controller";

/// Secret of the operator's namespace with the peppers, each under its name.
pub const PEPPER_SECRET: &str = "keyturn-pepper";
/// Data key of [`PEPPER_SECRET`]: name of the active pepper.
pub const PEPPER_ACTIVE: &str = "active";

/// Data key of the string, unless `spec.secret.key` names another.
pub const DEFAULT_SECRET_KEY: &str = "api-key";
/// Data key of the key's public id.
pub const SECRET_ID_KEY: &str = "api-key-id";
/// Data key of the version's number.
pub const SECRET_VERSION_KEY: &str = "api-key-version";
/// Data key of the proof that Keyturn wrote the Secret.
pub const SECRET_PROOF_KEY: &str = "api-key-proof";

/// Name of the Secret in which version `number` waits until every judging process knows it.
#[must_use]
pub fn staged_secret(uid: &str, number: u32) -> String {
    format!("keyturn-{uid}-{number}")
}

/// Name of the ApiKeyUsage that counts for the ApiKey of that uid.
#[must_use]
pub fn usage_of_key(uid: &str) -> String {
    format!("key-{uid}")
}

/// Name of the ApiKeyUsage that counts for the ApiKeyOwner of that uid.
#[must_use]
pub fn usage_of_owner(uid: &str) -> String {
    format!("owner-{uid}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staged_secret_is_found_by_uid_and_number() {
        assert_eq!(staged_secret("6e1f", 2), "keyturn-6e1f-2");
    }
}
