//! `grpc.health.v1`: serving when the process is ready.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How soon whoever watches is told of a change.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells whether requests should come here.
#[derive(Clone)]
pub(super) struct Readiness {
    pub(super) is_ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Ends whatever is watched.
    pub(super) stop: CancellationToken,
}

impl Readiness {
    /// The status of a service; that without a name is the whole process.
    fn status(&self, service: &str) -> ServingStatus {
        match service {
            "" | super::SERVICE if (self.is_ready)() => ServingStatus::Serving,
            "" | super::SERVICE => ServingStatus::NotServing,
            _ => ServingStatus::ServiceUnknown,
        }
    }
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        match self.status(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("there is no such service here")),
            status => Ok(Response::new(response(status))),
        }
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (readiness, service) = (self.clone(), request.into_inner().service);
        let changes = stream::unfold((readiness, service, None), |(readiness, service, told)| async move {
            loop {
                let status = readiness.status(&service);
                if told != Some(status) {
                    return Some((Ok(response(status)), (readiness, service, Some(status))));
                }
                tokio::select! {
                    () = sleep(PAUSE) => {}
                    () = readiness.stop.cancelled() => return None,
                }
            }
        });
        Ok(Response::new(changes.boxed()))
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn readiness() -> (Arc<AtomicBool>, Readiness) {
        let ready = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&ready);
        let is_ready = Arc::new(move || asked.load(Ordering::Relaxed));
        (ready, Readiness { is_ready, stop: CancellationToken::new() })
    }

    fn of(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    #[tokio::test]
    async fn a_service_is_serving_when_the_process_is_ready() {
        let (ready, health) = readiness();
        let unknown = health.check(of("grpc.testing.Echo")).await.unwrap_err();
        assert_eq!(unknown.code(), tonic::Code::NotFound);
        for (is_ready, expected) in [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)] {
            ready.store(is_ready, Ordering::Relaxed);
            for service in ["", "envoy.service.auth.v3.Authorization"] {
                let answer = health.check(of(service)).await.unwrap().into_inner();
                assert_eq!(answer, response(expected), "{service}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_watches_is_told_each_change_until_the_end() {
        let (ready, health) = readiness();
        let mut changes = health.watch(of("")).await.unwrap().into_inner();
        let mut next = async || changes.next().await.map(|told| told.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        ready.store(true, Ordering::Relaxed);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        ready.store(false, Ordering::Relaxed);
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        health.stop.cancel();
        assert_eq!(next().await, None);
        let mut unknown = health.watch(of("another")).await.unwrap().into_inner();
        assert_eq!(unknown.next().await.unwrap().unwrap(), response(ServingStatus::ServiceUnknown));
    }
}
