//! Brings batches to a report port, each over a connection of its own: they are few, and files that were replaced count
//! from the next one on.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::secret_file::{self, Unreadable};
use crate::tls::{ClientFiles, TlsError};

/// How long a batch may take from the first packet to its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where a report port is: `https://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url {
    tls: bool,
    /// A name or an address, IPv6 without brackets.
    host: String,
    port: u16,
}

/// A string that says not where a report port is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    #[error("write it as https://HOST:PORT, or http://127.0.0.1:PORT on the same machine")]
    Malformed,
    #[error("end it after the port: the path is always /v1/bandwidth")]
    Path,
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let url: Uri = text.parse().map_err(|_| UrlError::Malformed)?;
        let (tls, usual) = match url.scheme_str() {
            Some("https") => (true, 443),
            Some("http") => (false, 80),
            _ => return Err(UrlError::Malformed),
        };
        let authority = url.authority().ok_or(UrlError::Malformed)?;
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => usual,
            Some(port) => port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or(UrlError::Malformed)?,
            // There is a user in it.
            None => return Err(UrlError::Malformed),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(UrlError::Malformed);
        }
        if url.path_and_query().is_some_and(|rest| rest.as_str() != "/") {
            return Err(UrlError::Path);
        }
        Ok(Self { tls, host: host.to_owned(), port })
    }
}

impl Url {
    /// Whether it is spoken to with TLS.
    #[must_use]
    pub const fn has_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is certainly on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// Why there is no token to show.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("reading {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("reading {}: there is no token in it, one line of visible ASCII", .0.display())]
    None(PathBuf),
}

/// Why a batch is not known to be counted.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("reading the token")]
    Token(#[from] TokenError),
    #[error("finding {0}")]
    Resolve(String, #[source] io::Error),
    #[error("connecting to {0}")]
    Connect(SocketAddr, #[source] io::Error),
    #[error("finding {0}: it has no address")]
    NoAddress(String),
    #[error("setting up TLS")]
    Tls(#[from] TlsError),
    #[error("agreeing on TLS")]
    Handshake(#[source] io::Error),
    #[error("sending")]
    Http(#[source] hyper::Error),
    #[error("sending: no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    #[error("reading the answer")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it is answered with {status}: {detail}")]
    Refused { status: StatusCode, detail: String },
}

impl SendError {
    /// Whether the same batch will always be refused.
    #[must_use]
    pub fn is_final(&self) -> bool {
        let Self::Refused { status, .. } = self else { return false };
        [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY].contains(status)
    }
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub struct Answer {
    pub accepted: u64,
    pub unknown: u64,
}

/// What a report port says of what it does not count (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refusal {
    detail: String,
}

/// Sends batches to one report port.
pub struct Sender {
    url: Url,
    token_file: Option<PathBuf>,
    files: ClientFiles,
    /// Who may have counted the batch already: of several that have the name, the one to be asked again.
    asked: Option<SocketAddr>,
}

impl Sender {
    /// Reads the files, so that a mistake is told now; they are read again for every batch.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn new(url: Url, token_file: Option<PathBuf>, files: ClientFiles) -> Result<Self, SendError> {
        let sender = Self { url, token_file, files, asked: None };
        sender.token().await?;
        if sender.url.tls {
            sender.files.connector().await?;
        }
        Ok(sender)
    }

    /// Sends a batch under that name, under which it is counted once.
    pub(super) async fn send(&mut self, name: &str, batch: &str) -> Result<Answer, SendError> {
        let answer = timeout(TIMEOUT, self.try_send(name, batch)).await.unwrap_or(Err(SendError::TimedOut))?;
        self.asked = None;
        Ok(answer)
    }

    async fn try_send(&mut self, name: &str, batch: &str) -> Result<Answer, SendError> {
        let mut request = Request::post("/v1/bandwidth")
            .header(HOST, self.url.authority())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .header("idempotency-key", name);
        if let Some(token) = self.token().await? {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(batch.to_owned())));
        // A name of ours is a header value.
        let request = request.map_err(|error| SendError::Answer(error.into()))?;
        let connector = if self.url.tls { Some(self.files.connector().await?) } else { None };
        let stream = self.connect().await?;
        match connector {
            None => exchange(stream, request).await,
            Some(connector) => {
                let server = ServerName::try_from(self.url.host.clone());
                let server = server.map_err(|error| SendError::Handshake(io::Error::other(error)))?;
                exchange(connector.connect(server, stream).await.map_err(SendError::Handshake)?, request).await
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, SendError> {
        let Url { host, port, .. } = &self.url;
        let found = lookup_host((host.as_str(), *port)).await;
        let found = found.map_err(|error| SendError::Resolve(self.url.authority(), error))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_by_key(|address| Some(*address) != self.asked);
        let mut last = SendError::NoAddress(self.url.authority());
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    self.asked = Some(address);
                    return Ok(stream);
                }
                Err(error) => last = SendError::Connect(address, error),
            }
        }
        Err(last)
    }

    async fn token(&self) -> Result<Option<HeaderValue>, TokenError> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = secret_file::read(file).await.map_err(|error| match error {
            Unreadable::File(error) => TokenError::File(file.clone(), error),
            Unreadable::NoText => TokenError::None(file.clone()),
        })?;
        let token = text.lines().map(str::trim).find(|line| !line.is_empty());
        let token = token.ok_or_else(|| TokenError::None(file.clone()))?;
        let header = SecretString::from(format!("Bearer {token}"));
        let value = HeaderValue::from_str(header.expose_secret());
        let mut value = value.map_err(|_| TokenError::None(file.clone()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Sends a request over a connection, and reads what is answered.
async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, SendError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(SendError::Http)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(SendError::Http)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await.map_err(SendError::Answer)?.to_bytes();
        if head.status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| SendError::Answer(error.into()));
        }
        let Refusal { detail } = serde_json::from_slice(&body).unwrap_or_default();
        Err(SendError::Refused { status: head.status, detail })
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends when the answer is read, or was never to come.
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(SendError::Http(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_not_where_to_report_is_refused() {
        for (text, expected) in [
            ("", UrlError::Malformed),
            ("keyturn:8082", UrlError::Malformed),
            ("ftp://keyturn", UrlError::Malformed),
            ("https://", UrlError::Malformed),
            ("https://:8082", UrlError::Malformed),
            ("https://user:secret@keyturn", UrlError::Malformed),
            ("https://keyturn:port", UrlError::Malformed),
            ("https://keyturn:8082/v1/bandwidth", UrlError::Path),
            ("https://keyturn/?a=b", UrlError::Path),
        ] {
            assert_eq!(text.parse::<Url>(), Err(expected), "{text}");
        }
    }

    #[test]
    fn urls_are_read() {
        for (text, tls, host, port, local) in [
            ("https://keyturn-reports.keyturn-system:8082", true, "keyturn-reports.keyturn-system", 8082, false),
            ("https://keyturn/", true, "keyturn", 443, false),
            ("http://127.0.0.1:8082", false, "127.0.0.1", 8082, true),
            ("http://[::1]:8082", false, "::1", 8082, true),
            ("http://localhost", false, "localhost", 80, true),
            ("http://127.0.0.1.example.org", false, "127.0.0.1.example.org", 80, false),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url, Url { tls, host: host.to_owned(), port }, "{text}");
            assert_eq!(url.is_local(), local, "{text}");
        }
    }

    #[test]
    fn only_what_is_wrong_with_the_batch_itself_is_final() {
        for (status, expected) in [(400, true), (413, true), (422, true), (401, false), (404, false), (503, false)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(SendError::Refused { status, detail: String::new() }.is_final(), expected, "{status}");
        }
        assert!(!SendError::TimedOut.is_final());
    }
}
