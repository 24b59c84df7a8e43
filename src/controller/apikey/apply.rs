//! Carries out one step. Every write of a Secret or a status carries the version that it is based on, or
//! creates what must not be there yet, so that nothing that was not seen is ever overwritten.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, ResourceExt as _};

use super::gather::{HeldSecret, HeldStaged, Observed};
use super::{Context, build, delivery, gather, publish, usage};
use crate::controller::post_params;
use crate::core::acceptance::Accepted;
use crate::core::key::{self, PlainKey};
use crate::core::lifecycle::{Minted, Report, SealedString, Step};
use crate::core::policy::Key;
use crate::core::source;
use crate::entropy::{self, EntropyError};
use crate::seal::{Label, PublicKeyError, SealError};

#[derive(Debug, thiserror::Error)]
pub(in crate::controller) enum Error {
    #[error("drawing a key")]
    Entropy(#[from] EntropyError),
    #[error("creating Secret {name}")]
    Create { name: String, source: kube::Error },
    #[error("writing Secret {name}")]
    Replace { name: String, source: kube::Error },
    #[error("deleting Secret {name}")]
    Delete { name: String, source: kube::Error },
    #[error("creating the ApiKeyUsage")]
    CreateUsage(#[source] kube::Error),
    #[error("writing the status")]
    Status(#[source] kube::Error),
    #[error("looking at a staged Secret that is there already")]
    Gather(#[from] gather::Error),
    #[error("the string of version {0} is gone")]
    StringGone(u32),
    #[error("sealing to spec.secret.sealTo")]
    SealTo(#[source] PublicKeyError),
    #[error("sealing the string")]
    Seal(#[source] SealError),
}

impl Error {
    /// Somebody else was faster: what they wrote has to be looked at first.
    pub(super) fn is_conflict(&self) -> bool {
        let source = match self {
            Self::Create { source, .. }
            | Self::Replace { source, .. }
            | Self::Delete { source, .. }
            | Self::CreateUsage(source)
            | Self::Status(source) => source,
            Self::Entropy(_) | Self::Gather(_) | Self::StringGone(_) | Self::SealTo(_) | Self::Seal(_) => return false,
        };
        // Reason AlreadyExists and a failed precondition come with the same code.
        matches!(source, kube::Error::Api(status) if status.code == 409)
    }
}

pub(super) async fn apply(
    context: &Context,
    observed: &mut Observed,
    step: Step,
    report: &Report,
    now: Timestamp,
) -> Result<(), Error> {
    match step {
        Step::Stage { number } => stage(context, observed, number, now).await,
        Step::Seal { number } => seal(observed, number, now),
        Step::KeepBeside { number } => keep_beside(context, observed, number).await,
        Step::CreateUsage => usage::create(context, observed).await.map_err(Error::CreateUsage),
        Step::Record { record, event } => {
            observed.record = record;
            // What is stored is about to be something that no verifier has seen.
            observed.known_to_verifiers = false;
            publish::status(context, observed, report, now).await?;
            publish::event(context, observed, event).await;
            Ok(())
        }
        // The driver waits; there is nothing to write.
        Step::AwaitVerifiers { .. } => Ok(()),
        Step::Publish { number, event } => {
            put_secret(context, observed, number).await?;
            publish::event(context, observed, event).await;
            Ok(())
        }
        Step::DeleteSecret { name } => delete_secret(context, observed, &name).await,
        Step::DeleteStaged { number } => delete_staged(context, observed, number).await,
    }
}

/// Step 1: a string of its own, in a Secret that nobody reads yet.
async fn stage(context: &Context, observed: &mut Observed, number: u32, now: Timestamp) -> Result<(), Error> {
    let (Ok(key), Ok(accepted)) = (&observed.key, &observed.acceptance) else { return Ok(()) };
    let (string, minted) = mint(observed, key, accepted, now)?;
    let wanted = HeldSecret(build::staged(&observed.object, key, number, &string));
    create_staged(context, observed, number, &wanted, Some(minted)).await
}

/// A string of its own, or the one to take over, and what it brings into the status.
fn mint(
    observed: &Observed,
    key: &Key,
    accepted: &Accepted,
    now: Timestamp,
) -> Result<(PlainKey, Minted), EntropyError> {
    // Once a version was handed out, there is nothing left to take over.
    let imported = observed.imported.as_ref().filter(|_| observed.record.last_rotated_at.is_none());
    let string = match imported {
        Some(string) => string.clone(),
        None => accepted.api.key_format.mint(key.environment, entropy::fill)?,
    };
    let pepper = observed.peppers.all.active();
    let minted = Minted {
        digest: pepper.digest(&string),
        pepper: pepper.name().into(),
        start: source::start(&string).into(),
        at: now,
        id: key::mint_id(entropy::fill)?.into(),
    };
    Ok((string, minted))
}

/// Step 1 of a key whose strings stand nowhere: nobody has the string until the status is written.
fn seal(observed: &mut Observed, number: u32, now: Timestamp) -> Result<(), Error> {
    let (Ok(key), Ok(accepted)) = (&observed.key, &observed.acceptance) else { return Ok(()) };
    let public = delivery::seal_to(&observed.object).map_err(Error::SealTo)?;
    let (string, minted) = mint(observed, key, accepted, now)?;
    let key_id = observed.record.id.as_ref().unwrap_or(&minted.id);
    let text = public.seal(&string, Label { key_id, version: number }).map_err(Error::Seal)?.into();
    observed.sealed = Some(SealedString { number, minted, text });
    Ok(())
}

/// A copy of a string in use, while the Secret that holds it is made anew.
async fn keep_beside(context: &Context, observed: &mut Observed, number: u32) -> Result<(), Error> {
    let Ok(key) = &observed.key else { return Ok(()) };
    let version = observed.record.versions.by_number(number);
    let string = version.and_then(|version| observed.string_of(version)).ok_or(Error::StringGone(number))?;
    let wanted = HeldSecret(build::staged(&observed.object, key, number, &string));
    create_staged(context, observed, number, &wanted, None).await
}

async fn create_staged(
    context: &Context,
    observed: &mut Observed,
    number: u32,
    wanted: &HeldSecret,
    minted: Option<Minted>,
) -> Result<(), Error> {
    let secrets = observed.secrets(context);
    let name = wanted.0.name_any();
    match secrets.create(&post_params(), &wanted.0).await {
        Ok(created) => {
            observed.staged.push(HeldStaged { number, secret: HeldSecret(created), minted });
            Ok(())
        }
        // Left behind by an interrupted run: looked at, it will be planned away.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            observed.take_staged(&secrets, &name).await?;
            if observed.staged.is_empty() {
                return Err(Error::Create { name, source: kube::Error::Api(status) });
            }
            Ok(())
        }
        Err(source) => Err(Error::Create { name, source }),
    }
}

/// Step 4, and whatever puts the Secret right.
async fn put_secret(context: &Context, observed: &mut Observed, number: u32) -> Result<(), Error> {
    let Ok(key) = &observed.key else { return Ok(()) };
    let wanted = observed.wanted_secret(key, number).ok_or(Error::StringGone(number))?;
    let secrets = observed.secrets(context);
    let name = key.secret_name.to_string();
    let written = match &observed.secret {
        None => secrets.create(&post_params(), &wanted.0).await.map_err(|source| Error::Create { name, source })?,
        Some(found) => {
            let over = HeldSecret(build::over(&found.0, wanted.0.clone()));
            let replaced = secrets.replace(&name, &post_params(), &over.0).await;
            replaced.map_err(|source| Error::Replace { name, source })?
        }
    };
    observed.secret = Some(HeldSecret(written));
    Ok(())
}

async fn delete_secret(context: &Context, observed: &mut Observed, name: &Arc<str>) -> Result<(), Error> {
    let secrets = observed.secrets(context);
    let named = |secret: &HeldSecret| secret.0.name_any() == **name;
    let held = observed.secret.take_if(|secret| named(secret));
    let held = held.or_else(|| observed.moved.iter().position(named).map(|at| observed.moved.remove(at)));
    let Some(held) = held else { return Ok(()) };
    delete_exactly(&secrets, &held.0).await.map_err(|source| Error::Delete { name: name.to_string(), source })
}

async fn delete_staged(context: &Context, observed: &mut Observed, number: u32) -> Result<(), Error> {
    let secrets = observed.secrets(context);
    let Some(at) = observed.staged.iter().position(|staged| staged.number == number) else { return Ok(()) };
    let held = observed.staged.remove(at);
    let name = held.secret.0.name_any();
    delete_exactly(&secrets, &held.secret.0).await.map_err(|source| Error::Delete { name, source })
}

/// Deletes the very object that was looked at; one that is gone already is fine.
async fn delete_exactly(secrets: &Api<Secret>, secret: &Secret) -> Result<(), kube::Error> {
    let preconditions = Preconditions { uid: secret.uid(), resource_version: secret.resource_version() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match secrets.delete(&secret.name_any(), &params).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
