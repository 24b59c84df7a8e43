//! Envoy's gRPC: `envoy.service.auth.v3.Authorization/Check`, and `grpc.health.v1`.
//!
//! `framing` finds the message in a call, `wire` is what stands in it, `attributes` reads from it what is asked, `reply` writes
//! the answer down, `health` tells whether to ask at all, [`server`] carries connections. As in HTTP nothing is decided here.

mod attributes;
mod framing;
mod health;
mod reply;
pub mod server;
pub(super) mod wire;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tower::Service as _;

use super::AuthPort;
use super::answer::{Instant, Judged, request_id, tell};
use super::decisions::{Asked, decision};
use super::followed::Followed;
use crate::core::hosts;
use crate::core::policy::ObjectName;
use crate::core::verdict::Denial;
use crate::spans::TRACEPARENT;
use crate::verify::engine::{Engine, Verdict};
use crate::verify::request;
use attributes::{ClientHeaders, Policy, body, original};
use framing::{Told, received, told};
use health::Readiness;
use wire::{CheckRequest, CheckResponse};

/// The service's name.
const SERVICE: &str = "envoy.service.auth.v3.Authorization";

/// The path of its only method.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Who tells the client's address.
const CLIENT: &str = "the peer of Envoy's connection";

/// The longest message, in bytes: headers and the longest body that is read, with room to spare.
const MAX_MESSAGE: usize = 1024 * 1024;

/// How long a call may take to say what it asks. Proxies have all of it before they ask, and have given up long before.
const PATIENCE: Duration = Duration::from_secs(10);

/// The services of the port.
#[derive(Clone)]
pub struct GrpcPort {
    auth: Arc<AuthPort>,
    /// Whether requests that name no API are for the one that claims their host.
    route_by_host: bool,
    health: HealthServer<Readiness>,
}

impl GrpcPort {
    /// `is_ready` tells whether requests should come here; whoever watches it is let go at `stop`.
    #[must_use]
    pub fn new(
        auth: Arc<AuthPort>,
        route_by_host: bool,
        is_ready: Arc<dyn Fn() -> bool + Send + Sync>,
        stop: CancellationToken,
    ) -> Self {
        Self { auth, route_by_host, health: HealthServer::new(Readiness { is_ready, stop }) }
    }

    /// Answers a call.
    async fn answer(&self, call: Request<Incoming>) -> Response<Either<Told, Body>> {
        if call.uri().path() != CHECK {
            // It refuses what is not its own, too.
            let answered = self.health.clone().call(call).await.unwrap_or_else(|never| match never {});
            return answered.map(Either::Right);
        }
        let (head, body) = call.into_parts();
        let message = timeout(PATIENCE, received(&head.headers, body, MAX_MESSAGE)).await;
        let message = message.unwrap_or_else(|_| Err(Status::deadline_exceeded("the message has not come in time")));
        match message {
            Ok(request) => told(&self.check(&request, &head.headers, Instant::now).await).map(Either::Left),
            Err(status) => status.into_http().map(Either::Right),
        }
    }

    /// Judges a request as its attributes say. `metadata`: what Envoy says beside it. `clock` is asked again when something
    /// was waited for.
    async fn check(
        &self,
        request: &CheckRequest,
        metadata: &HeaderMap,
        clock: impl Fn() -> Instant + Sync,
    ) -> CheckResponse {
        let began = clock();
        let attributes = &request.attributes;
        let (http, engine) = (&attributes.request.http, self.auth.engine.get());
        let (policy, headers) = (Policy::read(attributes), ClientHeaders::from(http));
        let of_host = engine.filter(|_| policy.api.is_none()).and_then(|engine| self.of_host(engine, &http.host));
        let names = match (policy.api, &of_host) {
            (Some(api), _) => api.split_once('/').unwrap_or((api, "")),
            (None, Some(api)) => (&*api.namespace, &*api.name),
            (None, None) => ("", ""),
        };
        let request = request::Request {
            namespace: names.0,
            api: names.1,
            route: policy.route,
            original: original(attributes),
            body: body(http),
            headers: &headers,
        };
        let verdict = match engine {
            Some(engine) => self.auth.outside.judge(engine, &request, began, &clock).await,
            None => Verdict::without_engine(),
        };
        let remember = |denial: &Denial| {
            let request_id = request_id(&headers);
            tell(denial, &verdict, names, &request_id);
            let asked = Asked { dialect: "grpc", request: &request, reads: Vec::new(), client: CLIENT };
            let decision = decision(&asked, &verdict, began.now);
            decision.into_iter().for_each(|decision| self.auth.decisions.keep(&request_id, decision));
            request_id
        };
        // Nobody asks for the id of a request that passes.
        let response = match (&verdict.denial, &verdict.would_deny) {
            (Some(denial), _) => reply::denied(denial, &verdict, names, remember(denial), began.now),
            (None, would_deny) => {
                would_deny.iter().for_each(|denial| drop(remember(denial)));
                reply::allowed(&verdict, began.now)
            }
        };
        if let Some(followed) = self.followed(metadata, &headers) {
            followed.came_to(&verdict, began, clock());
        }
        self.auth.count(Judged::from(&verdict), began);
        response
    }

    /// Whether somebody follows the request: as Envoy says, or the client where Envoy traces nothing.
    fn followed(&self, metadata: &HeaderMap, headers: &ClientHeaders<'_>) -> Option<Followed<'_>> {
        let (spans, protocol) = (self.auth.spans.as_ref(), "grpc");
        if metadata.contains_key(TRACEPARENT) {
            Followed::find(spans, protocol, metadata)
        } else {
            Followed::find(spans, protocol, headers)
        }
    }

    /// The API that claims the host, if that is to count.
    fn of_host(&self, engine: &Engine, host: &[u8]) -> Option<ObjectName> {
        let host = hosts::of_authority(std::str::from_utf8(host).ok().filter(|_| self.route_by_host)?)?;
        engine.api_of_host(&host)
    }
}

#[cfg(test)]
mod tests;
