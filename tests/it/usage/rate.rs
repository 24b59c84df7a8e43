//! How often usage is written: counted at the API server while several verifiers have all the time more to write.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::Secret;
use keyturn::clock::since_boot;
use keyturn::resources::apikey::KeyState;
use keyturn::resources::{ApiKey, ApiKeyUsage};
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{OFTEN, World, total};
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

const PROCESSES: usize = 4;

/// Each of them is due a second after it was written, which is far more than 20 a second.
const KEYS: usize = 150;

/// Writes of all processes in a second.
const RATE: usize = 20;

/// So many are counted.
const WRITES: usize = 200;

/// The limit of a key by which a verifier tells how many it reckons with: it has a part of it to give away.
const LIMIT: usize = 1_000_000;

/// When each write of an ApiKeyUsage was seen, since boot.
struct Writes {
    seen: Arc<Mutex<Vec<Duration>>>,
    watch: JoinHandle<()>,
}

impl Writes {
    /// Sees every write from now on.
    async fn watch(world: &World) -> Self {
        let usages: Api<PartialObjectMeta<ApiKeyUsage>> = world.namespace.api();
        let (seen, (listed, is_listed)) = (Arc::<Mutex<Vec<Duration>>>::default(), tokio::sync::oneshot::channel());
        let (writes, mut listed) = (Arc::clone(&seen), Some(listed));
        let watch = tokio::spawn(async move {
            let mut events = watcher(usages, watcher::Config::default()).boxed();
            while let Ok(Some(event)) = events.try_next().await {
                match event {
                    watcher::Event::Apply(_) => {
                        writes.lock().unwrap_or_else(PoisonError::into_inner).push(since_boot());
                    }
                    watcher::Event::InitDone => drop(listed.take().map(|listed| listed.send(()))),
                    _ => {}
                }
            }
        });
        is_listed.await.expect("the objects are listed");
        Self { seen, watch }
    }

    fn seen(&self) -> Vec<Duration> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl World {
    /// Mints so many keys, and answers their strings by name.
    async fn mint(&self, count: usize) -> BTreeMap<String, String> {
        let limit = json!([{"name": "requests", "limit": LIMIT, "window": "1h", "autoApply": true}]);
        let spec = json!({"apiRef": {"name": "transcripts"}, "rateLimits": limit});
        let names: Vec<_> = (0..count).map(|at| format!("key-{at}")).collect();
        let apply = |name| self.apply("ApiKey", name, spec.clone());
        stream::iter(&names).for_each_concurrent(16, |name| apply(name)).await;
        let (keys, secrets): (Api<ApiKey>, Api<Secret>) = (self.namespace.api(), self.namespace.api());
        eventually("all keys are in use", async || {
            let listed = keys.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            let ready = listed
                .iter()
                .filter(|key| key.status.as_ref().is_some_and(|status| status.state == Some(KeyState::Active)));
            // And the one that this world has anyway.
            let ready = ready.count();
            if ready == count + 1 { Ok(()) } else { Err(format!("{ready} are")) }
        })
        .await;
        let listed = secrets.list(&ListParams::default()).await.expect("the API server answers");
        let string = |secret: &Secret| {
            let data = secret.data.as_ref()?.get("api-key")?;
            Some((secret.name_any(), String::from_utf8(data.0.clone()).expect("a string is text")))
        };
        listed.iter().filter_map(string).filter(|(name, _)| names.contains(name)).collect()
    }

    /// Presents a string once; what is left of its limit.
    async fn present_once(&self, client: &HttpClient, string: &str) -> Result<usize, String> {
        let target = format!("/auth/nginx/{}/transcripts", self.namespace.name());
        let headers = [
            ("x-original-method", "GET"),
            ("x-original-uri", "/read"),
            ("x-real-ip", "192.0.2.7"),
            ("x-api-key", string),
        ];
        let answer = client.get(&target, &headers).await?;
        let left = answer.header("x-ratelimit-remaining").and_then(|left| left.parse().ok());
        left.filter(|_| answer.status.as_u16() == 200).ok_or_else(|| format!("{answer:?}"))
    }

    /// What is stored about all keys together: requests by name.
    async fn totals(&self) -> BTreeMap<String, u64> {
        let usages: Api<ApiKeyUsage> = self.namespace.api();
        let listed = usages.list(&ListParams::default()).await.expect("the API server answers");
        let of = |usage: &ApiKeyUsage| {
            let owner = usage.owner_references().first().map(|owner| owner.name.clone());
            let counted = usage.status.as_ref().and_then(|status| status.usage.as_ref()).map_or(0, total);
            (owner.expect("it counts for a key"), counted)
        };
        listed.iter().map(of).filter(|(_, counted)| *counted > 0).collect()
    }
}

#[tokio::test]
async fn four_verifiers_write_twenty_times_a_second_together_and_count_every_request() {
    let world = World::new().await;
    let strings = world.mint(KEYS).await;
    assert_eq!(strings.len(), KEYS);
    let start = || Keyturn::start("verifier", &world.namespace, &[OFTEN, "--drain-delay=0s"]);
    let mut verifiers: Vec<_> = (0..PROCESSES).map(|_| start()).collect();
    let counts = Mutex::new(BTreeMap::<String, u64>::new());
    let count = |name: &str| {
        *counts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += 1;
    };
    let clients: Vec<_> = verifiers.iter().map(|verifier| HttpClient::new(verifier.auth())).collect();
    let (probe, string) = strings.first_key_value().expect("there are keys");
    for (verifier, client) in verifiers.iter_mut().zip(&clients) {
        verifier.ready().await;
        eventually("it reckons with four processes", async || {
            let left = world.present_once(client, string).await?;
            count(probe);
            if left <= LIMIT / PROCESSES { Ok(()) } else { Err(format!("it has {left} left")) }
        })
        .await;
    }

    let writes = Writes::watch(&world).await;
    let enough = CancellationToken::new();
    let requests = clients.iter().map(|client| async {
        let mut pause = tokio::time::interval(Duration::from_millis(4));
        // Each that was begun is answered.
        for (name, string) in strings.iter().cycle().take_while(|_| !enough.is_cancelled()) {
            pause.tick().await;
            world.present_once(client, string).await.expect("it is let in");
            count(name);
        }
    });
    let watching = async {
        eventually("many writes are seen", async || {
            let seen = writes.seen().len();
            if seen >= WRITES { Ok(()) } else { Err(format!("{seen} writes")) }
        })
        .await;
        enough.cancel();
    };
    tokio::join!(futures::future::join_all(requests), watching);
    let seen = writes.seen();
    for (first, last) in [(0, WRITES - 1), (0, WRITES / 2), (WRITES / 2, WRITES - 1)] {
        let (number, took) = (last - first + 1, seen[last].saturating_sub(seen[first]));
        // Each process may begin at once; and what counts here is when the watch has told it, which may be a second late.
        let at_most = PROCESSES + RATE + usize::try_from(took.as_millis()).expect("it is a short time") * RATE / 1_000;
        assert!(number <= at_most, "{number} writes in {took:?}");
    }

    verifiers.iter().for_each(|verifier| verifier.signal(Signal::TERM));
    for verifier in &mut verifiers {
        assert!(verifier.process().ended().await.success());
    }
    assert_eq!(world.totals().await, counts.into_inner().unwrap_or_else(PoisonError::into_inner));
}
