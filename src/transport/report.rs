//! The port on which shippers of logs report what went through proxies: `POST /v1/bandwidth` with a batch as
//! [`crate::core::report`] reads it. A batch is counted as a whole or not at all. An Envoy reports over gRPC ([`access_log`]).
//!
//! [`server`] carries connections, `token` and certificates prove who reports, `remembered` knows which batches were
//! counted already.

pub mod access_log;
mod remembered;
pub mod server;
mod token;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use jiff::Timestamp;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tracing::error;

use crate::clock;
use crate::core::report::{self, MOST_BODY};
use crate::metrics::Metrics;
use crate::metrics::reports::{Batch, ReportLine};
use crate::telemetry::chain;
use crate::verify::reports::{Counted, Reports};

use remembered::{OtherBatch, Remembered};

pub use token::{TokenError, TokenFile};

/// The only path.
const PATH: &str = "/v1/bandwidth";

/// Names a batch, so that it is counted once however often it is sent.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest name of a batch, in bytes.
const LONGEST_NAME: usize = 64;

/// How long the body of a request may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The report port, apart from its connections.
pub struct ReportPort {
    reports: Reports,
    /// `None`: whoever gets a connection has shown a certificate.
    token: Option<TokenFile>,
    metrics: Arc<Metrics>,
    remembered: Mutex<Remembered>,
}

/// Why a batch is not counted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("give the token of --report-token-file as Authorization: Bearer TOKEN")]
    Unauthorized,
    #[error("the tokens cannot be read at the moment; the log of Keyturn says why")]
    NoToken,
    #[error("there is only POST {PATH} here")]
    NotFound,
    #[error("send it with POST")]
    Method,
    #[error("send at most {MOST_BODY} bytes at once")]
    TooLarge,
    #[error("the body has ended early, or was not there within {} s", BODY_TIMEOUT.as_secs())]
    Body,
    #[error("Idempotency-Key must be there once at most, with 1 to {LONGEST_NAME} visible ASCII characters")]
    Name,
    #[error("another batch had this Idempotency-Key; give each batch its own")]
    OtherBatch,
    #[error("{0}")]
    Batch(#[from] report::BatchError),
    #[error("this process does not know all keys at the moment; try again shortly")]
    Unavailable,
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge | Self::Batch(report::BatchError::TooMany) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body | Self::Name | Self::Batch(_) => StatusCode::BAD_REQUEST,
            Self::OtherBatch => StatusCode::UNPROCESSABLE_ENTITY,
            Self::NoToken | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn outcome(&self) -> Batch {
        match self {
            Self::Unauthorized => Batch::Unauthorized,
            Self::NoToken | Self::Unavailable => Batch::Unavailable,
            _ => Batch::Refused,
        }
    }
}

impl ReportPort {
    /// Counts with `reports` what comes from those who show a token of that file.
    #[must_use]
    pub fn new(reports: Reports, token: Option<TokenFile>, metrics: Arc<Metrics>) -> Self {
        Self { reports, token, metrics, remembered: Mutex::default() }
    }

    /// Answers a request, and counts what it reports.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<String>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        match self.count(&parts, body).await {
            Ok(Counted { accepted, unknown, .. }) => {
                let answer = json!({"accepted": accepted, "unknown": unknown});
                response(StatusCode::OK, "application/json", answer.to_string())
            }
            Err(refusal) => {
                self.metrics.reports().batch(refusal.outcome());
                refuse(&refusal)
            }
        }
    }

    async fn count<B>(&self, parts: &Parts, body: B) -> Result<Counted, Refusal>
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.authorize(&parts.headers).await?;
        if parts.uri.path() != PATH {
            return Err(Refusal::NotFound);
        }
        if parts.method != Method::POST {
            return Err(Refusal::Method);
        }
        let name = name(&parts.headers)?;
        let body = match timeout(BODY_TIMEOUT, Limited::new(body, MOST_BODY).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
            Ok(Err(_)) | Err(_) => return Err(Refusal::Body),
        };
        let lines = report::parse(&body).inspect_err(|_| {
            let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).count();
            self.metrics.reports().lines(ReportLine::Refused, lines);
        })?;
        let (now, since_boot) = (clock::now(), clock::since_boot());
        let Some(name) = name else { return self.count_lines(&lines, now, since_boot) };
        let digest = Sha256::digest(&body).into();
        // Held while counting: of two that are the same one comes first.
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        match remembered.recall(name, digest, since_boot) {
            Ok(Some(counted)) => {
                self.metrics.reports().batch(Batch::Repeated);
                Ok(counted)
            }
            Ok(None) => {
                let counted = self.count_lines(&lines, now, since_boot)?;
                remembered.remember(name, digest, counted, since_boot);
                Ok(counted)
            }
            Err(OtherBatch) => Err(Refusal::OtherBatch),
        }
    }

    fn count_lines(&self, lines: &[report::Line], now: Timestamp, since_boot: Duration) -> Result<Counted, Refusal> {
        let counted = self.reports.count(lines, now, since_boot).ok_or(Refusal::Unavailable)?;
        let metrics = self.metrics.reports();
        metrics.batch(Batch::Counted);
        metrics.lines(ReportLine::Accepted, counted.accepted);
        metrics.lines(ReportLine::Unknown, counted.unknown);
        metrics.bytes(counted.bytes.inward, counted.bytes.outward);
        Ok(counted)
    }

    async fn authorize(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(token) = &self.token else { return Ok(()) };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else { return Err(Refusal::Unauthorized) };
        let (scheme, shown) = shown.as_bytes().split_at_checked("Bearer ".len()).ok_or(Refusal::Unauthorized)?;
        if !scheme.eq_ignore_ascii_case(b"Bearer ") {
            return Err(Refusal::Unauthorized);
        }
        match token.admits(shown).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Refusal::Unauthorized),
            Err(error) => {
                error!(error = chain(&error), "no report is counted");
                Err(Refusal::NoToken)
            }
        }
    }
}

/// What the batch is called, if it has a name.
fn name(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut names = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(name), None) = (names.next(), names.next()) else {
        return if headers.contains_key(IDEMPOTENCY_KEY) { Err(Refusal::Name) } else { Ok(None) };
    };
    let name = name.to_str().ok().filter(|name| (1..=LONGEST_NAME).contains(&name.len()));
    name.filter(|name| name.bytes().all(|byte| byte.is_ascii_graphic())).map(Some).ok_or(Refusal::Name)
}

fn refuse(refusal: &Refusal) -> Response<String> {
    let status = refusal.status();
    let title = status.canonical_reason().unwrap_or_default();
    let problem =
        json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": refusal.to_string()});
    let mut response = response(status, "application/problem+json", problem.to_string());
    let further = match refusal {
        Refusal::Unauthorized => Some((WWW_AUTHENTICATE, "Bearer")),
        Refusal::Method => Some((ALLOW, "POST")),
        Refusal::NoToken | Refusal::Unavailable => Some((RETRY_AFTER, "5")),
        _ => None,
    };
    if let Some((name, value)) = further {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn response(status: StatusCode, media_type: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests;
