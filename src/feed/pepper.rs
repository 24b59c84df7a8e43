//! The secret under which digests are made, as the controller wrote it.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::core::digest::Pepper;
use crate::resources::names::PEPPER_SECRET;
use crate::resources::pepper::{self, PepperError};
use crate::telemetry::chain;

/// How often a Secret that is not there yet is looked for.
const PAUSE: Duration = Duration::from_secs(1);

/// Why there is no pepper to use.
#[derive(Debug, thiserror::Error)]
enum MissingPepper {
    #[error("Secret {PEPPER_SECRET} does not exist; the controller makes it when it starts")]
    Absent,
    #[error("reading Secret {PEPPER_SECRET}")]
    Read(#[source] kube::Error),
    #[error(transparent)]
    Unusable(#[from] PepperError),
}

/// Waits until there is a pepper. `tell` hears each new reason why there is none.
pub(super) async fn wait(secrets: &Api<Secret>, tell: impl Fn(String)) -> Pepper {
    let mut said = String::new();
    loop {
        match read(secrets).await {
            Ok(pepper) => {
                info!(pepper = pepper.name(), "the pepper is read");
                return pepper;
            }
            Err(error) => {
                let reason = chain(&error);
                if reason != said {
                    warn!(reason, "there is no pepper yet");
                    tell(reason.clone());
                    said = reason;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

async fn read(secrets: &Api<Secret>) -> Result<Pepper, MissingPepper> {
    let secret = secrets.get_opt(PEPPER_SECRET).await.map_err(MissingPepper::Read)?;
    Ok(pepper::parse(&mut secret.ok_or(MissingPepper::Absent)?)?)
}
