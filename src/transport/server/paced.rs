//! Gives up on callers that take too long to say what they ask: whoever sends a byte now and then would otherwise
//! hold a connection for as long as an idle one may be held.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long the head of a request may take, from its first byte; of a connection's first one, from the beginning.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Whose turn it is on a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Turn(Arc<AtomicU8>);

/// The caller is sending the head of a request.
const ASKING: u8 = 0;
/// A head has arrived and is not answered yet.
const ANSWERING: u8 = 1;
/// Nothing has arrived since the last answer.
const IDLE: u8 = 2;

impl Turn {
    /// The head of a request has arrived.
    pub(super) fn asked(&self) {
        self.0.store(ANSWERING, Ordering::Relaxed);
    }

    /// What was asked is answered.
    pub(super) fn answered(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}

/// A connection that fails to read when the caller is too slow.
pub(super) struct Paced<S> {
    stream: S,
    turn: Turn,
    /// Set only while part of a head is waited for: most heads arrive in one piece.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, turn: Turn) -> Self {
        Self { stream, turn, deadline: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let turn = self.turn.0.load(Ordering::Relaxed);
        if turn == ASKING {
            let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(HEAD_TIMEOUT)));
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        } else {
            self.deadline = None;
        }
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if turn == IDLE && !buffer.filled().is_empty() {
            self.turn.0.store(ASKING, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::time::timeout;

    use super::*;

    fn connection() -> (DuplexStream, Paced<DuplexStream>, Turn) {
        let ((caller, stream), turn) = (duplex(64), Turn::default());
        (caller, Paced::new(stream, turn.clone()), turn)
    }

    async fn read(connection: &mut Paced<DuplexStream>) -> Result<u8, io::ErrorKind> {
        connection.read_u8().await.map_err(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_at_first_is_given_up() {
        let (_caller, mut connection, _) = connection();
        assert_eq!(read(&mut connection).await, Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test(start_paused = true)]
    async fn who_sends_a_byte_now_and_then_is_given_up() {
        let (mut caller, mut connection, turn) = connection();
        for _ in 0..2 {
            caller.write_all(b"a").await.unwrap();
            assert_eq!(read(&mut connection).await, Ok(b'a'));
            turn.asked();
            turn.answered();
        }
        caller.write_all(b"b").await.unwrap();
        assert_eq!(read(&mut connection).await, Ok(b'b'));
        let dribble = async {
            loop {
                sleep(HEAD_TIMEOUT / 3).await;
                caller.write_all(b"c").await.unwrap();
            }
        };
        let reading = async {
            while read(&mut connection).await? == b'c' {}
            Ok(())
        };
        tokio::select! {
            never = dribble => never,
            read = reading => assert_eq!(read, Err(io::ErrorKind::TimedOut)),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_and_a_slow_answer_are_waited_for() {
        let (mut caller, mut connection, turn) = connection();
        caller.write_all(b"a").await.unwrap();
        assert_eq!(read(&mut connection).await, Ok(b'a'));
        for step in [Turn::asked, Turn::answered] {
            step(&turn);
            assert!(timeout(HEAD_TIMEOUT * 5, connection.read_u8()).await.is_err(), "it is still read from");
        }
    }
}
