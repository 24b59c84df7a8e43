//! The ApiKeyUsage of a key: looked for, and made.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt as _};

use super::gather::Observed;
use super::{Context, build};
use crate::controller::post_params;
use crate::core::lifecycle::UsageObject;
use crate::core::usage::VersionUse;
use crate::resources::apikeyusage::{ApiKeyUsage, ApiKeyUsageSpec, VersionUsage};
use crate::resources::names::{MANAGED_BY, MANAGED_BY_LABEL, RESET_USAGE_ANNOTATION, usage_of_key};

/// The uid of the one that is there.
pub(super) async fn find(context: &Context, observed: &Observed) -> Result<Option<Arc<str>>, kube::Error> {
    let heard = context.usages.of(&observed.object.uid().unwrap_or_default());
    // Nothing is concluded from not having heard of one that the status names.
    if observed.record.usage.is_none() || heard == observed.record.usage {
        return Ok(heard);
    }
    read(context, observed).await
}

async fn read(context: &Context, observed: &Observed) -> Result<Option<Arc<str>>, kube::Error> {
    let found = usages(context, observed).get_metadata_opt(&name(observed)).await?;
    Ok(found.and_then(|found: PartialObjectMeta<ApiKeyUsage>| found.uid()).map(Arc::from))
}

/// When each version was used last, as far as verifiers have written it.
pub(super) async fn last_uses(context: &Context, observed: &Observed) -> Result<Vec<VersionUse>, kube::Error> {
    let found = usages(context, observed).get_opt(&name(observed)).await?;
    let usage = found.and_then(|found| found.status?.usage);
    let versions = usage.iter().flat_map(|usage| &usage.versions);
    let last =
        |version: &VersionUsage| Some(VersionUse { number: version.number, at: version.last_used_at.as_ref()?.0 });
    Ok(versions.filter_map(last).collect())
}

/// What decisions rest on.
pub(super) fn look(observed: &Observed) -> UsageObject {
    let spec = &observed.object.spec;
    UsageObject {
        found: observed.usage.clone(),
        metered: spec.credits.is_some() || !spec.quotas.is_empty(),
        reset: observed.object.annotations().get(RESET_USAGE_ANNOTATION).map(|uid| uid.as_str().into()),
    }
}

/// Makes an empty one. Who made one that is there already can only have been a controller, for nobody else may.
pub(super) async fn create(context: &Context, observed: &mut Observed) -> Result<(), kube::Error> {
    let Ok(key) = &observed.key else { return Ok(()) };
    let metadata = ObjectMeta {
        name: Some(name(observed)),
        namespace: observed.object.namespace(),
        labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
        owner_references: Some(vec![build::owner(key)]),
        ..ObjectMeta::default()
    };
    let wanted = ApiKeyUsage { metadata, spec: ApiKeyUsageSpec {}, status: None };
    observed.usage = match usages(context, observed).create(&post_params(), &wanted).await {
        Ok(created) => created.uid().map(Arc::from),
        Err(kube::Error::Api(status)) if status.is_already_exists() => read(context, observed).await?,
        Err(error) => return Err(error),
    };
    Ok(())
}

fn name(observed: &Observed) -> String {
    usage_of_key(observed.object.metadata.uid.as_deref().unwrap_or_default())
}

fn usages(context: &Context, observed: &Observed) -> Api<ApiKeyUsage> {
    Api::namespaced(context.client.clone(), &observed.object.namespace().unwrap_or_default())
}
