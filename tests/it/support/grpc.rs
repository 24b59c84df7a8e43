//! A client of gRPC that sends a call piece by piece, over TLS if need be.

use std::net::SocketAddr;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request};
use futures::channel::mpsc;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use keyturn::tls::ClientFiles;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

type Body = StreamBody<mpsc::UnboundedReceiver<Result<Frame<Bytes>, std::convert::Infallible>>>;

/// `envoy.service.auth.v3.Authorization/Check`
pub(crate) const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A message that says nothing: not compressed, no bytes.
pub(crate) const EMPTY: &[u8; 5] = &[0; 5];

/// One connection.
pub(crate) struct GrpcClient {
    sender: SendRequest<Body>,
    server: SocketAddr,
}

/// A call whose message is still being sent.
pub(crate) struct Call {
    message: mpsc::UnboundedSender<Result<Frame<Bytes>, std::convert::Infallible>>,
    answer: JoinHandle<Result<HeaderMap, String>>,
}

impl GrpcClient {
    /// `tls`: `None` in the clear.
    pub(crate) async fn connect(server: SocketAddr, tls: Option<&ClientFiles>) -> Result<Self, String> {
        let stream = TcpStream::connect(server).await.map_err(|error| error.to_string())?;
        let Some(tls) = tls else { return Self::over(stream, server).await };
        let connector = tls.connector().await.expect("the files are good");
        let stream = connector.connect(ServerName::from(server.ip()), stream).await;
        Self::over(stream.map_err(|error| error.to_string())?, server).await
    }

    async fn over<S>(stream: S, server: SocketAddr) -> Result<Self, String>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connection = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = connection.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        Ok(Self { sender, server })
    }

    /// Begins a call of which nothing but the head is sent.
    pub(crate) fn begin(&mut self, path: &str) -> Call {
        let (message, body) = mpsc::unbounded();
        let request = Request::post(format!("http://{}{path}", self.server))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(StreamBody::new(body))
            .expect("the call is well formed");
        let answer = self.sender.send_request(request);
        let answer = tokio::spawn(async move {
            let (head, body) = answer.await.map_err(|error| error.to_string())?.into_parts();
            let collected = body.collect().await.map_err(|error| error.to_string())?;
            // A call that is refused outright has its status in the head.
            Ok(collected.trailers().cloned().unwrap_or(head.headers))
        });
        Call { message, answer }
    }

    /// Makes a whole call with an empty message: its status, `0` if all is well.
    pub(crate) async fn call(&mut self, path: &str) -> Result<String, String> {
        let call = self.begin(path);
        call.send(EMPTY);
        call.finish().await
    }
}

impl Call {
    pub(crate) fn send(&self, piece: &'static [u8]) {
        let frame = Frame::data(Bytes::from_static(piece));
        self.message.unbounded_send(Ok(frame)).expect("the call is open");
    }

    /// Whether nothing has been answered yet.
    pub(crate) fn is_open(&self) -> bool {
        !self.answer.is_finished()
    }

    /// Says that the message is complete: the status.
    pub(crate) async fn finish(self) -> Result<String, String> {
        let Self { message, answer } = self;
        drop(message);
        status(answer).await
    }

    /// The status of a call of which nothing more is sent.
    pub(crate) async fn answered(self) -> Result<String, String> {
        let Self { message: _open, answer } = self;
        status(answer).await
    }
}

async fn status(answer: JoinHandle<Result<HeaderMap, String>>) -> Result<String, String> {
    let told = answer.await.expect("the call ends")?;
    let status = told.get("grpc-status").ok_or_else(|| format!("{told:?}"))?;
    Ok(status.to_str().expect("it is text").to_owned())
}
