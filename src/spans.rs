//! Traces: one span for each decision about a request that somebody follows, sent to a collector by OTLP over HTTP.
//!
//! ```text
//! traceparent ─► Parent ─► decision ─► span ─► queue, bounded ─► batch ─► collector
//! ```
//!
//! Whoever begins a trace decides whether it is recorded; without such a parent there is no span and no cost. A span is made
//! when its decision is, so nothing is carried along meanwhile. A collector that is away costs spans and nothing else.

mod export;
mod parent;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt as _, Tracer as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::ExporterBuildError;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::call::Caller;
use crate::metrics::{Metrics, SpanOutcome};
use crate::telemetry::chain;

use export::{Counted, Queue};

pub use parent::{Parent, TRACEPARENT, TRACESTATE};

/// The most spans that wait for the collector; one more is dropped.
const LONGEST_QUEUE: usize = 2048;

/// How long spans are collected before they are sent.
const BATCH_DELAY: Duration = Duration::from_secs(2);

/// How long sending what is left may take once the process goes.
const GOODBYE: Duration = Duration::from_secs(3);

/// What every span is called: names are few, what differs is in the attributes.
const NAME: &str = "judge";

/// Where spans go, and whose they are.
pub struct Settings {
    pub collector: Caller,
    /// `service.name`
    pub service: String,
    /// `service.instance.id`, such as the pod's name.
    pub instance: String,
}

/// What was decided about a request. Never a credential.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// How the proxy has asked: `http` or `grpc`.
    pub protocol: &'static str,
    /// Namespace and name of the API, if there is one.
    pub api: Option<(&'a str, &'a str)>,
    pub route: Option<&'a str>,
    /// `ALLOWED` or the code of the denial.
    pub code: &'a str,
    /// What the code would be outside of audit mode, if another.
    pub would_deny: Option<&'a str>,
    /// The public id of the key, if it is known.
    pub key: Option<&'a str>,
    /// It is the verifier that could not tell.
    pub is_failure: bool,
}

/// Makes spans and sends them.
#[derive(Debug)]
pub struct Spans {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    queue: Arc<Queue>,
}

impl Spans {
    /// `runtime` carries the connections to the collector.
    ///
    /// # Errors
    /// The environment asks for an export that this program can't do.
    pub fn new(settings: Settings, metrics: Arc<Metrics>, runtime: Handle) -> Result<Self, ExporterBuildError> {
        let Settings { collector, service, instance } = settings;
        let queue = Arc::new(Queue::new(LONGEST_QUEUE, metrics));
        let exporter = Counted::new(collector, runtime, Arc::clone(&queue))?;
        // The queue here is what bounds; the one inside has room for all of it.
        let batches = BatchConfigBuilder::default().with_max_queue_size(LONGEST_QUEUE);
        let batches = batches.with_scheduled_delay(BATCH_DELAY).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let resource = Resource::builder_empty()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", instance))
            .with_detector(Box::new(EnvResourceDetector::new()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOff)))
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        Ok(Self { tracer: provider.tracer("keyturn"), provider, queue })
    }

    /// Records a decision that took from `began` for so long.
    pub fn record(&self, parent: &Parent, began: SystemTime, took: Duration, decision: Decision<'_>) {
        if !self.queue.enter() {
            return;
        }
        let text = |name: &'static str, value: &str| KeyValue::new(name, value.to_owned());
        let optional = [
            decision.api.map(|(namespace, name)| text("keyturn.api", &format!("{namespace}/{name}"))),
            decision.route.map(|route| text("keyturn.route", route)),
            decision.would_deny.map(|code| text("keyturn.would_deny", code)),
            decision.key.map(|key| text("keyturn.key.id", key)),
        ];
        let always = [text("keyturn.code", decision.code), KeyValue::new("keyturn.protocol", decision.protocol)];
        let attributes: Vec<_> = always.into_iter().chain(optional.into_iter().flatten()).collect();
        let builder = self.tracer.span_builder(NAME).with_kind(SpanKind::Server);
        let builder = builder.with_start_time(began).with_attributes(attributes);
        let context = Context::new().with_remote_span_context(parent.context().clone());
        let mut span = builder.start_with_context(&self.tracer, &context);
        if decision.is_failure {
            span.set_status(Status::error(decision.code.to_owned()));
        }
        span.end_with_timestamp(began + took);
    }

    /// Sends what is left.
    pub async fn stop(self: Arc<Self>) {
        let stopped = spawn_blocking(move || self.provider.shutdown_with_timeout(GOODBYE)).await;
        if let Ok(Err(error)) = stopped {
            tracing::warn!(error = chain(&error), "the last spans are not exported");
        }
    }
}

impl SpanOutcome {
    fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Exported } else { Self::Failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::ClientFiles;

    #[tokio::test]
    async fn what_finds_the_queue_full_is_dropped_and_counted() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let collector = Caller::new(format!("http://{nobody}").parse().unwrap(), ClientFiles::default()).await.unwrap();
        let settings = Settings { collector, service: "keyturn".to_owned(), instance: "here".to_owned() };
        let metrics = Arc::new(Metrics::new());
        let spans = Spans::new(settings, Arc::clone(&metrics), Handle::current()).unwrap();
        let parent = Parent::read("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
        let decision = Decision {
            protocol: "http",
            api: None,
            route: None,
            code: "ALLOWED",
            would_deny: None,
            key: None,
            is_failure: false,
        };
        let counted = || {
            let told = metrics.encode().unwrap();
            let mut counted: Vec<_> =
                told.lines().filter_map(|line| line.strip_prefix("keyturn_spans_total")).collect();
            counted.sort_unstable();
            counted.join(" ")
        };
        // Nothing is sent meanwhile: the runtime has this thread only, and it does not wait.
        for _ in 0..LONGEST_QUEUE {
            spans.record(&parent, SystemTime::UNIX_EPOCH, Duration::ZERO, decision);
        }
        assert_eq!(counted(), "");
        for _ in 0..3 {
            spans.record(&parent, SystemTime::UNIX_EPOCH, Duration::ZERO, decision);
        }
        assert_eq!(counted(), r#"{outcome="Dropped"} 3"#);
        Arc::new(spans).stop().await;
        assert_eq!(counted(), r#"{outcome="Dropped"} 3 {outcome="Failed"} 2048"#);
    }
}
