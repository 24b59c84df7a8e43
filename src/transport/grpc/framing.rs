//! How gRPC puts one message into a call and one into its answer. tonic does this for streams of messages, with buffers and
//! boxes that cost as much as judging.

use std::convert::Infallible;
use std::future::{Ready, ready};

use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Body;
use prost::Message;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tonic::Status;

/// Before every message: whether it is compressed, and its length in bytes.
const PREFIX: usize = 5;

/// The answer to a call that succeeds: a message, and the status after it.
pub(super) type Told = WithTrailers<Full<Bytes>, Ready<Option<Result<HeaderMap, Infallible>>>>;

/// The message of a call with these fields, of at most `max` bytes.
///
/// # Errors
/// What to answer instead.
pub(super) async fn received<M>(
    fields: &HeaderMap,
    body: impl Body<Error: Into<tonic::codegen::StdError>>,
    max: usize,
) -> Result<M, Status>
where
    M: Message + Default,
{
    let encoding = fields.get("grpc-encoding");
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(Status::unimplemented("messages must not be compressed"));
    }
    let collected = Limited::new(body, PREFIX + max).collect().await;
    let collected = collected.map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(_) => too_long(max),
        Err(error) => Status::from_error(error),
    })?;
    let mut bytes = collected.to_bytes();
    let Some((&[flag, ref length @ ..], _)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(Status::internal("the message has no length"));
    };
    if flag != 0 {
        return Err(Status::internal("the message is compressed, and the call does not say how"));
    }
    let length = u32::from_be_bytes(*length) as usize;
    if length > max {
        return Err(too_long(max));
    }
    let message = bytes.split_off(PREFIX);
    if message.len() != length {
        return Err(Status::internal(format!("the message is {} bytes long instead of {length}", message.len())));
    }
    M::decode(message).map_err(|error| Status::internal(error.to_string()))
}

fn too_long(max: usize) -> Status {
    Status::out_of_range(format!("the message is longer than {max} bytes"))
}

/// The answer with that message.
pub(super) fn told(message: &impl Message) -> Response<Told> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    // No answer is that long.
    bytes.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode_raw(&mut bytes);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    let mut response = Response::new(Full::new(bytes.freeze()).with_trailers(ready(Some(Ok(trailers)))));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::super::wire::{CheckResponse, Status as Verdict};
    use super::*;

    const MAX: usize = 64;

    async fn code_of(bytes: &[u8]) -> Result<CheckResponse, Code> {
        code_of_encoded("identity", bytes).await
    }

    async fn code_of_encoded(encoding: &'static str, bytes: &[u8]) -> Result<CheckResponse, Code> {
        let fields = HeaderMap::from_iter([("grpc-encoding".parse().unwrap(), HeaderValue::from_static(encoding))]);
        let received = received::<CheckResponse>(&fields, Full::new(Bytes::copy_from_slice(bytes)), MAX).await;
        received.map_err(|status| status.code())
    }

    fn refusal() -> CheckResponse {
        CheckResponse { status: Verdict { code: 7 }, ..CheckResponse::default() }
    }

    #[tokio::test]
    async fn what_is_no_message_is_answered_with_a_status() {
        let long = [&[0, 0, 0, 0, 65][..], &[0; 65]].concat();
        for (bytes, code) in [
            (&[][..], Code::Internal),
            (&[0, 0, 0, 0], Code::Internal),
            (&[1, 0, 0, 0, 0], Code::Internal),
            (&[0, 0, 0, 0, 3, 10, 0], Code::Internal),
            (&[0, 0, 0, 0, 1, 10, 0], Code::Internal),
            (&[0, 255, 255, 255, 255], Code::OutOfRange),
            (&[0, 0, 0, 0, 2, 10, 9], Code::Internal),
            (&long, Code::OutOfRange),
        ] {
            assert_eq!(code_of(bytes).await, Err(code), "{bytes:?}");
        }
        assert_eq!(code_of_encoded("gzip", &[1, 0, 0, 0, 0]).await, Err(Code::Unimplemented));
        assert_eq!(code_of(&[0, 0, 0, 0, 0]).await, Ok(CheckResponse::default()));
        assert_eq!(code_of(&[0, 0, 0, 0, 4, 10, 2, 8, 7]).await, Ok(refusal()));
    }

    #[tokio::test]
    async fn an_answer_is_a_message_and_a_status() {
        let (parts, body) = told(&refusal()).into_parts();
        assert_eq!(
            (parts.status.as_u16(), &parts.headers["content-type"]),
            (200, &"application/grpc".parse().unwrap())
        );
        let body = body.collect().await.unwrap();
        assert_eq!(body.trailers().map(|trailers| trailers["grpc-status"].as_bytes()), Some(&b"0"[..]));
        assert_eq!(*body.to_bytes(), [0, 0, 0, 0, 4, 10, 2, 8, 7]);
    }
}
