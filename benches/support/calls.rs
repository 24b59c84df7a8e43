//! As little of an HTTP/2 client as it takes to keep a gRPC server busy, so that the server is what is waited for.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::frames::{ACK, DATA, END_HEADERS, END_STREAM, HEADERS, Head, PREFACE, SETTINGS, push};

const WINDOW_UPDATE: u8 = 8;

/// How a `CheckResponse` begins: with a `google.rpc.Status` that has no code, which is OK.
const OKAY: [u8; 2] = [0x0a, 0];

/// A message with the prefix of gRPC.
pub(crate) fn prefixed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// The header block of a call: the first of a connection teaches the server's table the names and values that the
/// others refer to, as Envoy's do.
fn header_block(path: &str, is_first: bool) -> Vec<u8> {
    let fields = [
        (":path", path),
        (":authority", "keyturn"),
        ("te", "trailers"),
        ("grpc-timeout", "2000m"),
        ("content-type", "application/grpc"),
    ];
    // :method POST and :scheme http of the static table.
    let mut block = vec![0x83, 0x86];
    for (at, (name, value)) in (0_u8..).zip(fields) {
        if is_first {
            block.push(0x40);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        } else {
            // The static table has 61 entries, and the newest is the first after them.
            block.push(0x80 | (62 + 4 - at));
        }
    }
    block
}

struct Calls<'p, N> {
    stream: TcpStream,
    path: &'p str,
    /// The next message, with its prefix.
    next: N,
    /// When each call was sent; streams have odd numbers.
    sent: Vec<Instant>,
    output: Vec<u8>,
}

impl<'a, N: FnMut() -> &'a [u8]> Calls<'_, N> {
    fn call(&mut self) {
        let number = u32::try_from(self.sent.len()).unwrap() * 2 + 1;
        let block = header_block(self.path, self.sent.is_empty());
        push(HEADERS, END_HEADERS, number, &block, &mut self.output);
        push(DATA, END_STREAM, number, (self.next)(), &mut self.output);
        self.sent.push(Instant::now());
    }

    async fn flush(&mut self) {
        self.stream.write_all(&self.output).await.unwrap();
        self.output.clear();
    }
}

/// Keeps that many calls going over one connection until `end`; the latency of every call.
pub(crate) async fn call<'a>(
    server: SocketAddr,
    path: &str,
    at_once: usize,
    end: Instant,
    next: impl FnMut() -> &'a [u8],
) -> Vec<Duration> {
    let stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut calls = Calls { stream, path, next, sent: Vec::new(), output: PREFACE.to_vec() };
    // All that a server can send of answers while this lasts.
    push(WINDOW_UPDATE, 0, 0, &(i32::MAX / 2).to_be_bytes(), &mut calls.output);
    (0..at_once).for_each(|_| calls.call());
    let (mut latencies, mut passed, mut input) = (Vec::new(), 0, Vec::with_capacity(1 << 16));
    while latencies.len() < calls.sent.len() {
        calls.flush().await;
        assert_ne!(calls.stream.read_buf(&mut input).await.unwrap(), 0, "the server goes on");
        let mut read = 0;
        while let Some((head, rest)) = input[read..].split_first_chunk() {
            let Head { length, kind, flags, stream } = Head::read(*head);
            let Some(payload) = rest.get(..length) else { break };
            match kind {
                DATA => {
                    assert_eq!(payload[5..7], OKAY, "{payload:?}");
                    passed += 1;
                }
                SETTINGS if flags & ACK == 0 => push(SETTINGS, ACK, 0, &[], &mut calls.output),
                HEADERS if flags & END_STREAM != 0 => {
                    let now = Instant::now();
                    latencies.push(now - calls.sent[stream as usize / 2]);
                    if now < end {
                        calls.call();
                    }
                }
                _ => assert!(kind == HEADERS || kind >= SETTINGS, "the server resets no stream"),
            }
            read += Head::LENGTH + length;
        }
        input.drain(..read);
    }
    assert_eq!(latencies.len(), passed, "every call is answered");
    latencies
}
