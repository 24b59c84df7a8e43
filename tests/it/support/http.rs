//! A plain HTTP client that can choose the address it calls from.

use std::net::{IpAddr, SocketAddr};

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Calls one server over kept connections.
#[derive(Clone)]
pub(crate) struct HttpClient {
    inner: Client<HttpConnector, Full<Bytes>>,
    server: SocketAddr,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl HttpClient {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self::with(server, None)
    }

    /// Calls from `source`, which may be any address of 127.0.0.0/8.
    pub(crate) fn from_address(source: IpAddr, server: SocketAddr) -> Self {
        Self::with(server, Some(source))
    }

    /// Speaks HTTP/2 from the first byte on, without TLS.
    pub(crate) fn over_http2(server: SocketAddr) -> Self {
        let inner = Client::builder(TokioExecutor::new()).http2_only(true).build(HttpConnector::new());
        Self { inner, server }
    }

    fn with(server: SocketAddr, source: Option<IpAddr>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_local_address(source);
        Self { inner: Client::builder(TokioExecutor::new()).build(connector), server }
    }

    /// Whom it calls.
    pub(crate) fn server(&self) -> SocketAddr {
        self.server
    }

    /// GET with these header fields.
    pub(crate) async fn get(&self, target: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        self.send(Method::GET, target, headers).await
    }

    pub(crate) async fn send(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
        self.send_body(method, target, headers, String::new()).await
    }

    pub(crate) async fn send_body(
        &self,
        method: Method,
        target: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Result<Answer, String> {
        let mut request = Request::builder().method(method).uri(format!("http://{}{target}", self.server));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).expect("the test gives a valid request");
        let answer = self.inner.request(request).await.map_err(|error| chain(&error))?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|error| chain(&error))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

impl Answer {
    /// The value of a header field that is there once; `None` when it is missing.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name)
    }

    /// Fails unless it is the problem document of that code.
    #[track_caller]
    pub(crate) fn assert_is_problem(&self, status: u16, code: &str) {
        let document: serde_json::Value = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?} instead of {code}", self.body));
        let told = (self.header("content-type"), &document["status"], &document["code"]);
        let expected = (Some("application/problem+json"), &status.into(), &code.into());
        assert_eq!(told, expected, "{}", self.body);
    }
}

/// The value of `name`.
///
/// # Panics
/// When the field is there more than once or is not text.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let name = HeaderName::from_bytes(name.as_bytes()).expect("the test gives a valid field name");
    let values: Vec<&HeaderValue> = headers.get_all(&name).iter().collect();
    assert!(values.len() <= 1, "{name} is there {} times", values.len());
    values.first().map(|value| value.to_str().expect("a field value is text"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
