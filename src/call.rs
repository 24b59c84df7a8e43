//! One HTTP request over a connection of its own, for what is sent seldom: whatever its name leads to by then is asked, and
//! files that were replaced count from the next request on.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::tls::{ClientFiles, TlsError};

/// How long a request may take from the first packet to its answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Longest answer, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Where a server is: `https://HOST:PORT`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Url {
    tls: bool,
    /// A name or an address, IPv6 without brackets.
    host: String,
    port: u16,
}

/// A string that does not say where a server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    #[error("write it as https://HOST:PORT, or http://127.0.0.1:PORT on the same machine")]
    Malformed,
    #[error("end it after the port; the path is always the same")]
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

    /// `HOST:PORT`
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("finding {0}")]
    Resolve(String, #[source] io::Error),
    #[error("finding {0}: it has no address")]
    NoAddress(String),
    #[error("connecting to {0}")]
    Connect(SocketAddr, #[source] io::Error),
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
}

/// Sends requests to one server.
#[derive(Clone, Debug)]
pub struct Caller {
    url: Url,
    files: ClientFiles,
    /// Of several servers that have the name, the one that was asked last, and is asked again.
    asked: Option<SocketAddr>,
}

impl Caller {
    /// Reads the files, so that a mistake is told now; they are read again for every request.
    ///
    /// # Errors
    /// One can't be read, or is not what it should be.
    pub async fn new(url: Url, files: ClientFiles) -> Result<Self, TlsError> {
        if url.tls {
            files.connector().await?;
        }
        Ok(Self { url, files, asked: None })
    }

    /// Whom it asks.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request whose target is a path, and answers what it is answered, whatever that is.
    ///
    /// # Errors
    /// The server can't be reached, is not who it should be, or does not answer in time.
    pub async fn call(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        timeout(TIMEOUT, self.try_call(request)).await.unwrap_or(Err(CallError::TimedOut))
    }

    /// The next request may go to any server that has the name.
    pub fn let_go(&mut self) {
        self.asked = None;
    }

    async fn try_call(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let mut request = request.map(Full::new);
        // What was read from a URL is a header value.
        let host = HeaderValue::from_str(&self.url.authority()).map_err(|error| CallError::Answer(error.into()))?;
        request.headers_mut().insert(HOST, host);
        let connector = if self.url.tls { Some(self.files.connector().await?) } else { None };
        let stream = self.connect().await?;
        match connector {
            None => exchange(stream, request, LONGEST_ANSWER).await,
            Some(connector) => {
                let server = ServerName::try_from(self.url.host.clone());
                let server = server.map_err(|error| CallError::Handshake(io::Error::other(error)))?;
                let stream = connector.connect(server, stream).await.map_err(CallError::Handshake)?;
                exchange(stream, request, LONGEST_ANSWER).await
            }
        }
    }

    async fn connect(&mut self) -> Result<TcpStream, CallError> {
        let Url { host, port, .. } = &self.url;
        let found = lookup_host((host.as_str(), *port)).await;
        let found = found.map_err(|error| CallError::Resolve(self.url.authority(), error))?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_by_key(|address| Some(*address) != self.asked);
        let mut last = CallError::NoAddress(self.url.authority());
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    self.asked = Some(address);
                    return Ok(stream);
                }
                Err(error) => last = CallError::Connect(address, error),
            }
        }
        Err(last)
    }
}

/// Sends a request over a connection, and reads an answer of at most so many bytes.
///
/// # Errors
/// The connection breaks, or the answer is longer.
pub async fn exchange<S>(stream: S, request: Request<Full<Bytes>>, longest: usize) -> Result<Response<Bytes>, CallError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(CallError::Http)?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await.map_err(CallError::Http)?.into_parts();
        let body = Limited::new(body, longest).collect().await.map_err(CallError::Answer)?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    let mut connection = std::pin::pin!(connection);
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // It ends when the answer is read, or was never to come.
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(CallError::Http(error)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_say_where_a_server_is_is_refused() {
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
}
