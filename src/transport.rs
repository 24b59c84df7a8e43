//! How proxies ask: the auth port translates HTTP to the engine's request and its verdict to HTTP. It decides
//! nothing, and whatever goes wrong here is a refusal.
//!
//! [`server`] carries connections, [`grpc`] asks and answers in Envoy's own way, [`health`] is another port, [`report`] one more.
//! Inside, `target` reads what is asked, `dialect` how the proxy describes the original request, `judge` asks the engine and
//! whom else that takes, `answer`, `fields` and `problem` write it down; [`decisions`] remembers what was refused, and `followed`
//! tells those who trace it.

mod accept;
mod answer;
mod body;
pub mod decisions;
mod dialect;
mod fields;
mod followed;
pub mod grpc;
pub mod health;
mod judge;
mod problem;
pub mod renewal;
pub mod report;
pub mod server;
mod target;

use std::error::Error;
use std::sync::{Arc, OnceLock};

use http::{Request, Response};
use hyper::body::Body;

use crate::clock;
use crate::metrics::Metrics;
use crate::spans::Spans;
use crate::verify::engine::Engine;

use answer::{Answer, Instant, Judge, Judged, answer};
use decisions::Decisions;
use followed::Followed;

pub use judge::{Outside, Store};

/// The auth port, apart from its connections.
pub struct AuthPort {
    metrics: Arc<Metrics>,
    engine: Arc<OnceLock<Engine>>,
    outside: Outside,
    decisions: Arc<Decisions>,
    /// `None`: no request is traced.
    spans: Option<Arc<Spans>>,
}

impl AuthPort {
    /// Until there is an engine, everything is answered 503.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>, engine: Arc<OnceLock<Engine>>, outside: Outside) -> Self {
        Self { metrics, engine, outside, decisions: Arc::default(), spans: None }
    }

    /// The same with what it refuses remembered there.
    #[must_use]
    pub fn remembering(self, decisions: Arc<Decisions>) -> Self {
        Self { decisions, ..self }
    }

    /// The same, which makes spans of the requests that somebody follows.
    #[must_use]
    pub fn with_spans(self, spans: Option<Arc<Spans>>) -> Self {
        Self { spans, ..self }
    }

    /// Answers a call, and counts it. Its body is read only where it matters.
    pub async fn answer<B>(&self, call: Request<B>) -> Response<String>
    where
        B: Body + Send,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (parts, body) = call.into_parts();
        let began = Instant::now();
        let followed = Followed::find(self.spans.as_ref(), "http", &parts.headers);
        let judge = Judge {
            engine: self.engine.get(),
            outside: &self.outside,
            decisions: &self.decisions,
            followed: followed.as_ref(),
        };
        let Answer { response, judged } = answer(judge, &parts, body::read(body), began, Instant::now).await;
        if let Some(judged) = judged {
            self.count(judged, began);
        }
        response
    }

    /// Counts what was judged of a call that began then.
    fn count(&self, Judged { api, code, would_deny }: Judged, began: Instant) {
        if let Some(would_deny) = would_deny {
            self.metrics.would_deny(api.clone(), would_deny);
        }
        self.metrics.judged(api, code, clock::since_boot().saturating_sub(began.since_boot));
    }
}
