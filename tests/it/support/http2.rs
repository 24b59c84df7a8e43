//! HTTP/2 by hand: header fields that no client library sends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What every connection begins with, and settings that change nothing.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Answered,
    /// The stream or the connection was ended without an answer.
    Refused,
}

/// Sends one request without a body, as these fields in this order, and waits until it is answered or refused.
pub(crate) async fn send(server: SocketAddr, fields: &[(&str, &str)]) -> Ended {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed, with a new name.
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    let mut stream = TcpStream::connect(server).await.expect("the proxy listens");
    let exchange = async {
        stream.write_all(PREFACE).await?;
        stream.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await?;
        ended(&mut stream).await
    };
    // Whoever has heard enough may hang up.
    timeout(Duration::from_secs(40), exchange).await.expect("the proxy answers or hangs up").unwrap_or(Ended::Refused)
}

async fn ended(stream: &mut TcpStream) -> io::Result<Ended> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [high, middle, low, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; usize::try_from(length).expect("a frame fits into memory")];
        stream.read_exact(&mut payload).await?;
        match kind {
            DATA | HEADERS if flags & END_STREAM != 0 => return Ok(Ended::Answered),
            RST_STREAM | GOAWAY => return Ok(Ended::Refused),
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?,
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}

/// An integer with a prefix of 7 bits, as RFC 7541 writes it.
fn push_length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).expect("it is below 127"));
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("it is below 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("it is below 128"));
}
