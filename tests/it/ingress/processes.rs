//! Real verifiers, as processes against a real API server, behind real proxies: stopped, killed, and replaced one after
//! the other under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures::future::join_all;
use serde_json::json;

use super::failures::told;
use super::site::ALL;
use crate::support::apply::{apply_spec, string_when_minted};
use crate::support::backend::Backend;
use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::ports;
use crate::support::process::Signal;
use crate::support::proxy::{Kind, Options, Proxy};
use crate::support::wait::eventually;

/// A namespace with an API, and the string of a key.
struct World {
    namespace: Namespace,
    string: String,
    _controller: Keyturn,
}

impl World {
    async fn new() -> Self {
        let namespace = Namespace::create().await;
        let controller = Keyturn::controller(&namespace).await;
        for (kind, name, spec) in [
            ("ProtectedApi", "transcripts", json!({"credentials": [{"header": "X-API-Key"}]})),
            ("ApiKey", "ci", json!({"apiRef": {"name": "transcripts"}})),
        ] {
            apply_spec(&namespace, kind, name, &spec).await;
        }
        let string = string_when_minted(&namespace, "ci").await;
        Self { namespace, string, _controller: controller }
    }

    fn api(&self) -> String {
        format!("{}/transcripts", self.namespace.name())
    }

    /// One that answers over HTTP and gRPC at these addresses.
    async fn verifier(&self, http: SocketAddr, grpc: SocketAddr) -> Keyturn {
        let mut verifier = Keyturn::verifier_at(&self.namespace, http, &[&format!("--grpc-listen={grpc}")]);
        verifier.ready().await;
        verifier
    }

    async fn status(&self, client: &HttpClient) -> Result<u16, String> {
        Ok(client.get("/", &[("x-api-key", &self.string)]).await?.status.as_u16())
    }

    /// Waits until the key passes.
    async fn passes(&self, what: &str, client: &HttpClient) {
        eventually(what, async || match self.status(client).await? {
            200 => Ok(()),
            status => Err(status.to_string()),
        })
        .await;
    }
}

#[tokio::test]
async fn a_process_that_is_stopped_or_killed_lets_nothing_pass_until_it_is_back() {
    let world = World::new().await;
    let (http, grpc) = (ports::free(), ports::free());
    let mut verifier = world.verifier(http, grpc).await;
    let (api, backend) = (world.api(), Backend::start().await);
    let proxies = join_all(ALL.map(async |kind| {
        let address = if kind == Kind::EnvoyGrpc { grpc } else { http };
        let proxy = Proxy::start(kind, &api, address, backend.address()).await;
        let client = HttpClient::new(proxy.address());
        world.passes(&format!("the key passes {kind:?}"), &client).await;
        (kind, client, proxy)
    }))
    .await;
    let statuses = async || {
        let asked = proxies.iter().map(async |(kind, client, _)| {
            let status = world.status(client).await;
            (*kind, status.unwrap_or_else(|error| panic!("{kind:?}: {error}")))
        });
        join_all(asked).await
    };
    let all_pass = async || {
        join_all(proxies.iter().map(|(_, client, _)| world.passes("the key passes again", client))).await;
        backend.take();
    };
    backend.take();

    verifier.process().stop().await;
    assert_eq!(statuses().await, ALL.map(|kind| (kind, told(kind).stalled)));
    assert_eq!(backend.take().len(), 0);
    verifier.signal(Signal::CONT);
    all_pass().await;

    verifier.signal(Signal::KILL);
    verifier.process().ended().await;
    assert_eq!(statuses().await, ALL.map(|kind| (kind, told(kind).killed)));
    assert_eq!(backend.take().len(), 0);
    let _verifier = world.verifier(http, grpc).await;
    all_pass().await;
}

/// Clients that ask one after the other, for as long as they are let.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(server: SocketAddr, string: &str) -> Self {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let clients = (0..8).map(|_| {
            let (stop, sent, string) = (Arc::clone(&stop), Arc::clone(&sent), string.to_owned());
            tokio::spawn(async move {
                let (client, mut failed) = (HttpClient::new(server), Vec::new());
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/", &[("x-api-key", &string)]).await;
                    sent.fetch_add(1, Ordering::Relaxed);
                    match answer {
                        Ok(answer) if answer.status == 200 => {}
                        other => failed.push(format!("{other:?}")),
                    }
                }
                failed
            })
        });
        Self { clients: clients.collect(), stop, sent }
    }

    /// How many were sent, and what came of those that failed.
    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = join_all(self.clients).await.into_iter().flat_map(|client| client.expect("it ends by itself"));
        (self.sent.load(Ordering::Relaxed), failed.collect())
    }
}

#[expect(clippy::print_stdout, reason = "the figure is what the test is run for")]
async fn rolls(kind: Kind) {
    let world = World::new().await;
    let addresses = [(ports::free(), ports::free()), (ports::free(), ports::free())];
    let [mut first, mut second] =
        [world.verifier(addresses[0].0, addresses[0].1).await, world.verifier(addresses[1].0, addresses[1].1).await];
    let asked = addresses.map(|(http, grpc)| if kind == Kind::EnvoyGrpc { grpc } else { http });
    let (backend, options) = (Backend::start().await, Options { also: Some(asked[1]), ..Options::default() });
    let proxy = Proxy::start_with(kind, &world.api(), asked[0], backend.address(), options).await;
    world.passes("the key passes", &HttpClient::new(proxy.address())).await;
    let load = Load::start(proxy.address(), &world.string);
    let allowed = format!("keyturn_verdicts_total{{api=\"{}\",code=\"ALLOWED\"}}", world.api());
    let is_asked = async |verifier: &Keyturn| {
        eventually("it is asked", async || match verifier.metric(&allowed).await? {
            count if count > 100.0 => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
    };
    for (verifier, (http, grpc)) in [&mut first, &mut second].into_iter().zip(addresses) {
        is_asked(verifier).await;
        verifier.signal(Signal::TERM);
        let status = verifier.process().ended().await;
        assert!(status.success(), "{status}");
        *verifier = world.verifier(http, grpc).await;
        is_asked(verifier).await;
    }
    let (sent, failed) = load.end().await;
    println!(
        "{kind:?}: {sent} requests while two verifiers were replaced one after the other, {} failed",
        failed.len()
    );
    assert_eq!(failed, Vec::<String>::new());
}

#[tokio::test]
async fn no_request_fails_while_verifiers_are_replaced_behind_nginx() {
    rolls(Kind::Nginx).await;
}

#[tokio::test]
async fn no_request_fails_while_verifiers_are_replaced_behind_envoy() {
    rolls(Kind::Envoy).await;
}

#[tokio::test]
async fn no_request_fails_while_verifiers_are_replaced_behind_envoy_over_grpc() {
    rolls(Kind::EnvoyGrpc).await;
}
