//! Asking one verifier.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::call::{CallError, exchange};
use crate::core::decision::Decision;

/// How long a verifier may take to answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes: a thousand refusals of requests that all had the same id.
pub(super) const LONGEST_ANSWER: usize = 16 << 20;

/// Why a verifier has told nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("finding it")]
    Resolve(#[source] io::Error),
    #[error("connecting")]
    Connect(#[source] io::Error),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("asking")]
    Call(#[from] CallError),
    #[error("asking the API server")]
    Kube(#[from] kube::Error),
    #[error("writing the request")]
    Request(#[from] http::Error),
    #[error("reading the answer")]
    Answer(#[from] serde_json::Error),
    #[error("{0}")]
    NotKept(String),
    #[error("the API server answers: {0}")]
    ApiServer(String),
    #[error("it answers {0}; is that the health port of a verifier?")]
    Status(StatusCode),
}

#[derive(Deserialize)]
struct Told {
    decisions: Vec<Decision>,
}

/// What a verifier, or the API server on the way to it, has to say instead.
#[derive(Default, Deserialize)]
struct Problem {
    detail: Option<String>,
    message: Option<String>,
}

/// What that process tells of the request.
pub(super) async fn ask(verifier: SocketAddr, request_id: &str) -> Result<Vec<Decision>, AskError> {
    timeout(TIMEOUT, try_ask(verifier, request_id)).await.unwrap_or(Err(AskError::TimedOut))
}

async fn try_ask(verifier: SocketAddr, request_id: &str) -> Result<Vec<Decision>, AskError> {
    let request = Request::get(path(request_id)).header(HOST, verifier.to_string());
    let request = request.body(Full::<Bytes>::default())?;
    let stream = TcpStream::connect(verifier).await.map_err(AskError::Connect)?;
    let (head, body) = exchange(stream, request, LONGEST_ANSWER).await?.into_parts();
    read(head.status, &body)
}

/// Where a verifier tells of a request.
pub(super) fn path(request_id: &str) -> String {
    format!("/decisions/{}", encoded(request_id))
}

/// What is told in an answer.
pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Vec<Decision>, AskError> {
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice::<Told>(body)?.decisions);
    }
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    Err(match problem {
        Problem { detail: Some(detail), .. } if status == StatusCode::NOT_FOUND => AskError::NotKept(detail),
        Problem { message: Some(message), .. } => AskError::ApiServer(message),
        _ => AskError::Status(status),
    })
}

/// As one segment of a path.
fn encoded(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(path, "%{byte:02X}");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_verifier_says_that_it_has_not_kept_a_request() {
        let said = |status: StatusCode, body: &str| read(status, body.as_bytes()).unwrap_err().to_string();
        let away = r#"{"kind": "Status", "message": "pods \"k\" not found", "details": {"name": "k"}, "code": 404}"#;
        assert_eq!(said(StatusCode::NOT_FOUND, away), r#"the API server answers: pods "k" not found"#);
        for (status, body) in [(StatusCode::NOT_FOUND, ""), (StatusCode::BAD_GATEWAY, r#"{"detail": "late"}"#)] {
            assert_eq!(said(status, body), format!("it answers {status}; is that the health port of a verifier?"));
        }
        assert_eq!(said(StatusCode::NOT_FOUND, r#"{"detail": "no request of this id"}"#), "no request of this id");
    }

    #[test]
    fn an_id_is_one_segment_whatever_it_is() {
        assert_eq!(encoded("a/../b?c#d%\u{e9} ~"), "a%2F..%2Fb%3Fc%23d%25%C3%A9%20~");
    }
}
