//! Keeps bookmarks coming on a quiet cluster.
//!
//! The API server's watch cache sends no bookmark while it has nothing newer to tell, and it hears of newer
//! versions that are not about its kind only when etcd reports progress: every few seconds or every ten minutes,
//! as etcd is configured (`--watch-progress-notify-interval`). A consistent read makes the cache ask etcd at once
//! (KEP-2340), so that each watch ends with a bookmark. The answer itself proves nothing and is dropped.

use std::fmt::Debug;
use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::telemetry::chain;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reads consistently every `period`. What fails is tried again: silence closes the gate by itself.
pub(super) async fn ask_for<O>(api: Api<O>, period: Duration)
where
    O: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    // One object that nobody has: the read is about the version, not about objects.
    let nothing = ListParams::default().fields("metadata.name=keyturn-progress").limit(1);
    loop {
        sleep(period).await;
        if let Ok(Err(error)) = timeout(TIMEOUT, api.list(&nothing)).await {
            debug!(kind = %O::kind(&()), error = chain(&error), "asking for progress failed");
        }
    }
}
