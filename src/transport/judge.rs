//! Brings the engine's judgement to a verdict: has it supplied with what it lacks, and asks for limits that are
//! counted elsewhere. Neither is waited for beyond what a caller bears.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant as Deadline, timeout_at};
use tracing::debug;

use super::answer::Instant;
use crate::metrics::{self, Metrics};
use crate::telemetry::chain;
use crate::verify::engine::{Engine, Judgement, Verdict};
use crate::verify::request::{Headers, Request};
use crate::verify::spender::Supplier;
use crate::verify::store::{LimitStore, OnStoreError};

/// How long a request waits for quotas and credits to be handed out.
const PATIENCE: Duration = Duration::from_millis(250);

/// What the engine does not have in memory.
#[derive(Clone, Default)]
pub struct Outside {
    /// `None`: no more can be had of any quota or credits.
    pub supplier: Option<Arc<dyn Supplier>>,
    /// `None`: limits are counted in memory.
    pub store: Option<Store>,
}

/// Where limits are counted, and what to do without an answer from there.
#[derive(Clone)]
pub struct Store {
    pub limits: Arc<dyn LimitStore>,
    pub on_error: OnStoreError,
    pub metrics: Arc<Metrics>,
}

impl Outside {
    /// Judges a request that arrived then, by as many attempts as it takes in the time that there is.
    pub(super) async fn judge<H>(
        &self,
        engine: &Engine,
        request: &Request<'_, H>,
        began: Instant,
        clock: &(impl Fn() -> Instant + Sync),
    ) -> Verdict
    where
        H: Headers + Sync + ?Sized,
    {
        let (mut at, mut deadline) = (began, None);
        loop {
            match engine.verify(request, at.now, at.since_boot) {
                Judgement::Short(case, shortage) => {
                    let deadline = *deadline.get_or_insert_with(|| Deadline::now() + PATIENCE);
                    let Some(supplier) = &self.supplier else { return case.unavailable() };
                    if timeout_at(deadline, supplier.supply(shortage)).await != Ok(true) {
                        return case.unavailable();
                    }
                    at = clock();
                }
                Judgement::Elsewhere(case, inquiry) => {
                    let Some(Store { limits, on_error, metrics }) = &self.store else {
                        return inquiry.finish(case, Err(OnStoreError::Deny), Ok(()));
                    };
                    let answer = limits.charge(inquiry.request()).await;
                    let answer = answer.map_err(|error| {
                        debug!(error = chain(&error), "rate limits are not counted by their store");
                        metrics.store().unanswered(match on_error {
                            OnStoreError::Local => metrics::OnStoreError::Local,
                            OnStoreError::Deny => metrics::OnStoreError::Deny,
                        });
                        *on_error
                    });
                    // The permit is read at every decision, and a key may have been revoked while its limits were counted.
                    let at = clock();
                    return inquiry.finish(case, answer, engine.recheck(request, at.now, at.since_boot));
                }
                Judgement::Final(verdict) => return verdict,
            }
        }
    }
}
