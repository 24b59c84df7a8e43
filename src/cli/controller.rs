//! The controller's part of a process.

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::controller::{self, Options};
use crate::metrics::Metrics;

/// A controller that is not started yet.
pub(super) struct Controller {
    ready: watch::Sender<bool>,
}

impl Controller {
    pub(super) fn new() -> Self {
        Self { ready: watch::Sender::new(false) }
    }

    /// What readiness waits for.
    pub(super) fn missing(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let ready = self.ready.subscribe();
        move || {
            if *ready.borrow() { Vec::new() } else { vec!["the controller has not read every kind yet".to_owned()] }
        }
    }

    pub(super) async fn run(
        self,
        client: Client,
        metrics: Arc<Metrics>,
        namespace: Option<String>,
        operator_namespace: String,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let options = Options { client, metrics, namespace, operator_namespace, ready: self.ready };
        controller::run(options, shutdown).await.map_err(Error::Controller)
    }
}
