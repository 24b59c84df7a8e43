//! HTTP/1.1 on both ends: a server that lets everything pass, and a client that keeps servers busy.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::fleet::Random;

/// Connections that a client has open, each of which asks for one thing at a time.
pub(crate) const CONNECTIONS: usize = 32;

/// What the auth port is measured by: the same connections, and an empty answer with these fields.
pub(crate) async fn bare(listener: TcpListener, fields: &[(&'static str, &'static str)]) {
    let field =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    let fields: HeaderMap = fields.iter().map(field).collect();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let fields = fields.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            let mut response = Response::new(String::new());
            response.headers_mut().clone_from(&fields);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(75))
            .max_header_size(64 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

/// Asks for one of these after the other until `end`; the latency of every request.
async fn ask(server: SocketAddr, requests: &[String], mut random: Random, end: Instant) -> Vec<Duration> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut latencies, mut answer) = (Vec::new(), Vec::with_capacity(4_096));
    loop {
        let sent = Instant::now();
        if sent >= end {
            return latencies;
        }
        stream.write_all(requests[random.below(requests.len())].as_bytes()).await.unwrap();
        answer.clear();
        while !answer.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the server goes on");
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
        latencies.push(sent.elapsed());
    }
}

/// Asks without a pause until `end`, over all connections; the latency of every request.
pub(crate) async fn ask_all(server: SocketAddr, requests: &[String], end: Instant, seed: &mut u64) -> Vec<Duration> {
    let ask = |connection: usize| {
        *seed += 1;
        ask(server, requests, Random(*seed << 8 | connection as u64), end)
    };
    join_all((0..CONNECTIONS).map(ask)).await.into_iter().flatten().collect()
}
