//! HTTP/2 by hand: header fields that no client library sends.

use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::frames::{ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Head, PREFACE, RST_STREAM, SETTINGS, push};

/// The first of a connection.
const STREAM: u32 = 1;

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    Answered,
    /// The stream or the connection was ended without an answer.
    Refused,
}

/// Sends one request without a body over a connection that is used for nothing else, as these fields in this order, and
/// waits until it is answered or refused.
pub(crate) async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, fields: &[(&str, &str)]) -> Ended {
    let mut block = Vec::new();
    for (name, value) in fields {
        // A literal that is not indexed, with a new name.
        block.push(0);
        for text in [name, value] {
            push_length(&mut block, text.len());
            block.extend(text.bytes());
        }
    }
    let exchange = async {
        let mut request = PREFACE.to_vec();
        push(HEADERS, END_STREAM | END_HEADERS, STREAM, &block, &mut request);
        stream.write_all(&request).await?;
        ended(&mut stream).await
    };
    // Whoever has heard enough may hang up.
    timeout(Duration::from_secs(40), exchange).await.expect("the proxy answers or hangs up").unwrap_or(Ended::Refused)
}

async fn ended(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Ended> {
    loop {
        let mut head = [0; Head::LENGTH];
        stream.read_exact(&mut head).await?;
        let Head { length, kind, flags, stream: of } = Head::read(head);
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await?;
        match kind {
            DATA | HEADERS if of == STREAM && flags & END_STREAM != 0 => return Ok(Ended::Answered),
            RST_STREAM | GOAWAY => return Ok(Ended::Refused),
            SETTINGS if flags & ACK == 0 => {
                let mut heard = Vec::new();
                push(SETTINGS, ACK, 0, &[], &mut heard);
                stream.write_all(&heard).await?;
            }
            _ => {}
        }
    }
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
