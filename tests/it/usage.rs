//! What keys are used for, from the requests at real verifiers to the ApiKeyUsages.

mod rate;

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use keyturn::resources::ApiKeyUsage;
use keyturn::resources::apikeyusage::Usage;
use kube::api::{DeleteParams, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use serde_json::{Value, json};

use crate::support::accounts::in_namespace;
use crate::support::apiserver::{Fault, FaultyApiServer};
use crate::support::apply::{apply_spec, field, objects};
use crate::support::cluster::Namespace;
use crate::support::events::event;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// As often as it is allowed, for tests wait for it.
const OFTEN: &str = "--usage-interval=1s";
/// Not before the process goes.
const NEVER: &str = "--usage-interval=30d";

/// The key that all of this is about.
const KEY: &str = "ci";

/// A namespace with a ProtectedApi, a key of it, and a controller.
struct World {
    namespace: Namespace,
    string: String,
    _controller: Keyturn,
}

impl World {
    async fn new() -> Self {
        let namespace = Namespace::create().await;
        let mut controller = Keyturn::start("controller", &namespace, &["--leader-lease=2s"]);
        controller.ready().await;
        let routes = json!([
            {"name": "read", "methods": ["GET"], "path": "/read"},
            {"name": "write", "methods": ["GET"], "path": "/write"},
        ]);
        let api = json!({"credentials": [{"header": "X-API-Key"}], "routes": routes});
        let mut world = Self { namespace, string: String::new(), _controller: controller };
        world.apply("ProtectedApi", "transcripts", api).await;
        world.apply("ApiKey", KEY, json!({"apiRef": {"name": "transcripts"}})).await;
        world.key_when("a string", |key| field(key, "/status/state") == "Active").await;
        world.string = world.string().await;
        world
    }

    async fn apply(&self, kind: &str, name: &str, spec: Value) {
        apply_spec(&self.namespace, kind, name, &spec).await;
    }

    async fn key_when(&self, what: &str, holds: impl Fn(&DynamicObject) -> bool) -> DynamicObject {
        eventually(&format!("the key has {what}"), async || {
            let key = objects(&self.namespace, "ApiKey").get(KEY).await.map_err(|error| error.to_string())?;
            if holds(&key) { Ok(key) } else { Err(field(&key, "/status").to_string()) }
        })
        .await
    }

    async fn string(&self) -> String {
        let secrets: Api<Secret> = self.namespace.api();
        let data = secrets.get(KEY).await.expect("the key has a Secret").data.expect("the Secret has data");
        String::from_utf8(data["api-key"].0.clone()).expect("a string is text")
    }

    /// A verifier that answers.
    async fn verifier(&self, interval: &str) -> Keyturn {
        let mut verifier = Keyturn::start("verifier", &self.namespace, &[interval, "--drain-delay=0s"]);
        verifier.ready().await;
        verifier
    }

    /// Presents that string so often, for that path; answers the last status.
    async fn present(&self, string: &str, verifier: &Keyturn, path: &str, times: usize) -> u16 {
        let target = format!("/auth/nginx/{}/transcripts", self.namespace.name());
        let client = HttpClient::new(verifier.auth());
        let headers =
            [("x-original-method", "GET"), ("x-original-uri", path), ("x-real-ip", "192.0.2.7"), ("x-api-key", string)];
        let mut status = 0;
        for _ in 0..times {
            status = client.get(&target, &headers).await.expect("the verifier answers").status.as_u16();
        }
        status
    }

    async fn requests(&self, verifier: &Keyturn, times: usize) {
        assert_eq!(self.present(&self.string, verifier, "/read", times).await, 200);
    }

    async fn usage_object(&self) -> Result<ApiKeyUsage, String> {
        let key = objects(&self.namespace, "ApiKey").get(KEY).await.map_err(|error| error.to_string())?;
        let name = format!("key-{}", key.uid().expect("an object has a uid"));
        let usages: Api<ApiKeyUsage> = self.namespace.api();
        usages.get(&name).await.map_err(|error| error.to_string())
    }

    async fn usage(&self) -> Result<Usage, String> {
        Ok(self.usage_object().await?.status.and_then(|status| status.usage).unwrap_or_default())
    }

    async fn total(&self) -> Result<u64, String> {
        Ok(total(&self.usage().await?))
    }

    async fn usage_when(&self, what: &str, holds: impl Fn(&Usage) -> bool) -> Usage {
        eventually(what, async || {
            let usage = self.usage().await?;
            if holds(&usage) { Ok(usage) } else { Err(format!("{usage:?}")) }
        })
        .await
    }

    async fn total_becomes(&self, expected: u64) -> Usage {
        self.usage_when(&format!("{expected} requests are told"), |usage| total(usage) == expected).await
    }
}

fn total(usage: &Usage) -> u64 {
    usage.requests.as_ref().map_or(0, |requests| requests.total)
}

/// Waits until a verifier has nothing left to write.
async fn has_written_all(verifier: &Keyturn) {
    eventually("nothing waits to be written", async || {
        let text = verifier.health().get("/metrics", &[]).await?.body;
        if text.lines().any(|line| line == "keyturn_usage_backlog 0") { Ok(()) } else { Err(text) }
    })
    .await;
}

#[tokio::test]
async fn the_requests_of_two_verifiers_add_up() {
    let world = World::new().await;
    let (one, other) = (world.verifier(OFTEN).await, world.verifier(OFTEN).await);
    for _ in 0..3 {
        tokio::join!(world.requests(&one, 10), world.requests(&other, 20));
    }
    assert_eq!(world.present(&world.string, &other, "/write", 5).await, 200);
    assert_eq!(world.present(&world.string, &one, "/nowhere", 4).await, 403);
    world.total_becomes(95).await;
    let usage = world.usage_when("four refusals are told", |usage| !usage.denied.is_empty()).await;
    let requests = usage.requests.clone().unwrap();
    assert!(requests.today <= 95 && requests.this_month <= 95 && requests.today > 0, "{requests:?}");
    assert_eq!(usage.denied, [("ROUTE_NOT_FOUND".to_owned(), 4)].into());
    let endpoints: Vec<_> = usage.top_endpoints.iter().map(|it| (it.route.as_str(), it.requests)).collect();
    assert_eq!(endpoints, [("read", 90), ("write", 5)]);
    assert_eq!(usage.last_used_from.as_deref(), Some("192.0.2.7"));
    let versions: Vec<_> = usage.versions.iter().map(|version| (version.number, &version.last_used_at)).collect();
    assert_eq!(versions, [(1, &usage.last_used_at)]);
    // What was written once is not written again.
    for verifier in [&one, &other] {
        has_written_all(verifier).await;
    }
    assert_eq!(world.total().await, Ok(95));
}

#[tokio::test]
async fn verifiers_that_are_told_to_go_write_all_that_they_have() {
    let world = World::new().await;
    let mut verifiers = Vec::new();
    for _ in 0..3 {
        verifiers.push(world.verifier(NEVER).await);
    }
    for (verifier, times) in verifiers.iter().zip([25, 17, 1]) {
        world.requests(verifier, times).await;
    }
    assert_eq!(world.total().await, Ok(0));
    // All at once, so that they are in each other's way.
    verifiers.iter().for_each(|verifier| verifier.signal(Signal::TERM));
    for verifier in &mut verifiers {
        assert!(verifier.process().ended().await.success());
    }
    assert_eq!(world.total().await, Ok(43));
}

#[tokio::test]
async fn a_write_that_was_answered_with_a_timeout_is_not_counted_twice() {
    let world = World::new().await;
    let kubeconfig = Kubeconfig::read_from(in_namespace(world.namespace.name(), "verifier")).expect("it is complete");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let account = Client::try_from(config.expect("it is complete")).expect("a kubeconfig makes a client");
    let mut writes = 0;
    let door = FaultyApiServer::start(&account, move |call| {
        writes += u32::from(call.is_write() && call.concerns("apikeyusages"));
        if call.is_write() && writes % 2 == 1 { Fault::AnswerAfter(504, "Timeout") } else { Fault::Pass }
    })
    .await;
    let namespace = world.namespace.name();
    let (only, own) = (format!("--namespace={namespace}"), format!("--operator-namespace={namespace}"));
    let mut verifier =
        Keyturn::start_as("verifier", &door.kubeconfig(), &[OFTEN, "--drain-delay=0s", only.as_str(), &own]);
    verifier.ready().await;
    for round in 1..=3 {
        world.requests(&verifier, 7).await;
        world.total_becomes(round * 7).await;
    }
    has_written_all(&verifier).await;
    assert_eq!(world.total().await, Ok(21));
}

#[tokio::test]
async fn a_verifier_that_is_killed_loses_what_it_had_not_written_and_nothing_else() {
    let world = World::new().await;
    let mut killed = world.verifier(OFTEN).await;
    world.requests(&killed, 10).await;
    world.total_becomes(10).await;
    world.requests(&killed, 5).await;
    killed.signal(Signal::KILL);
    killed.process().ended().await;

    let next = world.verifier(OFTEN).await;
    world.requests(&next, 7).await;
    let usage = world.usage_when("what came later is told", |usage| total(usage) >= 10 + 7).await;
    assert!(total(&usage) <= 10 + 5 + 7, "{usage:?}");
}

#[tokio::test]
async fn what_was_counted_waits_for_an_object_that_was_deleted() {
    let world = World::new().await;
    let verifier = world.verifier(OFTEN).await;
    world.requests(&verifier, 3).await;
    world.total_becomes(3).await;
    let usages: Api<ApiKeyUsage> = world.namespace.api();
    let before = world.usage_object().await.unwrap();
    usages.delete(&before.name_any(), &DeleteParams::default()).await.expect("it is deleted");
    world.requests(&verifier, 4).await;
    let after = eventually("a new object tells of what came since", async || {
        let object = world.usage_object().await?;
        if world.total().await? == 4 { Ok(object) } else { Err(format!("{object:?}")) }
    })
    .await;
    assert_ne!(before.uid(), after.uid());
}

#[tokio::test]
async fn a_refused_key_is_counted_with_why() {
    let world = World::new().await;
    let verifier = world.verifier(OFTEN).await;
    world.requests(&verifier, 1).await;
    world.apply("ApiKey", KEY, json!({"apiRef": {"name": "transcripts"}, "revoked": true})).await;
    eventually("the key is refused", async || match world.present(&world.string, &verifier, "/read", 1).await {
        200 => Err("let in".to_owned()),
        _ => Ok(()),
    })
    .await;
    let usage = world.usage_when("a refusal is told", |usage| !usage.denied.is_empty()).await;
    assert_eq!(usage.denied.keys().collect::<Vec<_>>(), ["REVOKED"]);
    // A string that nobody has is nobody's.
    assert_eq!(world.present("sk_live_x", &verifier, "/read", 3).await, 401);
    has_written_all(&verifier).await;
    let usage = world.usage().await.unwrap();
    assert_eq!(usage.denied.keys().collect::<Vec<_>>(), ["REVOKED"]);
}

#[tokio::test]
async fn an_old_version_that_is_used_to_the_end_is_told_of() {
    let world = World::new().await;
    let verifier = world.verifier(OFTEN).await;
    let rotation = json!({"request": {"id": "r1", "gracePeriod": "15s"}});
    world.apply("ApiKey", KEY, json!({"apiRef": {"name": "transcripts"}, "rotation": rotation})).await;
    let key = world.key_when("a version in grace", |key| field(key, "/status/versions/1/state") == "Grace").await;
    let end = field(&key, "/status/versions/1/notAfter").as_str().expect("a grace ends").to_owned();
    let new = world.string().await;
    assert_eq!(world.present(&new, &verifier, "/read", 1).await, 200);
    let usage = world
        .usage_when("the new version is used", |usage| usage.versions.first().is_some_and(|it| it.number == 2))
        .await;
    assert!(usage.versions.iter().all(|version| version.last_used_at.is_some()), "{usage:?}");

    let told = event(&world.namespace, KEY, "OldVersionInUse");
    let mut again = tokio::time::interval(Duration::from_millis(100));
    let goes_on = async {
        loop {
            again.tick().await;
            world.present(&world.string, &verifier, "/read", 1).await;
        }
    };
    let told = tokio::select! {
        told = told => told,
        () = goes_on => unreachable!("it goes on for ever"),
    };
    assert!(told.starts_with("version 1 is still in use") && told.contains(&end), "{told}");
}
