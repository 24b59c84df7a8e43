//! Keys that are gone.

use kube::core::{DeserializeGuard, ObjectMeta};

use super::AuditLog;
use crate::clock;
use crate::core::audit::{self, Subjected};
use crate::resources::ApiKey;

impl AuditLog {
    /// Tells that a key is gone. Of one that went while nobody watched nobody knows.
    pub(in crate::controller) fn tell_deletion(&self, key: &DeserializeGuard<ApiKey>) {
        let (metadata, id): (&ObjectMeta, _) = match &key.0 {
            Ok(key) => (&key.metadata, key.status.as_ref().and_then(|status| status.id.as_deref())),
            Err(error) => (&error.metadata, None),
        };
        let about = Subjected {
            namespace: metadata.namespace.as_deref().unwrap_or_default(),
            name: metadata.name.as_deref().unwrap_or_default(),
            uid: metadata.uid.as_deref().unwrap_or_default(),
            id,
        };
        // Nothing waits for it to be written.
        drop(self.begin(about, &audit::deleted(clock::now())));
    }
}
