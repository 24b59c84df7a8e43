//! The way to the collector: a bound on what waits, and a connection for each batch.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http::{Request, Response, Uri};
use hyper::body::Bytes;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, RetryPolicy, SpanExporter as OtlpExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::call::Caller;
use crate::metrics::{Metrics, SpanOutcome};
use crate::telemetry::chain;

/// Spans that wait for the collector.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

impl Queue {
    pub(super) fn new(most: usize, metrics: Arc<Metrics>) -> Self {
        Self { most, waiting: AtomicUsize::new(0), metrics }
    }

    /// Whether there is room for one more, which is taken.
    pub(super) fn enter(&self) -> bool {
        let has_room = self.waiting.fetch_add(1, Ordering::Relaxed) < self.most;
        if !has_room {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.metrics.spans().add(SpanOutcome::Dropped, 1);
        }
        has_room
    }

    fn leave(&self, count: usize, outcome: SpanOutcome) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        self.metrics.spans().add(outcome, count);
    }
}

/// Exports, counts, and tells when that begins or ceases to fail.
#[derive(Debug)]
pub(super) struct Counted {
    inner: OtlpExporter,
    queue: Arc<Queue>,
    fails: AtomicBool,
}

impl Counted {
    pub(super) fn new(collector: Caller, runtime: Handle, queue: Arc<Queue>) -> Result<Self, ExporterBuildError> {
        let inner = OtlpExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{}/v1/traces", collector.url()))
            .with_retry_policy(RetryPolicy::disabled())
            .with_http_client(Post { collector, runtime })
            .build()?;
        Ok(Self { inner, queue, fails: AtomicBool::new(false) })
    }
}

impl SpanExporter for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.queue.leave(count, SpanOutcome::of(&result));
        match (&result, self.fails.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => {
                warn!(error = chain(error), "spans are not exported, and lost as long as that is so");
            }
            (Ok(()), true) => info!("spans are exported again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn shutdown(&self) -> OTelSdkResult {
        self.inner.shutdown()
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Sends from a thread that belongs to no runtime.
struct Post {
    collector: Caller,
    runtime: Handle,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map(Uri::from).unwrap_or_default();
        let mut collector = self.collector.clone();
        let answer = self.runtime.spawn(async move { collector.call(request).await }).await;
        answer.map_err(Box::<dyn Error + Send + Sync>::from)?.map_err(|error| chain(&error).into())
    }
}
