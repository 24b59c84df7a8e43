//! Envoy's access log as reports: `envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs`, on the same port and from
//! the same reporters as batches. An entry counts for the key that the verifier itself has named to Envoy when it let the
//! request pass, and for nobody if it did not: nothing of it is the client's.

mod wire;

use std::time::Duration;

use http::{HeaderMap, Request, Response};
use hyper::body::{Body as HttpBody, Bytes};
use prost::{DecodeError, Message as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tracing::debug;

use super::{Refusal, ReportPort};
use crate::clock;
use crate::core::report::{self, Line, MOST_BODY};
use crate::metrics::reports::{Batch, ReportLine};
use wire::{Entry, StreamAccessLogsMessage, StreamAccessLogsResponse};

/// The path of the service's only method.
pub(super) const PATH: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";

/// Pause before entries are tried to be counted again that came before this process knew all keys.
const PAUSE: Duration = Duration::from_millis(200);

/// What a message tells.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Entries {
    /// Requests that were let in with a key.
    pub lines: Vec<Line>,
    /// Entries that name no key, or more bytes than there can be, although they say that they were let in.
    pub refused: usize,
}

impl Entries {
    /// Reads a message, as it stands on the wire.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(message: &[u8]) -> Result<Self, DecodeError> {
        StreamAccessLogsMessage::decode(message).map(|message| Self::of(&message))
    }

    fn of(message: &StreamAccessLogsMessage) -> Self {
        let let_in = || message.http_logs.log_entry.iter().filter_map(|entry| Some((entry, entry.key()?)));
        let lines: Vec<_> = let_in().filter_map(|(entry, key)| line(entry, key)).collect();
        Self { refused: let_in().count() - lines.len(), lines }
    }
}

/// What an entry tells of a key.
fn line(entry: &Entry, key: &[u8]) -> Option<Line> {
    let key = std::str::from_utf8(key).ok().filter(|key| report::is_id(key))?;
    let bytes = entry.bytes();
    let is_possible = bytes.inward.max(bytes.outward) <= report::MOST_BYTES;
    is_possible.then(|| Line { key: key.to_owned(), bytes, day: entry.day() })
}

impl ReportPort {
    /// Counts what comes in a stream, until that ends or `stop` does.
    pub(super) async fn receive<B>(&self, call: Request<B>, stop: &CancellationToken) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let headers = call.headers().clone();
        // Before anything that a stranger sends is read.
        if let Err(refusal) = self.authorize(&headers).await {
            return self.hang_up(&refusal).into_http();
        }
        let receive = service_fn(|stream: tonic::Request<Streaming<StreamAccessLogsMessage>>| {
            let headers = &headers;
            async move {
                self.count_stream(stream.into_inner(), headers, stop).await?;
                Ok::<_, Status>(tonic::Response::new(StreamAccessLogsResponse {}))
            }
        });
        let mut grpc = Grpc::new(ProstCodec::default()).max_decoding_message_size(MOST_BODY);
        grpc.client_streaming(receive, call).await
    }

    async fn count_stream(
        &self,
        mut stream: Streaming<StreamAccessLogsMessage>,
        headers: &HeaderMap,
        stop: &CancellationToken,
    ) -> Result<(), Status> {
        loop {
            let message = tokio::select! {
                // What is here already is counted before the process goes.
                biased;
                message = stream.message() => message.inspect_err(|error| {
                    debug!(%error, "an access log has broken off");
                })?,
                () = stop.cancelled() => None,
            };
            let Some(message) = message else { return Ok(()) };
            // A stream lasts for as long as its proxy; a token that was replaced does not.
            self.authorize(headers).await.map_err(|refusal| self.hang_up(&refusal))?;
            self.count_entries(&Entries::of(&message), stop).await?;
        }
    }

    /// Counts entries as soon as this process knows all keys. Meanwhile the proxy is held back, for it sends nothing twice.
    async fn count_entries(&self, entries: &Entries, stop: &CancellationToken) -> Result<(), Status> {
        if entries.refused > 0 {
            self.metrics.reports().lines(ReportLine::Refused, entries.refused);
        }
        if entries.lines.is_empty() {
            return Ok(());
        }
        loop {
            let Err(refusal) = self.count_lines(&entries.lines, clock::now(), clock::since_boot()) else {
                return Ok(());
            };
            tokio::select! {
                () = sleep(PAUSE) => {}
                () = stop.cancelled() => return Err(self.hang_up(&refusal)),
            }
        }
    }

    fn hang_up(&self, refusal: &Refusal) -> Status {
        self.metrics.reports().batch(refusal.outcome());
        let code = match refusal.outcome() {
            Batch::Unauthorized => Code::Unauthenticated,
            _ => Code::Unavailable,
        };
        Status::new(code, refusal.to_string())
    }
}

#[cfg(test)]
mod tests;
