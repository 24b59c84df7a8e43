//! Who keeps what: one server everything, or the servers of a cluster a share of the slots each, which may change at
//! any time. A task looks again twice a minute, and whenever somebody finds out that what is known is wrong.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{ErrorKind, ServerErrorKind};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use super::connect::Connector;
use super::server::{Failure, Server};
use super::settings::ServerUrl;
use super::slots::{Slots, Told};

/// How long a server has to say who keeps what.
const PATIENCE: Duration = Duration::from_secs(1);

/// Until the next look, if nobody asks for one.
const SETTLED: Duration = Duration::from_secs(30);

/// Until the next look while nobody answers.
const UNSETTLED: Duration = Duration::from_millis(200);

/// Between two looks that were asked for.
const SHORTEST: Duration = Duration::from_millis(50);

/// Knows which server to ask.
pub(super) struct Topology {
    inside: Arc<Inside>,
    _follower: AbortOnDropHandle<()>,
}

struct Inside {
    connector: Arc<Connector>,
    servers: Mutex<HashMap<ServerUrl, Arc<Server>>>,
    known: ArcSwap<Known>,
    wrong: Notify,
}

enum Known {
    /// And why.
    Nothing(String),
    Single(Arc<Server>),
    Cluster(Slots<Arc<Server>>),
}

impl Topology {
    /// Starts to look for the servers.
    pub(super) fn follow(connector: Connector) -> Self {
        let inside = Arc::new(Inside {
            connector: Arc::new(connector),
            servers: Mutex::default(),
            known: ArcSwap::from_pointee(Known::Nothing("no server is connected yet".into())),
            wrong: Notify::new(),
        });
        let follower = tokio::spawn(follow(Arc::clone(&inside)));
        Self { inside, _follower: AbortOnDropHandle::new(follower) }
    }

    /// Who keeps that slot; `None` while nobody is known to.
    pub(super) fn server(&self, slot: u16) -> Option<Arc<Server>> {
        match &**self.inside.known.load() {
            Known::Nothing(_) => None,
            Known::Single(server) => Some(Arc::clone(server)),
            Known::Cluster(slots) => slots.server(slot).cloned(),
        }
    }

    /// The server that another one has named by its address.
    pub(super) fn redirected(&self, by: &Server, to: &str) -> Option<Arc<Server>> {
        by.url().sibling(to).map(|url| self.inside.server(&url))
    }

    /// What is known has proved to be wrong.
    pub(super) fn look_again(&self) {
        self.inside.wrong.notify_one();
    }

    /// Why some requests fail at present, as a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        match &**self.inside.known.load() {
            Known::Nothing(why) => Some(why.clone()),
            Known::Single(server) => server.trouble(),
            Known::Cluster(slots) => slots.servers().find_map(|server| server.trouble()),
        }
    }
}

impl Inside {
    /// The server at that address, connected to from now on.
    fn server(&self, url: &ServerUrl) -> Arc<Server> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || Arc::new(Server::start(url.clone(), Arc::clone(&self.connector)));
        Arc::clone(servers.entry(url.clone()).or_insert_with(start))
    }

    /// Whom to ask: who is connected first, since asking others takes time.
    fn candidates(&self) -> Vec<Arc<Server>> {
        let seeds = self.connector.settings.urls.iter().map(|url| self.server(url));
        let mut candidates: Vec<_> = seeds.collect();
        let known = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        candidates.extend(known.values().cloned());
        candidates.sort_by_key(|server| !server.is_up());
        candidates
    }

    /// Asks who keeps what.
    async fn look(&self) -> Result<Known, String> {
        let mut why = "no server is given".to_owned();
        let command = {
            let mut command = redis::cmd("CLUSTER");
            command.arg("SLOTS");
            command
        };
        for server in self.candidates() {
            let url = server.url();
            why = match server.ask(&command, pin!(sleep(PATIENCE))).await {
                Ok(reply) => match Slots::read(&reply) {
                    Some(slots) if slots.servers().next().is_some() => return Ok(self.cluster(&server, &slots)),
                    Some(_) => format!("{url} knows of no slots; create the cluster"),
                    None => format!("{url} answers CLUSTER SLOTS with what is none"),
                },
                // One that is no cluster, that may not be asked, or that has never heard of clusters.
                Err(Failure::Refused(error)) if is_final(&error) && self.connector.settings.urls.len() == 1 => {
                    return Ok(Known::Single(server));
                }
                Err(Failure::Refused(error)) if is_final(&error) => {
                    format!(
                        "{url} does not say that it is part of a cluster, of which alone several can be given: {error}"
                    )
                }
                Err(Failure::Refused(error)) => format!("{url}: {error}"),
                Err(_) => server.trouble().unwrap_or_else(|| format!("{url} has not answered in time")),
            };
        }
        Err(why)
    }

    fn cluster(&self, told_by: &Server, slots: &Slots<Told>) -> Known {
        let found = slots.map(|(host, port)| self.server(&told_by.url().with_address(host.as_deref(), *port)));
        Known::Cluster(found)
    }

    /// Makes it what is known, and leaves servers that have nothing to do with it any more.
    fn settle(&self, known: Known) {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let seeds = &self.connector.settings.urls;
        servers.retain(|url, server| match &known {
            Known::Cluster(slots) => seeds.contains(url) || slots.servers().any(|other| Arc::ptr_eq(other, server)),
            Known::Nothing(_) | Known::Single(_) => seeds.contains(url),
        });
        drop(servers);
        if !self.known.load().is_like(&known) {
            info!("rate limits are kept by {known}");
        }
        self.known.store(Arc::new(known));
    }
}

impl Known {
    fn is_like(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl std::fmt::Display for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing(why) => write!(f, "nobody: {why}"),
            Self::Single(server) => write!(f, "{}", server.url()),
            Self::Cluster(slots) => {
                let mut urls: Vec<_> = slots.servers().map(|server| server.url().to_string()).collect();
                urls.sort();
                urls.dedup();
                write!(f, "a cluster of {}", urls.join(", "))
            }
        }
    }
}

/// Whether asking again would be answered the same.
fn is_final(error: &redis::RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm))
}

/// Looks, and looks again.
async fn follow(topology: Arc<Inside>) {
    loop {
        let pause = match topology.look().await {
            Ok(known) => {
                topology.settle(known);
                SETTLED
            }
            // What was known before may still be right for most.
            Err(why) => {
                if matches!(**topology.known.load(), Known::Nothing(_)) {
                    topology.known.store(Arc::new(Known::Nothing(why)));
                }
                UNSETTLED
            }
        };
        let _ = timeout(pause, topology.wrong.notified()).await;
        sleep(SHORTEST).await;
    }
}
