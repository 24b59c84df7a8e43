//! Asks the API server, again and again, up to which version there are ApiKeys.
//!
//! The LIST is consistent, so that it knows of a revocation of which this process's own watch has not told. It also
//! makes the API server ask etcd how far that is (KEP-2340), so that the watch of ApiKeys gets its bookmark on a
//! quiet cluster; for the other kinds see [`progress`](super::progress).

use std::time::Duration;

use kube::Api;
use kube::api::ListParams;
use kube::core::DeserializeGuard;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::permit::Held;
use crate::clock::since_boot;
use crate::resources::ApiKey;
use crate::telemetry::chain;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a check says nothing.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("asking for the version of ApiKeys")]
    Ask(#[source] kube::Error),
    #[error("the API server took longer than {} s to answer", TIMEOUT.as_secs())]
    Timeout,
    #[error("the API server gave no version of ApiKeys that is a number")]
    Version,
}

/// Checks every `period`, one check after the other. What fails is tried again: a permit lapses by itself.
pub(super) async fn keep_checking(keys: Api<DeserializeGuard<ApiKey>>, held: &Held, period: Duration) {
    loop {
        sleep(period).await;
        if !held.wants_check() {
            continue;
        }
        let begun = since_boot();
        match version(&keys).await {
            Ok(version) => held.checked(begun, version),
            Err(error) => warn!(error = chain(&error), "the permit is not checked; trying again"),
        }
    }
}

/// The version of a list of as little as possible, with resourceVersion unset: as of now.
async fn version(keys: &Api<DeserializeGuard<ApiKey>>) -> Result<u64, CheckError> {
    let one = ListParams::default().limit(1);
    let listed = timeout(TIMEOUT, keys.list_metadata(&one)).await.map_err(|_| CheckError::Timeout)?;
    let version = listed.map_err(CheckError::Ask)?.metadata.resource_version;
    version.and_then(|version| version.parse().ok()).ok_or(CheckError::Version)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::{Body, Client};
    use serde_json::json;

    use super::*;

    /// The API server serves another answer from its cache than from etcd; only the latter proves anything.
    #[tokio::test]
    async fn the_version_is_asked_for_consistently_and_with_little_effort() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            noted.lock().unwrap().push(request.uri().to_string());
            let list = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "12"}, "items": []});
            let answer = Response::new(Full::from(serde_json::to_vec(&list).unwrap()));
            async { Ok::<_, Infallible>(answer) }
        });
        let keys = Api::all(Client::new(service, "default"));
        assert_eq!(version(&keys).await.unwrap(), 12);
        assert_eq!(*asked.lock().unwrap(), ["/apis/keyturn.dev/v1alpha1/apikeys?&limit=1"]);
    }
}
