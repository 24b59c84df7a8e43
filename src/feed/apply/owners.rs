//! What the watch of ApiKeyOwners tells.

use kube::Resource as _;
use kube::core::DeserializeGuard;
use tracing::info;

use super::{malformed, name};
use crate::core::owner::{OwnerClaim, OwnerDirectory};
use crate::core::policy::ObjectName;
use crate::feed::watch::Change;
use crate::resources::ApiKeyOwner;

/// Brings a change into the directory; answers whether there was one.
pub(super) fn merge(directory: &mut OwnerDirectory, change: Change<DeserializeGuard<ApiKeyOwner>>) -> bool {
    match change {
        Change::Listed(objects) => {
            info!(kind = "apikeyowners", count = objects.len(), "objects are listed");
            directory.clear();
            objects.iter().filter_map(claim).for_each(|(name, claim)| directory.enter(&name, claim));
        }
        Change::Applied(object) => claim(&object).into_iter().for_each(|(name, claim)| directory.enter(&name, claim)),
        Change::Deleted(object) => name(&object).iter().for_each(|name| directory.remove(name)),
        Change::Bookmark => return false,
    }
    true
}

fn claim(object: &DeserializeGuard<ApiKeyOwner>) -> Option<(ObjectName, OwnerClaim)> {
    let name = name(object)?;
    let claim = match &object.0 {
        Ok(owner) => owner.claim(),
        Err(error) => ApiKeyOwner::unreadable(object.meta(), malformed("ApiKeyOwner", &name, error)),
    };
    Some((name, claim))
}
