//! How many processes judge keys at the moment: among them is shared what all together may do.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::clock::since_boot;
use crate::core::enforced::judgement::Processes;
use crate::resources::judging;
use crate::resources::names::JUDGING_LABEL;
use crate::telemetry::chain;

/// A third of the time after which a process that does not write its Lease counts as gone.
const PERIOD: Duration = Duration::from_secs(10);

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Why the processes are not known.
#[derive(Debug, thiserror::Error)]
enum LivingError {
    #[error("listing the Leases of judging processes")]
    List(#[source] kube::Error),
    #[error("the API server took longer than {} s to list the Leases of judging processes", TIMEOUT.as_secs())]
    Timeout,
}

/// Tells how many there are, this one included, again and again. What fails is tried again, and changes nothing.
pub(super) async fn follow(leases: Api<Lease>, tell: impl Fn(usize)) {
    let mut processes = Processes::default();
    loop {
        match count(&leases, &mut processes).await {
            Ok(count) => tell(count),
            Err(error) => warn!(error = chain(&error), "it is not known how many processes judge keys; trying again"),
        }
        sleep(PERIOD).await;
    }
}

async fn count(leases: &Api<Lease>, processes: &mut Processes) -> Result<usize, LivingError> {
    let begun = since_boot();
    let judging = ListParams::default().labels(JUDGING_LABEL);
    let listed = timeout(TIMEOUT, leases.list(&judging)).await.map_err(|_| LivingError::Timeout)?;
    let now = since_boot();
    processes.listed(judging::list(&listed.map_err(LivingError::List)?, begun), now);
    Ok(processes.count_living(now))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use http_body_util::Full;
    use kube::client::{Body, Client};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_processes_that_hold_a_lease_are_counted() {
        let service = tower::service_fn(|request: Request<Body>| {
            assert_eq!(request.uri().query(), Some("&labelSelector=keyturn.dev%2Fjudging"));
            let lease = |name: &str, holder: &str| {
                json!({
                    "metadata": {"name": name, "uid": name, "resourceVersion": "7"},
                    "spec": {"holderIdentity": holder, "leaseDurationSeconds": 900},
                })
            };
            let list = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "LeaseList", "metadata": {"resourceVersion": "9"},
                "items": [lease("one", "one"), lease("gone", ""), lease("other", "other")],
            });
            let answer = Response::new(Full::from(serde_json::to_vec(&list).unwrap()));
            async { Ok::<_, Infallible>(answer) }
        });
        let leases = Api::namespaced(Client::new(service, "keyturn-system"), "keyturn-system");
        assert_eq!(count(&leases, &mut Processes::default()).await.unwrap(), 2);
    }
}
