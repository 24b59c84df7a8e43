//! One server, and the connection to it that a task keeps open. While there is none, requests fail at once: nobody
//! waits for a server that is known to be away, and a new connection is tried by that task alone.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use super::connect::Connector;
use super::script::Call;
use super::settings::ServerUrl;
use crate::telemetry::chain;

/// Between two attempts to connect: twice as long after each that fails, up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that nobody uses is tried this often, and has as long to answer.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A server and the connection to it.
pub(super) struct Server {
    inside: Arc<Inside>,
    _keeper: AbortOnDropHandle<()>,
}

struct Inside {
    url: ServerUrl,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    /// For the first time: it may be worth waiting.
    Connecting,
    Up(Link),
    /// And why.
    Down(Arc<str>),
}

/// One connection.
#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// What the server knows the script by.
    digest: Arc<str>,
    /// How many answers have come. A server from which none come while one is due has stalled.
    answers: Arc<AtomicU64>,
}

/// Why a command has no reply.
#[derive(Debug)]
pub(super) enum Failure {
    TimedOut,
    Disconnected,
    /// The slot is with the server at that address.
    Moved(String),
    /// The slot is being moved to the server at that address; this request alone is to go there.
    Ask(String),
    Refused(RedisError),
}

impl Server {
    /// Starts to connect.
    pub(super) fn start(url: ServerUrl, connector: Arc<Connector>) -> Self {
        let inside = Arc::new(Inside { url, state: watch::Sender::new(State::Connecting) });
        let keeper = tokio::spawn(keep(Arc::clone(&inside), connector));
        Self { inside, _keeper: AbortOnDropHandle::new(keeper) }
    }

    pub(super) fn url(&self) -> &ServerUrl {
        &self.inside.url
    }

    pub(super) fn is_up(&self) -> bool {
        self.inside.state.borrow().is_up()
    }

    /// Why nothing can be asked at present, as a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        let url = &self.inside.url;
        match &*self.inside.state.borrow() {
            State::Up(_) => None,
            State::Connecting => Some(format!("{url} is not connected yet")),
            State::Down(why) => Some(format!("{url} is not connected: {why}")),
        }
    }

    /// Runs the script; `asking` as a server demands it that is only about to get the slot.
    pub(super) async fn run(&self, call: &Call, asking: bool, mut deadline: Pin<&mut Sleep>) -> Result<Value, Failure> {
        let link = self.link(deadline.as_mut()).await?;
        let reply = self.inside.exchange(&link, &call.by_digest(&link.digest), asking, deadline.as_mut()).await;
        match reply {
            // It has not been executed: the server has forgotten it, and learns it again.
            Err(Failure::Refused(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.inside.exchange(&link, &call.in_full(), asking, deadline).await
            }
            reply => reply,
        }
    }

    /// Any other command.
    pub(super) async fn ask(&self, command: &Cmd, mut deadline: Pin<&mut Sleep>) -> Result<Value, Failure> {
        let link = self.link(deadline.as_mut()).await?;
        self.inside.exchange(&link, command, false, deadline).await
    }

    async fn link(&self, deadline: Pin<&mut Sleep>) -> Result<Link, Failure> {
        // Not held across the wait below: it is a lock.
        let now = self.inside.state.borrow().clone();
        let known = match now {
            State::Connecting => {
                let mut state = self.inside.state.subscribe();
                tokio::select! {
                    biased;
                    known = state.wait_for(|state| !matches!(state, State::Connecting)) => {
                        known.map_or(State::Connecting, |known| known.clone())
                    }
                    () = deadline => return Err(Failure::TimedOut),
                }
            }
            known => known,
        };
        match known {
            State::Up(link) => Ok(link),
            State::Connecting | State::Down(_) => Err(Failure::Disconnected),
        }
    }
}

impl Inside {
    async fn exchange(
        &self,
        link: &Link,
        command: &Cmd,
        asking: bool,
        deadline: Pin<&mut Sleep>,
    ) -> Result<Value, Failure> {
        let before = link.answers.load(Ordering::Relaxed);
        let reply = tokio::select! {
            biased;
            reply = link.send(command, asking) => reply,
            () = deadline => {
                if link.answers.load(Ordering::Relaxed) == before {
                    self.broken(link, "it has stopped answering");
                }
                return Err(Failure::TimedOut);
            }
        };
        let error = match reply {
            Ok(reply) => {
                link.answers.fetch_add(1, Ordering::Relaxed);
                return Ok(reply);
            }
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::Io | ErrorKind::Parse => {
                self.broken(link, &error.to_string());
                return Err(Failure::Disconnected);
            }
            // A name may lead to another server by now.
            ErrorKind::Server(ServerErrorKind::ReadOnly) => self.broken(link, "it is a replica"),
            _ => {}
        }
        link.answers.fetch_add(1, Ordering::Relaxed);
        let to = error.redirect_node().map(|(address, _)| address.to_owned());
        Err(match (error.kind(), to) {
            (ErrorKind::Server(ServerErrorKind::Moved), Some(to)) => Failure::Moved(to),
            (ErrorKind::Server(ServerErrorKind::Ask), Some(to)) => Failure::Ask(to),
            _ => Failure::Refused(error),
        })
    }

    /// Nobody uses this connection any more; the first to notice has another one made.
    fn broken(&self, link: &Link, why: &str) {
        self.state.send_if_modified(|state| {
            let current = matches!(state, State::Up(other) if Arc::ptr_eq(&other.answers, &link.answers));
            if current {
                warn!(server = %self.url, reason = why, "the connection to the store of rate limits is gone");
                *state = State::Down(why.into());
            }
            current
        });
    }

    /// Returns when the connection is broken.
    async fn watch_over(&self, link: &Link) {
        let mut state = self.state.subscribe();
        let ping = redis::cmd("PING");
        loop {
            tokio::select! {
                _ = state.wait_for(|state| !state.is_up()) => return,
                () = sleep(HEARTBEAT) => {}
            }
            // Whether it has failed shows in the state.
            let _ = self.exchange(link, &ping, false, std::pin::pin!(sleep(HEARTBEAT))).await;
        }
    }
}

impl State {
    fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }
}

impl Link {
    async fn send(&self, command: &Cmd, asking: bool) -> Result<Value, RedisError> {
        let mut connection = self.connection.clone();
        if asking {
            let mut both = redis::pipe();
            both.cmd("ASKING").ignore().add_command(command.clone());
            let (reply,) = both.query_async(&mut connection).await?;
            return Ok(reply);
        }
        command.query_async(&mut connection).await
    }
}

/// Connects, and connects again.
async fn keep(server: Arc<Inside>, connector: Arc<Connector>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        match connector.connect(&server.url).await {
            Ok((connection, digest)) => {
                info!(server = %server.url, "connected to the store of rate limits");
                let link = Link { connection, digest: digest.into(), answers: Arc::default() };
                server.state.send_replace(State::Up(link.clone()));
                server.watch_over(&link).await;
                pause = SHORTEST_PAUSE;
            }
            Err(error) => {
                let why: Arc<str> = chain(&error).into();
                let before = server.state.send_replace(State::Down(Arc::clone(&why)));
                if !matches!(before, State::Down(before) if before == why) {
                    warn!(server = %server.url, error = &*why, "no connection to the store of rate limits");
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
