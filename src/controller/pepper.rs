//! Makes the pepper, once: digests made under another would lock out every key that exists.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::core::{DynamicObject, ObjectMeta, PartialObjectMeta};
use kube::{Api, Client, ResourceExt as _};
use tracing::info;

use super::post_params;
use super::scope::Scope;
use crate::core::digest::PEPPER_BYTES;
use crate::core::pepper::Peppers;
use crate::entropy::{self, EntropyError};
use crate::resources::ApiKey;
use crate::resources::names::{APIKEY_UID_LABEL, MANAGED_BY, MANAGED_BY_LABEL, PEPPER_ACTIVE, PEPPER_SECRET};
use crate::resources::pepper::{self, PepperError};

/// Name of the first pepper.
const FIRST: &str = "p1";

/// ApiKeys read at once while looking for one that has versions.
const PAGE: u32 = 500;

/// There is no pepper that could be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("reading Secret {PEPPER_SECRET}")]
    Read(#[source] kube::Error),
    #[error("looking for ApiKeys that were minted under another pepper")]
    List(#[source] kube::Error),
    #[error(
        "Secret {PEPPER_SECRET} is missing, but ApiKey {0} was minted under it; restore the Secret from a backup, since a new one would lock out every key"
    )]
    Lost(String),
    #[error("looking for Secrets that were written under another pepper")]
    ListSecrets(#[source] kube::Error),
    #[error(
        "Secret {PEPPER_SECRET} is missing, but Secret {0} was written under it; restore it from a backup before the keys, or delete the Secrets that Keyturn wrote"
    )]
    LostFor(String),
    #[error("drawing a pepper")]
    Entropy(#[from] EntropyError),
    #[error("creating Secret {PEPPER_SECRET}")]
    Create(#[source] kube::Error),
    #[error("using Secret {PEPPER_SECRET}")]
    Unusable(#[from] PepperError),
}

/// The peppers, and the resourceVersion of their Secret. One is made if there is none and no key depends on any.
/// Never overwritten.
pub(super) async fn ensure(
    client: &Client,
    scope: &Scope,
    operator_namespace: &str,
) -> Result<(Peppers, Option<String>), Error> {
    let secrets = Api::<Secret>::namespaced(client.clone(), operator_namespace);
    if let Some(secret) = secrets.get_opt(PEPPER_SECRET).await.map_err(Error::Read)? {
        return parsed(secret);
    }
    if let Some(key) = minted_key(client, scope).await? {
        return Err(Error::Lost(key));
    }
    // Keys that came back from a backup have no versions, but their Secrets are proven by the pepper.
    if let Some(secret) = written_secret(client, scope).await? {
        return Err(Error::LostFor(secret));
    }
    let mut bytes = vec![0; PEPPER_BYTES];
    entropy::fill(&mut bytes)?;
    let data = [(PEPPER_ACTIVE.to_owned(), ByteString(FIRST.into())), (FIRST.to_owned(), ByteString(bytes))];
    let mut secret = Secret {
        metadata: ObjectMeta {
            name: Some(PEPPER_SECRET.to_owned()),
            labels: Some(BTreeMap::from([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from(data)),
        ..Secret::default()
    };
    match secrets.create(&post_params(), &secret).await {
        Ok(created) => {
            info!(pepper = FIRST, "made the pepper");
            secret = created;
        }
        // Another controller was faster, or the answer to our own first try was lost.
        Err(kube::Error::Api(status)) if status.is_already_exists() => {
            secret = secrets.get(PEPPER_SECRET).await.map_err(Error::Read)?;
        }
        Err(error) => return Err(Error::Create(error)),
    }
    parsed(secret)
}

fn parsed(mut secret: Secret) -> Result<(Peppers, Option<String>), Error> {
    Ok((pepper::parse(&mut secret)?, secret.resource_version()))
}

/// Namespace and name of some Secret that holds, or held, a key of Keyturn's.
async fn written_secret(client: &Client, scope: &Scope) -> Result<Option<String>, Error> {
    let secrets: Api<PartialObjectMeta<Secret>> = scope.api(client);
    let params = ListParams::default().labels(APIKEY_UID_LABEL).limit(1);
    let page = secrets.list_metadata(&params).await.map_err(Error::ListSecrets)?;
    Ok(page.items.first().map(|secret| format!("{}/{}", secret.namespace().unwrap_or_default(), secret.name_any())))
}

/// Namespace and name of some ApiKey that has versions. Read without its type: an object that cannot be read
/// otherwise still counts.
async fn minted_key(client: &Client, scope: &Scope) -> Result<Option<String>, Error> {
    let resource = kube::core::ApiResource::erase::<ApiKey>(&());
    let keys: Api<DynamicObject> = scope.dynamic(client, &resource);
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = keys.list(&params).await.map_err(Error::List)?;
        let minted = page.items.iter().find(|key| {
            let versions = key.data.pointer("/status/versions").and_then(serde_json::Value::as_array);
            versions.is_some_and(|versions| !versions.is_empty())
        });
        if let Some(key) = minted {
            return Ok(Some(format!("{}/{}", key.namespace().unwrap_or_default(), key.name_any())));
        }
        match page.metadata.continue_ {
            Some(next) if !next.is_empty() => params = params.continue_token(&next),
            _ => return Ok(None),
        }
    }
}
