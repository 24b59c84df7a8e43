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
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest answer, in bytes: a thousand refusals of requests that all had the same id.
const LONGEST_ANSWER: usize = 16 << 20;

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
    #[error("writing the request")]
    Request(#[from] http::Error),
    #[error("reading the answer")]
    Answer(#[from] serde_json::Error),
    #[error("{0}")]
    NotKept(String),
    #[error("it answers {0}; is that the health port of a verifier?")]
    Status(StatusCode),
}

#[derive(Deserialize)]
struct Told {
    decisions: Vec<Decision>,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

/// What that process tells of the request.
pub(super) async fn ask(verifier: SocketAddr, request_id: &str) -> Result<Vec<Decision>, AskError> {
    timeout(TIMEOUT, try_ask(verifier, request_id)).await.unwrap_or(Err(AskError::TimedOut))
}

async fn try_ask(verifier: SocketAddr, request_id: &str) -> Result<Vec<Decision>, AskError> {
    let request = Request::get(format!("/decisions/{}", encoded(request_id))).header(HOST, verifier.to_string());
    let request = request.body(Full::<Bytes>::default())?;
    let stream = TcpStream::connect(verifier).await.map_err(AskError::Connect)?;
    let (head, body) = exchange(stream, request, LONGEST_ANSWER).await?.into_parts();
    let status = head.status;
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice::<Told>(&body)?.decisions);
    }
    let problem = serde_json::from_slice(&body).ok().filter(|_| status == StatusCode::NOT_FOUND);
    Err(problem.map_or(AskError::Status(status), |Problem { detail }| AskError::NotKept(detail)))
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
    fn an_id_is_one_segment_whatever_it_is() {
        assert_eq!(encoded("a/../b?c#d%\u{e9} ~"), "a%2F..%2Fb%3Fc%23d%25%C3%A9%20~");
    }
}
