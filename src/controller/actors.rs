//! Who changes keys, as the admission policy of `config/audit` stamps it on them.
//!
//! Anybody who may write ApiKeys could write an annotation before the policy is there, or where it is not. So its
//! stamps carry a token that is drawn only once the policy has been seen to be in force, and a new one each time
//! that the policy was replaced: nobody else could have known it before nobody else could write it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tracing::{debug, info, warn};

use super::post_params;
use crate::entropy::{self, EntropyError};
use crate::resources::names::{ACTOR_POLICY, MANAGED_BY, MANAGED_BY_LABEL};
use crate::telemetry::chain;

/// As it has to be applied, for the operator's namespace [`NAMESPACE`].
const SHIPPED: &str = include_str!("../../config/audit/policy.yaml");
const NAMESPACE: &str = "keyturn-system";

const GROUP: &str = "admissionregistration.k8s.io";
/// Since Kubernetes 1.36, and since 1.34 where it is switched on.
const VERSIONS: [&str; 2] = ["v1", "v1beta1"];
/// In the order of [`SHIPPED`].
const KINDS: [&str; 2] = ["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"];

/// Data keys of the ConfigMap that the policy takes its token from.
const TOKEN: &str = "token";
const POLICY: &str = "policy";
const TOKEN_BYTES: usize = 16;

/// How often the policy is looked for while nothing happens.
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("reading {kind} {ACTOR_POLICY}")]
    Policy { kind: &'static str, source: kube::Error },
    #[error("reading ConfigMap {ACTOR_POLICY}")]
    Read(#[source] kube::Error),
    #[error("writing ConfigMap {ACTOR_POLICY}")]
    Write(#[source] kube::Error),
    #[error("drawing a token")]
    Entropy(#[from] EntropyError),
}

/// What is known of the policy.
#[derive(Debug)]
enum Finding {
    /// Policy and binding are as they were shipped; names them as they are now.
    InForce(String),
    Absent,
    /// One of them is not as it was shipped.
    Differs,
}

/// Knows whether stamps can be trusted.
pub(super) struct Actors {
    client: Client,
    namespace: String,
    /// What policy and binding have to say.
    specs: Vec<Value>,
    /// What was said last, so that it is said once.
    said: Mutex<Option<String>>,
}

impl Actors {
    pub(super) fn new(client: &Client, operator_namespace: &str) -> Self {
        Self {
            client: client.clone(),
            namespace: operator_namespace.to_owned(),
            specs: shipped(operator_namespace),
            said: Mutex::default(),
        }
    }

    /// Looks for the policy now and then, so that it is there before the first stamp is needed.
    pub(super) async fn follow(self: Arc<Self>) {
        loop {
            self.token().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// What a stamp that was seen before must have after its generation; `None` while none can be trusted. Nothing is
    /// remembered: a policy that is in force after an edit, and is still the same, was so when the edit was made.
    pub(super) async fn token(&self) -> Option<Arc<str>> {
        let looked = self.look().await;
        self.say(&looked);
        looked.ok().and_then(|(_, token)| token)
    }

    async fn look(&self) -> Result<(Finding, Option<Arc<str>>), Error> {
        let finding = self.find().await?;
        let token = match &finding {
            Finding::InForce(policy) => Some(self.token_for(policy).await?),
            Finding::Absent | Finding::Differs => None,
        };
        Ok((finding, token))
    }

    /// The token that was drawn for this very policy, or a new one.
    async fn token_for(&self, policy: &str) -> Result<Arc<str>, Error> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let found = maps.get_opt(ACTOR_POLICY).await.map_err(Error::Read)?;
        let data = found.as_ref().and_then(|map| map.data.as_ref());
        let drawn = data.and_then(|data| Some((data.get(POLICY)?, data.get(TOKEN)?)));
        if let Some((_, token)) = drawn.filter(|(of, token)| *of == policy && token.len() == 2 * TOKEN_BYTES) {
            return Ok(token.as_str().into());
        }
        let token = entropy::nonce(TOKEN_BYTES)?;
        let data = [(TOKEN, token.as_str()), (POLICY, policy)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = ObjectMeta {
            name: Some(ACTOR_POLICY.to_owned()),
            labels: Some([(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned())].into()),
            resource_version: found.as_ref().and_then(ConfigMap::resource_version),
            ..ObjectMeta::default()
        };
        let map = ConfigMap { metadata, data: Some(data.into()), ..ConfigMap::default() };
        let written = match found {
            None => maps.create(&post_params(), &map).await,
            Some(_) => maps.replace(ACTOR_POLICY, &post_params(), &map).await,
        };
        written.map_err(Error::Write)?;
        Ok(token.into())
    }

    async fn find(&self) -> Result<Finding, Error> {
        for version in VERSIONS {
            let mut names = Vec::new();
            for (kind, spec) in KINDS.into_iter().zip(&self.specs) {
                let Some(found) = self.read(version, kind).await? else { break };
                if found.data.get("spec") != Some(spec) {
                    return Ok(Finding::Differs);
                }
                names.push(identity(&found));
            }
            if names.len() == KINDS.len() {
                return Ok(Finding::InForce(names.join(" ")));
            }
        }
        Ok(Finding::Absent)
    }

    async fn read(&self, version: &str, kind: &'static str) -> Result<Option<DynamicObject>, Error> {
        let resource = match kind {
            "MutatingAdmissionPolicy" => "mutatingadmissionpolicies",
            _ => "mutatingadmissionpolicybindings",
        };
        let kind_of = GroupVersionKind::gvk(GROUP, version, kind);
        let objects: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind_of, resource));
        match objects.get_opt(ACTOR_POLICY).await {
            // One that looks after a single namespace may have no rights in the cluster.
            Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(None),
            read => read.map_err(|source| Error::Policy { kind, source }),
        }
    }
}

/// Changes whenever somebody changes the object, and with another of its name.
fn identity(object: &DynamicObject) -> String {
    format!("{}.{}", object.uid().unwrap_or_default(), object.metadata.generation.unwrap_or_default())
}

/// The specs of policy and binding for this operator's namespace.
fn shipped(operator_namespace: &str) -> Vec<Value> {
    let text = SHIPPED.replace(NAMESPACE, operator_namespace);
    // Where it cannot be read, which a test rules out, no policy is like it.
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap_or_default();
    objects.into_iter().map(|object| object["spec"].clone()).collect()
}

impl Actors {
    fn say(&self, looked: &Result<(Finding, Option<Arc<str>>), Error>) {
        let told = match looked {
            Ok((finding, _)) => format!("{finding:?}"),
            Err(error) => chain(error),
        };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.as_ref() == Some(&told) {
            return;
        }
        match looked {
            Ok((Finding::InForce(_), _)) => info!("who changes ApiKeys is proven by admission policy {ACTOR_POLICY}"),
            Ok((Finding::Absent, _)) => {
                debug!(
                    "admission policy {ACTOR_POLICY} is not there; who changes ApiKeys is known from field managers"
                );
            }
            Ok((Finding::Differs, _)) => {
                warn!(
                    "admission policy {ACTOR_POLICY} or its binding differs from config/audit of this version, and its stamps count for nothing; apply config/audit anew"
                );
            }
            Err(error) => {
                warn!(error = chain(error), "who changes ApiKeys cannot be proven for now; it is tried again");
            }
        }
        *said = Some(told);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_be_read() {
        let specs = shipped("elsewhere");
        assert_eq!(specs.len(), KINDS.len());
        assert_eq!(specs[0]["failurePolicy"], "Fail", "what was not looked at must not pass");
        assert_eq!(specs[1]["policyName"], ACTOR_POLICY);
        assert_eq!(specs[1]["paramRef"]["namespace"], "elsewhere");
    }
}
