//! A collector of traces: takes spans by OTLP over HTTP, and remembers them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span as WireSpan;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::ports;
use super::wait::eventually;

pub(crate) struct Collector {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    spans: Vec<Span>,
    bytes: Vec<u8>,
}

/// A span, of a service.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) service: String,
    wire: WireSpan,
}

impl Span {
    /// Ids as `traceparent` has them: of the trace, the span and its parent.
    pub(crate) fn ids(&self) -> [String; 3] {
        [&self.wire.trace_id, &self.wire.span_id, &self.wire.parent_span_id].map(|id| hex(id))
    }

    /// Name and attributes, in the order of their names.
    pub(crate) fn told(&self) -> String {
        let mut pairs: Vec<_> =
            self.wire.attributes.iter().map(|pair| format!(" {}={}", pair.key, text(pair))).collect();
        pairs.sort();
        format!("{}{}", self.wire.name, pairs.concat())
    }

    /// Whether it says that it ended after it began.
    pub(crate) fn has_times(&self) -> bool {
        self.wire.start_time_unix_nano > 0 && self.wire.end_time_unix_nano >= self.wire.start_time_unix_nano
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_at(ports::free()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let seen = Arc::default();
        let app = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&seen));
        let listener =
            TcpListener::bind(address).await.unwrap_or_else(|error| panic!("listening on {address}: {error}"));
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the collector serves");
        });
        Self { address, seen, server }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived of a trace.
    pub(crate) fn spans(&self, trace: &str) -> Vec<Span> {
        self.look(|seen| seen.spans.iter().filter(|span| span.ids()[0] == trace).cloned().collect())
    }

    /// The only span of that service in a trace, once it is there.
    pub(crate) async fn span(&self, service: &str, trace: &str) -> Span {
        eventually(&format!("a span of {service} in {trace} arrives"), async || {
            let spans: Vec<_> = self.spans(trace).into_iter().filter(|span| span.service == service).collect();
            <[Span; 1]>::try_from(spans).map(|[span]| span).map_err(|spans| format!("{spans:?}"))
        })
        .await
    }

    /// Everything that has arrived, of whatever trace.
    pub(crate) fn all(&self) -> Vec<Span> {
        self.look(|seen| seen.spans.clone())
    }

    /// Whether that text is anywhere in what has arrived.
    pub(crate) fn has_seen(&self, text: &str) -> bool {
        self.look(|seen| seen.bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(seen): State<Arc<Mutex<Seen>>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.bytes.extend_from_slice(&body);
    for resource in request.resource_spans {
        let attributes = resource.resource.map(|resource| resource.attributes).unwrap_or_default();
        let service = attributes.iter().find(|pair| pair.key == "service.name").map(text).unwrap_or_default();
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        seen.spans.extend(spans.map(|wire| Span { service: service.clone(), wire }));
    }
    StatusCode::OK
}

fn text(pair: &KeyValue) -> String {
    match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
