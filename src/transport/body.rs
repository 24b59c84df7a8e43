//! Bodies that proxies send along with what they ask, if they are set up so. They are read only where the resource of a
//! route may stand in one.

use std::error::Error;
use std::time::Duration;

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body, Bytes};
use tokio::time::timeout;

use crate::verify::request::{Headers, MAX_BODY};

/// How long a body may take. The proxy has all of it before it asks.
const PATIENCE: Duration = Duration::from_secs(2);

/// By which Envoy tells that it has sent the beginning of a body only.
const PARTIAL: &str = "x-envoy-auth-partial-body";

/// Why a body that was cut off is not known.
pub(super) const CUT_OFF: &str = "the proxy sends a part of the body only; have it send more";

/// Whether the proxy has cut the body off.
pub(super) fn is_cut_off(headers: &(impl Headers + ?Sized)) -> bool {
    headers.values(PARTIAL).any(|value| value != b"false")
}

/// Reads a body to its end.
///
/// # Errors
/// A sentence for the log. No body is one, too: most proxies send none, whatever the client has sent.
pub(super) async fn read<B>(body: B) -> Result<Bytes, &'static str>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => {
            let body = body.to_bytes();
            if body.is_empty() { Err("the proxy sends no body; name the resource elsewhere too") } else { Ok(body) }
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err("the body is longer than what is read of bodies"),
        Ok(Err(_)) => Err("the body has broken off"),
        Err(_) => Err("the body has not come in time"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures::stream::{self, StreamExt as _};
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_all_there_is_none_that_is_known() {
        let full = |bytes: &[u8]| Full::new(Bytes::copy_from_slice(bytes));
        assert!(read(full(b"")).await.unwrap_err().contains("no body"));
        assert!(read(full(&vec![b'a'; MAX_BODY + 1])).await.unwrap_err().contains("longer"));
        let begun = stream::iter([Ok(Frame::data(Bytes::from_static(b"{}")))]);
        let broken = begun.chain(stream::iter([Err("gone")]));
        assert!(read(StreamBody::new(broken)).await.unwrap_err().contains("broken off"));
        let slow = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"{}")))]);
        assert!(read(StreamBody::new(slow.chain(stream::pending()))).await.unwrap_err().contains("in time"));
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end() {
        let most = Bytes::from(vec![b'a'; MAX_BODY]);
        assert_eq!(read(Full::new(most.clone())).await, Ok(most));
    }

    #[test]
    fn envoy_says_whether_it_has_cut_a_body_off() {
        for (headers, expected) in [
            (&[][..], false),
            (&[("x-envoy-auth-partial-body", "false")], false),
            (&[("x-envoy-auth-partial-body", "true")], true),
            (&[("x-envoy-auth-partial-body", "false"), ("x-envoy-auth-partial-body", "true")], true),
        ] {
            assert_eq!(is_cut_off(headers), expected, "{headers:?}");
        }
    }
}
