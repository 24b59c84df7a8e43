//! The ApiKeyUsage of a key: looked for, and made.

use std::sync::Arc;

use kube::ResourceExt as _;

use super::Context;
use super::gather::Observed;
use crate::controller::usages::OwnUsage;
use crate::core::usage::VersionUse;
use crate::core::usage::object::UsageObject;
use crate::resources::apikeyusage::VersionUsage;
use crate::resources::names::RESET_USAGE_ANNOTATION;

/// The uid of the one that is there.
pub(super) async fn find(context: &Context, observed: &Observed) -> Result<Option<Arc<str>>, kube::Error> {
    own(context, observed).find(&context.usages, observed.record.usage.as_ref()).await
}

/// When each version was used last, as far as verifiers have written it.
pub(super) async fn last_uses(context: &Context, observed: &Observed) -> Result<Vec<VersionUse>, kube::Error> {
    let found = own(context, observed).read().await?;
    let usage = found.and_then(|found| found.status?.usage);
    let versions = usage.iter().flat_map(|usage| &usage.versions);
    let last =
        |version: &VersionUsage| Some(VersionUse { number: version.number, at: version.last_used_at.as_ref()?.0 });
    Ok(versions.filter_map(last).collect())
}

/// What decisions rest on.
pub(super) fn look(observed: &Observed) -> UsageObject {
    let spec = &observed.object.spec;
    // What all keys of an owner share is counted for the owner.
    let tier = observed.acceptance.as_ref().ok().and_then(|accepted| accepted.tier.as_ref());
    let by_tier = tier.is_some_and(|tier| !tier.quotas.is_empty());
    UsageObject {
        found: observed.usage.clone(),
        metered: by_tier || spec.credits.is_some() || !spec.quotas.is_empty(),
        reset: observed.object.annotations().get(RESET_USAGE_ANNOTATION).map(|uid| uid.as_str().into()),
    }
}

/// Makes an empty one.
pub(super) async fn create(context: &Context, observed: &mut Observed) -> Result<(), kube::Error> {
    observed.usage = own(context, observed).create().await?;
    Ok(())
}

fn own(context: &Context, observed: &Observed) -> OwnUsage {
    OwnUsage::of(&context.client, &observed.object)
}
