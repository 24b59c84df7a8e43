//! Follows the metadata of a kind. What the objects say is not read: it is secret, or changes all the time.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{StreamExt as _, pin_mut};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::telemetry::chain;

/// What is known of the objects of a kind, and whom it concerns that one comes, changes or goes.
pub(super) trait Book: Debug + Default + Send + 'static {
    type Object: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static;
    type Concerned: Send;

    fn enter(&mut self, object: &PartialObjectMeta<Self::Object>) -> Option<Self::Concerned>;

    fn remove(&mut self, object: &PartialObjectMeta<Self::Object>) -> Option<Self::Concerned>;

    /// Takes a new list over whole: what is not on it is gone.
    fn replace(&mut self, listed: &[PartialObjectMeta<Self::Object>]) -> Vec<Self::Concerned>;
}

/// A book that is kept up to date.
#[derive(Debug, Default)]
pub(super) struct Followed<B> {
    book: Mutex<B>,
    read: watch::Sender<bool>,
}

impl<B> Followed<B> {
    pub(super) fn book(&self) -> MutexGuard<'_, B> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all objects have been listed once.
    pub(super) async fn read(&self) {
        // The sender lives as long as `self`.
        let _ = self.read.subscribe().wait_for(|read| *read).await;
    }
}

/// Follows the objects that `api` lists, and wakes whom their changes concern.
pub(super) fn follow<B: Book>(
    api: Api<PartialObjectMeta<B::Object>>,
    config: watcher::Config,
    wake: impl Fn(B::Concerned) + Send + 'static,
    shutdown: &CancellationToken,
    tasks: &TaskTracker,
) -> Arc<Followed<B>> {
    let followed = Arc::new(Followed::<B>::default());
    let events = watcher(api, config).default_backoff();
    let follower = Arc::clone(&followed);
    tasks.spawn(shutdown.clone().run_until_cancelled_owned(async move {
        pin_mut!(events);
        let mut listed = Vec::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => listed.push(object),
                Ok(watcher::Event::InitDone) => {
                    let concerned = follower.book().replace(&std::mem::take(&mut listed));
                    follower.read.send_replace(true);
                    concerned.into_iter().for_each(&wake);
                }
                Ok(watcher::Event::Apply(object)) => {
                    let concerned = follower.book().enter(&object);
                    concerned.into_iter().for_each(&wake);
                }
                Ok(watcher::Event::Delete(object)) => {
                    let concerned = follower.book().remove(&object);
                    concerned.into_iter().for_each(&wake);
                }
                Err(error) => {
                    warn!(kind = %B::Object::kind(&()), error = chain(&error), "a watch of metadata failed; it is tried again");
                }
            }
        }
    }));
    followed
}
