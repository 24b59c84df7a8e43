//! Rate limits in servers that speak the protocol of Redis, such as Valkey: one server, or a cluster. Thin: what is
//! charged is decided by [`crate::core::ratelimit`], word for word in a script that the servers run.
//!
//! ```text
//! request ─► Store ─► topology ─► slots    which server keeps these limits
//!              │          └─────► server   one connection, made anew by itself; without it, requests fail at once
//!              └────► script               one round trip: charges all limits, or none
//! ```
//!
//! A request waits for [`Settings::timeout`] at most, and no more than [`Settings::max_waiting`] wait at once: beyond
//! that they fail at once, so that a server that is dead or slow keeps nobody from being answered. A charge is sent
//! again only when it was certainly not executed.

mod connect;
mod script;
mod server;
mod settings;
mod slots;
mod topology;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};
use tracing::warn;

use crate::clock::since_boot;
use crate::core::instant::AtomicInstant;
use crate::metrics::{Metrics, StoreOutcome};
use crate::telemetry::chain;
use crate::verify::store::{LimitStore, StoreAnswer, StoreError, StoreRequest};
use connect::Connector;
use script::Call;
use server::Failure;
use topology::Topology;

pub use connect::ConnectError;
pub use settings::{ServerUrl, Settings, UrlError};

/// How often a request follows a slot to another server: once for a slot that has moved, once more for one that is
/// being moved there, and once for the news being old.
const MOST_REDIRECTS: usize = 3;

/// How often errors are logged at most.
const QUIET: Duration = Duration::from_secs(10);

/// Charges rate limits in a server or a cluster, which it stays connected to. Dropping it closes the connections.
pub struct Store {
    topology: Topology,
    /// One for each request that may wait.
    permits: Semaphore,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    /// Until when no error is logged.
    quiet: AtomicInstant,
}

impl Store {
    /// Starts to connect and returns; within a tokio runtime.
    #[must_use]
    pub fn start(settings: Settings, metrics: Arc<Metrics>) -> Self {
        let settings = Arc::new(settings);
        let connector = Connector::new(Arc::clone(&settings));
        Self {
            topology: Topology::follow(connector),
            permits: Semaphore::new(settings.max_waiting),
            settings,
            metrics,
            quiet: AtomicInstant::default(),
        }
    }

    /// Why requests fail at present, as a sentence; `None`: all servers are connected.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.topology.trouble()
    }

    /// How many requests are waiting for an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.settings.max_waiting.saturating_sub(self.permits.available_permits())
    }

    async fn measured(&self, request: StoreRequest) -> Result<StoreAnswer, StoreError> {
        let began = since_boot();
        let result = match self.permits.try_acquire() {
            Err(_) => Err(StoreError::Busy),
            Ok(_permit) => self.within_time(&request).await,
        };
        let outcome = match &result {
            Ok(answer) if answer.admitted => StoreOutcome::Admitted,
            Ok(_) => StoreOutcome::Refused,
            Err(StoreError::Busy) => StoreOutcome::Busy,
            Err(StoreError::TimedOut) => StoreOutcome::TimedOut,
            Err(StoreError::Disconnected) => StoreOutcome::Disconnected,
            Err(StoreError::Failed(_)) => StoreOutcome::Failed,
        };
        let now = since_boot();
        self.metrics.store().answered(outcome, now.saturating_sub(began));
        // What is not connected has been told of once, when it went.
        if let Err(error @ StoreError::Failed(_)) = &result
            && !self.quiet.is_after(now)
        {
            self.quiet.store(Some(now + QUIET));
            warn!(error = chain(error), "the store of rate limits fails; more of this is not logged for 10 s");
        }
        result
    }

    async fn within_time(&self, request: &StoreRequest) -> Result<StoreAnswer, StoreError> {
        let mut deadline = std::pin::pin!(sleep(self.settings.timeout));
        let call = Call::new(request);
        let reply = self.follow(&call, deadline.as_mut()).await.map_err(|failure| match failure {
            Failure::TimedOut => StoreError::TimedOut,
            Failure::Disconnected => StoreError::Disconnected,
            Failure::Moved(_) | Failure::Ask(_) => StoreError::Failed("the slot keeps moving".into()),
            Failure::Refused(error) => StoreError::Failed(error.into()),
        })?;
        script::answer(&reply, request.charges.len()).map_err(|error| StoreError::Failed(error.into()))
    }

    /// Runs the script on whichever server has the slot.
    async fn follow(&self, call: &Call, mut deadline: Pin<&mut Sleep>) -> Result<redis::Value, Failure> {
        let slot = call.key().map_or(0, |key| slots::slot(key.as_bytes()));
        let (mut server, mut asking) = (self.topology.server(slot).ok_or(Failure::Disconnected)?, false);
        let mut redirects = 0;
        loop {
            let failure = match server.run(call, asking, deadline.as_mut()).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            (server, asking) = match &failure {
                _ if redirects == MOST_REDIRECTS => return Err(failure),
                Failure::Moved(to) => (self.topology.redirected(&server, to).ok_or(failure)?, false),
                Failure::Ask(to) => (self.topology.redirected(&server, to).ok_or(failure)?, true),
                Failure::Refused(error) if !error.is_cluster_error() => return Err(failure),
                Failure::TimedOut => return Err(failure),
                Failure::Disconnected | Failure::Refused(_) => {
                    self.topology.look_again();
                    return Err(failure);
                }
            };
            if !asking {
                self.topology.look_again();
            }
            redirects += 1;
        }
    }
}

impl LimitStore for Store {
    fn charge(&self, request: StoreRequest) -> BoxFuture<'_, Result<StoreAnswer, StoreError>> {
        self.measured(request).boxed()
    }
}
