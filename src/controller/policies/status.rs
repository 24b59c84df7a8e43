//! Writes an object's `Accepted`, where it does not say so already.

use std::time::Duration;

use kube::{Api, Client, ResourceExt as _};
use tokio::time::sleep;
use tracing::{info, warn};

use super::kinds::Kind;
use crate::clock;
use crate::controller::post_params;
use crate::core::acceptance::Rejection;
use crate::resources::condition::{self, ObjectStatus, Statement};
use crate::telemetry::chain;

/// Pauses between tries; the client has its own for errors of the server. What fails for longer is said again
/// when the object changes or is listed anew.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// `status_of`: the status of an object.
pub(super) async fn tell<K: Kind>(
    client: &Client,
    mut object: K,
    status_of: fn(&mut K) -> &mut Option<ObjectStatus>,
    judgement: Result<(), &Rejection>,
) {
    let generation = object.meta().generation;
    let mut status = status_of(&mut object).clone().unwrap_or_default();
    let statement = Statement::accepted(judgement);
    status.observed_generation = generation;
    condition::set(&mut status.conditions, statement, generation, clock::now());
    if status_of(&mut object).as_ref() == Some(&status) {
        return;
    }
    *status_of(&mut object) = Some(status);
    let name = object.name_any();
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    for pause in PAUSES.map(Some).into_iter().chain([None]) {
        // The object's resourceVersion goes along: a newer one is never overwritten.
        match (api.replace_status(&name, &post_params(), &object).await, pause) {
            (Ok(_), _) => return info!(kind = %K::kind(&()), %name, accepted = judgement.is_ok(), "judged"),
            // It has changed or gone meanwhile, which is an event of its own.
            (Err(kube::Error::Api(status)), _) if status.is_conflict() || status.is_not_found() => return,
            (Err(_), Some(pause)) => sleep(pause).await,
            (Err(error), None) => {
                warn!(kind = %K::kind(&()), %name, error = chain(&error), "the status could not be written");
            }
        }
    }
}
