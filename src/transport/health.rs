//! The port for whoever runs this process: is it alive, is it ready, what does it measure.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::decisions::{Decisions, MOST};
use super::problem;
use crate::core::decision::Decision;
use crate::metrics::{self, Metrics};

/// What the port tells.
pub struct Health {
    pub metrics: Arc<Metrics>,
    /// What is still missing before requests should come here, one sentence each; empty when ready.
    pub missing: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What else there is to say of a process that is ready, one sentence each.
    pub remarks: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Sets the metrics that are only known when asked for.
    pub measure: Box<dyn Fn(&Metrics) + Send + Sync>,
    /// What was refused lately; `None`: this process judges nothing.
    pub decisions: Option<Arc<Decisions>>,
}

/// `/livez`, `/readyz`, `/metrics` and `/decisions/{requestId}`. Being alive depends on nothing else: restarting a process that waits for
/// the API server would only make it wait anew.
pub fn router(health: Health) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/decisions/{requestId}", get(decisions))
        .with_state(Arc::new(health))
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    match (health.missing)().as_slice() {
        [] => (StatusCode::OK, sentences("ready", &(health.remarks)())).into_response(),
        missing => (StatusCode::SERVICE_UNAVAILABLE, sentences("not ready", missing)).into_response(),
    }
}

/// A title, and what there is to say under it.
fn sentences(title: &str, sentences: &[String]) -> String {
    match sentences {
        [] => format!("{title}\n"),
        sentences => format!("{title}:\n- {}\n", sentences.join("\n- ")),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    (health.measure)(&health.metrics);
    health.metrics.set_ready((health.missing)().is_empty());
    match health.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Why the request of that id was refused, as [`crate::core::decision`] tells it, the last one of that id first.
async fn decisions(State(health): State<Arc<Health>>, Path(id): Path<String>) -> Response {
    let found = health.decisions.as_ref().map(|decisions| decisions.of(&id));
    let (status, media_type, told) = match found.as_deref() {
        Some([]) => (StatusCode::NOT_FOUND, problem::CONTENT_TYPE, nothing(&not_kept())),
        None => {
            (StatusCode::NOT_FOUND, problem::CONTENT_TYPE, nothing("this process judges no requests; ask a verifier"))
        }
        Some(found) => {
            let found: Vec<&Decision> = found.iter().map(|decision| &**decision).collect();
            (StatusCode::OK, "application/json", json!({"requestId": id, "decisions": found}))
        }
    };
    (status, [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-store")], told.to_string())
        .into_response()
}

fn not_kept() -> String {
    format!(
        "no request of this id is among the last {MOST} that this process has refused since it started; another verifier may \
         have judged it, or it was let in"
    )
}

fn nothing(detail: &str) -> Value {
    json!({"type": "about:blank", "title": "Not Found", "status": 404, "detail": detail})
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::{Body, to_bytes};
    use http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::core::check::Check;
    use crate::core::decision::tests::decision;

    async fn get(missing: &'static [&str], path: &str) -> (u16, String) {
        let health = Health {
            metrics: Arc::new(Metrics::new()),
            missing: Box::new(|| missing.iter().map(|&text| text.to_owned()).collect()),
            remarks: Box::new(Vec::new),
            measure: Box::new(|metrics| metrics.set_watch_age("ApiKey", Duration::from_secs(3))),
            decisions: None,
        };
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(health).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        (status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_missing() {
        let expected = "not ready:\n- the pepper: no such Secret\n- a Lease\n".to_owned();
        assert_eq!(get(&["the pepper: no such Secret", "a Lease"], "/readyz").await, (503, expected));
        assert_eq!(get(&[], "/readyz").await, (200, "ready\n".to_owned()));
    }

    #[tokio::test]
    async fn a_process_that_is_ready_says_what_it_does() {
        let health = Health {
            metrics: Arc::new(Metrics::new()),
            missing: Box::new(Vec::new),
            remarks: Box::new(|| vec!["the controller stands by".to_owned()]),
            measure: Box::new(|_| {}),
            decisions: None,
        };
        let request = Request::get("/readyz").body(Body::empty()).unwrap();
        let response = router(health).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(to_bytes(response.into_body(), 1 << 10).await.unwrap(), "ready:\n- the controller stands by\n");
    }

    #[tokio::test]
    async fn a_refusal_is_told_by_its_requests_id_or_where_else_to_ask() {
        let decisions = Arc::new(Decisions::default());
        decisions.keep("r/1", decision(Check::Address, "IP_NOT_ALLOWED"));
        for (judges, path, status, part) in [
            (false, "/decisions/r%2F1", 404, "this process judges no requests; ask a verifier"),
            (true, "/decisions/r-2", 404, "another verifier may have judged it, or it was let in"),
            (true, "/decisions/r%2F1", 200, r#""check":"Address""#),
        ] {
            let health = Health {
                metrics: Arc::new(Metrics::new()),
                missing: Box::new(Vec::new),
                remarks: Box::new(Vec::new),
                measure: Box::new(|_| {}),
                decisions: judges.then(|| Arc::clone(&decisions)),
            };
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = router(health).oneshot(request).await.unwrap();
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers()["cache-control"], "no-store");
            let told = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            assert!(String::from_utf8_lossy(&told).contains(part), "{path}: {told:?}");
        }
    }

    #[tokio::test]
    async fn liveness_does_not_depend_on_readiness() {
        assert_eq!(get(&["everything"], "/livez").await, (200, "alive\n".to_owned()));
    }

    #[tokio::test]
    async fn metrics_are_measured_when_asked_for() {
        let (status, text) = get(&[], "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("keyturn_watch_age_seconds{kind=\"ApiKey\"} 3"), "{text}");
    }
}
