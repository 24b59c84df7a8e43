//! Envoy's gRPC: `envoy.service.auth.v3.Authorization/Check`, and `grpc.health.v1`.
//!
//! `wire` is what stands on the wire, `attributes` reads from it what is asked, `reply` writes the answer down, `health`
//! tells whether to ask at all, [`server`] carries connections. As in HTTP nothing is decided here.

mod attributes;
mod health;
mod reply;
pub mod server;
pub(super) mod wire;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_health::pb::health_server::HealthServer;
use tonic_prost::ProstCodec;
use tower::{Service as _, service_fn};

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

/// How long a call may take to say what it asks, and to be answered. Proxies have all of it before they ask, and have given
/// up long before.
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
    async fn answer(&self, call: Request<Incoming>) -> Response<Body> {
        if call.uri().path() != CHECK {
            // It refuses what is not its own, too.
            return self.health.clone().call(call).await.unwrap_or_else(|never| match never {});
        }
        let check = service_fn(|request: tonic::Request<CheckRequest>| async move {
            let response = self.check(request.get_ref(), request.metadata().as_ref(), Instant::now).await;
            Ok::<_, Status>(tonic::Response::new(response))
        });
        let mut service = Grpc::new(ProstCodec::default()).max_decoding_message_size(MAX_MESSAGE);
        let answered = timeout(PATIENCE, service.unary(check, call)).await;
        answered.unwrap_or_else(|_| Status::deadline_exceeded("the message has not come in time").into_http())
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
