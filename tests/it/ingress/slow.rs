//! Callers that hold connections, to a proxy and to the verifier itself, and callers that send what nobody understands.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::site::{ALL, Site};
use super::world::{Api, string};
use crate::support::frames::PREFACE;
use crate::support::grpc::{CHECK, EMPTY, GrpcClient};
use crate::support::http::HttpClient;
use crate::support::proxy::Kind;

/// Beginnings of what never comes to an end.
const BEGINNINGS: [&[u8]; 6] = [
    b"",
    b"G",
    b"GET /auth/nginx/speech/open HTTP/1.1\r\nX: ",
    b"POST /auth/traefik/speech/transcripts HTTP/1.1\r\nHost: verifier\r\nContent-Length: 60000\r\n\r\n{",
    b"POST /v1/items/1 HTTP/1.1\r\nHost: site\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    PREFACE,
];

/// Connections that begin in all of these ways.
async fn held(server: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for beginning in BEGINNINGS.into_iter().cycle().take(count) {
        let mut stream = TcpStream::connect(server).await.expect("it listens");
        stream.write_all(beginning).await.expect("it is connected");
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn callers_that_hold_connections_keep_nobody_waiting() {
    let key = string(Api::Transcripts, "ci");
    for kind in ALL {
        let site = Site::start(kind).await;
        let client = HttpClient::new(site.proxy.address());
        let _idle = held(site.verifier.address(), 1000).await;
        let mut slow = held(site.proxy.address(), 120).await;
        for _ in 0..20 {
            for stream in &mut slow {
                // A proxy may have hung up by now.
                let _ = stream.write_all(b"a").await;
            }
            let answer = client.get("/v1/items/1", &[("x-api-key", key.as_str())]).await.expect("the proxy answers");
            assert_eq!(answer.status, 200, "{kind:?} {}", answer.body);
        }
        assert_eq!(site.backend.take().len(), 20, "{kind:?}: nobody else got through");
    }
}

#[tokio::test]
async fn whoever_is_too_slow_for_the_verifier_is_given_up() {
    let (http, grpc) = (Site::start(Kind::Nginx).await, Site::start(Kind::EnvoyGrpc).await);
    let mut slow = held(http.verifier.address(), 120).await;
    slow.extend(held(grpc.verifier.address(), 120).await);
    let mut client = GrpcClient::connect(grpc.verifier.address(), None).await.expect("it is connected");
    let half = client.begin(CHECK);
    half.send(&EMPTY[..2]);
    let ends = join_all(slow.iter_mut().map(async |stream| stream.read_to_end(&mut Vec::new()).await));
    timeout(Duration::from_secs(60), ends).await.expect("nobody is held for so long");
    // DEADLINE_EXCEEDED
    assert_eq!(half.answered().await, Ok("4".to_owned()));
    assert_eq!(client.call(CHECK).await, Ok("0".to_owned()), "the connection may have other calls");
}

#[tokio::test]
async fn nothing_that_is_sent_to_the_verifier_makes_it_fall_over() {
    let (http, grpc) = (Site::start(Kind::Nginx).await, Site::start(Kind::EnvoyGrpc).await);
    let long = format!("GET /auth/nginx/speech/open HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(80 * 1024));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    for site in [&http, &grpc] {
        for nonsense in [
            &[0; 64][..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /auth/nginx/speech/../open HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            long.as_bytes(),
            many.as_bytes(),
            // A frame of 16 MiB, and one for a stream that nobody has begun.
            &[PREFACE, &b"\xff\xff\xff\x00\x00\x00\x00\x00\x01"[..]].concat(),
            &[PREFACE, &b"\x00\x00\x01\x00\x01\x00\x00\x00\x07a"[..]].concat(),
        ] {
            let mut stream = TcpStream::connect(site.verifier.address()).await.expect("it listens");
            // It may hang up before it has heard everything.
            let _ = stream.write_all(nonsense).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let heard = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await;
            assert!(heard.is_ok(), "{:?} {nonsense:.40?}: it is held", site.kind);
            assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:?} {nonsense:.40?}: it is let in", site.kind);
        }
        let key = string(Api::Transcripts, "ci");
        let client = HttpClient::new(site.proxy.address());
        let answer = client.get("/v1/items/1", &[("x-api-key", key.as_str())]).await.expect("the proxy answers");
        assert_eq!(answer.status, 200, "{:?}: it still works", site.kind);
    }
    let mut client = GrpcClient::connect(grpc.verifier.address(), None).await.expect("it is connected");
    for (path, message, status) in [
        ("/envoy.service.auth.v3.Authorization/Other", &EMPTY[..], "12"),
        ("/", EMPTY, "12"),
        // No message of 4 GiB, none that is compressed, and none that is none.
        (CHECK, b"\0\xff\xff\xff\xff", "11"),
        (CHECK, b"\x01\0\0\0\0", "13"),
        (CHECK, b"\0\0\0\0\x02\xff\xff", "13"),
    ] {
        let call = client.begin(path);
        call.send(message);
        assert_eq!(call.finish().await.as_deref(), Ok(status), "{path} {message:?}");
    }
    assert_eq!(client.call(CHECK).await, Ok("0".to_owned()));
}
