//! The controller's part of a process.

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::options::Leading;
use crate::controller::{self, AuditLog, Options, Phase};
use crate::metrics::Metrics;

/// A controller that is not started yet.
pub(super) struct Controller {
    phase: watch::Sender<Phase>,
    leading: Leading,
}

impl Controller {
    pub(super) fn new(leading: Leading) -> Self {
        Self { phase: watch::Sender::default(), leading }
    }

    /// What readiness waits for. One that stands by is ready: to take over.
    pub(super) fn missing(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let phase = self.phase.subscribe();
        move || match *phase.borrow() {
            Phase::Starting => vec!["the controller does not know yet whether another one leads".to_owned()],
            Phase::Reading => vec!["the controller has not read every kind yet".to_owned()],
            Phase::StandingBy | Phase::TakingOver | Phase::AtWork => Vec::new(),
        }
    }

    /// What it does, once it is ready.
    pub(super) fn remarks(&self) -> impl Fn() -> Vec<String> + Send + Sync + 'static {
        let phase = self.phase.subscribe();
        move || {
            let does = match *phase.borrow() {
                Phase::Starting | Phase::Reading => return Vec::new(),
                Phase::StandingBy => "stands by: another one leads, or is about to",
                Phase::TakingOver => "leads, and reads what there is",
                Phase::AtWork => "leads",
            };
            vec![format!("the controller {does}")]
        }
    }

    /// Says in the metrics whether it leads.
    pub(super) fn measure(&self) -> impl Fn(&Metrics) + Send + Sync + 'static {
        let phase = self.phase.subscribe();
        move |metrics| {
            let leads = match *phase.borrow() {
                Phase::Starting | Phase::StandingBy => false,
                Phase::Reading | Phase::TakingOver | Phase::AtWork => true,
            };
            metrics.leading().set_leads(leads);
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
        let audit = match self.leading.audit_file() {
            None => AuditLog::to_log(Arc::clone(&metrics)),
            Some(path) => {
                let opened = AuditLog::to_file(path, Arc::clone(&metrics));
                opened.map_err(|error| Error::AuditFile(path.to_owned(), error))?
            }
        };
        let (leader_lease, phase, process) = (self.leading.leader_lease, self.phase, super::process_name());
        let options = Options { client, metrics, namespace, operator_namespace, process, leader_lease, audit, phase };
        controller::run(options, shutdown).await.map_err(Error::Controller)
    }
}
