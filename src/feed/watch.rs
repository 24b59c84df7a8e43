//! Lists one kind and then watches it for ever, handing over every change in order.
//!
//! Our own loop rather than kube-runtime's, which hides list versions and bookmarks: the first tell up to which
//! version a process has applied the keys, the second that silence means "nothing changed" rather than "dead".
//!
//! ```text
//!  list in pages ──► Listed ──► watch from the list's version ──► Applied, Deleted, Bookmark
//!      ▲                            │ ended after its time: watch on from the last version
//!      └──────── back off ◄─────────┘ 410, any error, or silence past its end
//! ```

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Status;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use super::backoff;
use crate::clock::since_boot;
use crate::entropy;
use crate::metrics::Metrics;
use crate::telemetry::chain;

/// Objects per page of a list.
const PAGE: u32 = 500;

/// How long one page may take.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// What the end of a watch may be late by before the connection counts as dead.
const WATCH_LATE: Duration = Duration::from_secs(5);

/// What one watch has to tell of objects `O`.
#[derive(Debug)]
pub(super) enum Change<O> {
    /// Everything there is; whatever is missing here is gone.
    Listed(Vec<O>),
    /// An object is new or changed.
    Applied(O),
    /// An object is gone.
    Deleted(O),
    /// Nothing else changed up to this version.
    Bookmark,
}

/// A change, and up to where and when it is the truth.
#[derive(Debug)]
pub(super) struct Report<O> {
    pub change: Change<O>,
    /// The resourceVersion up to which this kind is known with this change; `None` when it is no number.
    pub version: Option<u64>,
    /// Time since boot at which this was certain: the start of a list, the arrival of anything else.
    pub at: Duration,
}

/// Nobody takes reports any more, or the watch has to begin anew.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error("handing over a change to a task that has ended")]
    Closed,
    #[error("listing")]
    List(#[source] kube::Error),
    #[error("listing took longer than {} s a page", PAGE_TIMEOUT.as_secs())]
    ListTimeout,
    #[error("listing gave no resourceVersion to watch from")]
    NoVersion,
    #[error("watching")]
    Watch(#[source] kube::Error),
    #[error("watching: the server reports an error")]
    Reported(#[source] Box<Status>),
    #[error("watching: the server has not ended the watch in time, so the connection is dead")]
    Silent,
}

/// What to follow, and who hears of it.
pub(super) struct Follower<O, T> {
    pub(super) api: Api<O>,
    /// After which the server is asked to end a watch, whole seconds; shortly before it sends a bookmark.
    pub(super) length: Duration,
    pub(super) reports: mpsc::Sender<T>,
    pub(super) wrap: fn(Report<O>) -> T,
    pub(super) metrics: Arc<Metrics>,
}

/// Reports every change of a kind until nobody takes the reports any more. Failures are retried for ever;
/// that nothing arrives any more is for the receiver to notice by the age of the last report.
pub(super) async fn follow<O, T>(follower: Follower<O, T>)
where
    O: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    let kind = O::plural(&());
    let mut failures = 0;
    loop {
        let error = match follower.list_and_watch(&mut failures).await {
            Interruption::Closed => return,
            error => error,
        };
        failures += 1;
        follower.metrics.watch_failed(kind.clone());
        // Without entropy the pause is the longest; nothing is at stake.
        let pause = backoff::pause(failures, entropy::fraction().unwrap_or(1.0));
        if error.is_expired() {
            info!(%kind, ?pause, "the watch's version has expired; listing again");
        } else {
            warn!(%kind, ?pause, error = chain(&error), "the watch is interrupted; listing again");
        }
        sleep(pause).await;
    }
}

impl<O, T> Follower<O, T>
where
    O: Resource + Clone + Debug + DeserializeOwned,
{
    async fn list_and_watch(&self, failures: &mut u32) -> Interruption {
        let mut version = match self.list().await {
            Ok(version) => version,
            Err(error) => return error,
        };
        loop {
            match self.watch_once(&version).await {
                Ok(Some(last)) => {
                    *failures = 0;
                    version = last;
                }
                // A watch that ends at once, again and again, must not become a busy loop.
                Ok(None) => sleep(backoff::pause(1, 0.0)).await,
                Err(error) => return error,
            }
        }
    }

    /// Lists everything, with resourceVersion unset: as of now, not as of some cache.
    async fn list(&self) -> Result<String, Interruption> {
        let at = since_boot();
        let mut objects = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let page = timeout(PAGE_TIMEOUT, self.api.list(&params)).await.map_err(|_| Interruption::ListTimeout)?;
            let mut page = page.map_err(Interruption::List)?;
            // All of a list is held at once, and nobody here reads who wrote which field.
            page.items.iter_mut().for_each(|object| object.meta_mut().managed_fields = None);
            objects.extend(page.items);
            if let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
                params = params.continue_token(&token);
                continue;
            }
            let version = page.metadata.resource_version.ok_or(Interruption::NoVersion)?;
            self.send(Report { change: Change::Listed(objects), version: version.parse().ok(), at }).await?;
            return Ok(version);
        }
    }

    /// Watches until the server ends the watch; answers the last version heard, if there was any.
    async fn watch_once(&self, from: &str) -> Result<Option<String>, Interruption> {
        let deadline = Instant::now() + self.length + WATCH_LATE;
        let params = WatchParams::default().timeout(u32::try_from(self.length.as_secs()).unwrap_or(u32::MAX));
        let opened = timeout_at(deadline, self.api.watch(&params, from)).await.map_err(|_| Interruption::Silent)?;
        let mut events = opened.map_err(Interruption::Watch)?.map_err(Interruption::Watch).boxed();
        let mut last = None;
        loop {
            let event = timeout_at(deadline, events.next()).await.map_err(|_| Interruption::Silent)?;
            let Some(event) = event else { return Ok(last) };
            let (change, version) = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let version = object.resource_version();
                    (Change::Applied(object), version)
                }
                WatchEvent::Deleted(object) => {
                    let version = object.resource_version();
                    (Change::Deleted(object), version)
                }
                WatchEvent::Bookmark(bookmark) => (Change::Bookmark, Some(bookmark.metadata.resource_version)),
                WatchEvent::Error(status) => return Err(Interruption::Reported(status)),
            };
            let number = version.as_deref().and_then(|version| version.parse().ok());
            last = version.or(last);
            self.send(Report { change, version: number, at: since_boot() }).await?;
        }
    }

    async fn send(&self, report: Report<O>) -> Result<(), Interruption> {
        self.reports.send((self.wrap)(report)).await.map_err(|_| Interruption::Closed)
    }
}

impl Interruption {
    /// Whether the version is simply too old (410 Gone), which is part of the protocol.
    fn is_expired(&self) -> bool {
        match self {
            Self::Reported(status) | Self::Watch(kube::Error::Api(status)) | Self::List(kube::Error::Api(status)) => {
                status.code == 410
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;
