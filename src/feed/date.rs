//! Reads the API server's clock off its answers, for expiry and grace are judged by the clock here.
//!
//! What is measured, and when it is too much, is decided by [`Skew`]; see there for what one answer proves.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use http::header::DATE;
use http::{HeaderMap, Request, Response};
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{SignedDuration, Timestamp};
use tower::{Layer, Service};
use tracing::{info, warn};

use crate::clock::{now, since_boot};
use crate::core::skew::Skew;

/// The API server's clock, seen from here. A layer of the client that gets the answers; clones are one and the same.
#[derive(Clone, Debug)]
pub struct ServerClock {
    limit: Duration,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// `None` until there was an answer that tells.
    skew: Option<Skew>,
    /// Whether it has been said that an answer does not.
    complained: bool,
}

/// The clock here is further from the API server's than it may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooFar {
    /// By how much it is ahead for certain; negative: behind.
    ahead: SignedDuration,
    limit: Duration,
}

impl ServerClock {
    /// Never seen yet; the clock here should be within `limit` of it.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { limit, seen: Arc::default() }
    }

    /// By how much the clock here is certainly ahead; negative: behind. `None` as long as no answer has told.
    #[must_use]
    pub fn certain_skew(&self) -> Option<SignedDuration> {
        self.seen().skew.map(Skew::certain)
    }

    /// What is wrong, if it certainly is.
    #[must_use]
    pub fn too_far(&self) -> Option<TooFar> {
        self.seen().skew.and_then(|skew| self.judge(skew))
    }

    fn judge(&self, skew: Skew) -> Option<TooFar> {
        skew.exceeds(self.limit).then(|| TooFar { ahead: skew.certain(), limit: self.limit })
    }

    /// Takes in an answer. One that does not tell the time proves nothing: what is known stays.
    fn answered(&self, headers: &HeaderMap, received: Timestamp, took: Duration) {
        let mut seen = self.seen();
        let Some(date) = date(headers) else {
            if !std::mem::replace(&mut seen.complained, true) {
                let date = headers.get(DATE);
                warn!(?date, "an answer of the API server does not tell the time, so it is no check of the clock here");
            }
            return;
        };
        let answer = Skew::of(date, received, took);
        let before = seen.skew.and_then(|skew| self.judge(skew));
        let skew = seen.skew.map_or(answer, |known| known.narrowed_by(answer));
        seen.skew = Some(skew);
        drop(seen);
        match (before, self.judge(skew)) {
            (None, Some(reason)) => warn!(%reason, "this process is not ready"),
            (Some(_), None) => info!("the clock agrees with the API server's again"),
            _ => {}
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 9110's preferred form; the obsolete ones count as unreadable.
fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(text).ok()
}

impl fmt::Display for TooFar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.ahead.is_negative() { "behind" } else { "ahead of" };
        write!(
            f,
            "the clock is at least {:.1} s {side} the API server's, and --max-clock-skew is {} s: set it right, for \
             expiry and grace are judged by it",
            self.ahead.unsigned_abs().as_secs_f64(),
            self.limit.as_secs(),
        )
    }
}

impl<S> Layer<S> for ServerClock {
    type Service = Watched<S>;

    fn layer(&self, inner: S) -> Watched<S> {
        Watched { inner, clock: self.clone() }
    }
}

/// A client of the API server whose answers tell a [`ServerClock`] the time.
#[derive(Clone, Debug)]
pub struct Watched<S> {
    inner: S,
    clock: ServerClock,
}

impl<S, A, B> Service<Request<A>> for Watched<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<B>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let clock = self.clock.clone();
        let sent = since_boot();
        let answered = move |answer: &Response<B>| {
            // A failure may come from somebody in between, with a clock of its own.
            if answer.status().is_success() {
                // In this order: what passes between the two makes the answer prove less, never more.
                let received = now();
                clock.answered(answer.headers(), received, since_boot().saturating_sub(sent));
            }
        };
        self.inner.call(request).inspect_ok(answered).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::StatusCode;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const DATE_OF_0: &str = "Tue, 14 Nov 2023 22:13:20 GMT";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn headers(date: Option<&'static str>) -> HeaderMap {
        date.into_iter().map(|date| (DATE, date.parse().unwrap())).collect()
    }

    /// After one answer that took no time.
    fn after(date: &'static str, received: Timestamp) -> ServerClock {
        let clock = ServerClock::new(LIMIT);
        clock.answered(&headers(Some(date)), received, Duration::ZERO);
        clock
    }

    #[test]
    fn an_answer_that_does_not_tell_the_time_proves_nothing() {
        for date in [None, Some(""), Some("0"), Some("yesterday"), Some("Tue Nov 14 22:13:20 2023")] {
            let clock = ServerClock::new(LIMIT);
            clock.answered(&headers(date), at(0), Duration::ZERO);
            assert_eq!((clock.certain_skew(), clock.too_far()), (None, None), "{date:?}");
            assert!(clock.seen().complained);
            let clock = after(DATE_OF_0, at(60));
            clock.answered(&headers(date), at(0), Duration::ZERO);
            assert_eq!(clock.certain_skew(), Some(SignedDuration::from_secs(59)), "{date:?} makes nothing right");
        }
    }

    #[test]
    fn a_clock_that_is_too_far_off_says_so() {
        assert_eq!(after(DATE_OF_0, at(6)).too_far(), None, "it may be 5 s only");
        for (received, expected) in [
            (at(7), "the clock is at least 6.0 s ahead of the API server's, and --max-clock-skew is 5 s"),
            (at(-6), "the clock is at least 6.0 s behind the API server's, and --max-clock-skew is 5 s"),
        ] {
            let said = after(DATE_OF_0, received).too_far().map(|it| it.to_string()).unwrap_or_default();
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn a_clock_that_is_set_right_is_right() {
        let clock = after(DATE_OF_0, at(3600));
        assert!(clock.too_far().is_some());
        clock.answered(&headers(Some(DATE_OF_0)), at(0), Duration::ZERO);
        assert_eq!((clock.certain_skew(), clock.too_far()), (Some(SignedDuration::ZERO), None));
    }

    #[tokio::test]
    async fn every_answer_of_the_server_itself_tells() {
        for (status, tells) in [(StatusCode::OK, true), (StatusCode::BAD_GATEWAY, false)] {
            let clock = ServerClock::new(LIMIT);
            let server = service_fn(move |_: Request<()>| async move {
                let mut answer = Response::new(());
                *answer.status_mut() = status;
                *answer.headers_mut() = headers(Some(DATE_OF_0));
                Ok::<_, Infallible>(answer)
            });
            clock.layer(server).oneshot(Request::new(())).await.unwrap();
            assert_eq!(clock.too_far().is_some(), tells, "{status}");
        }
    }
}
