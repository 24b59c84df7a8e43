//! Rate limits as real verifiers keep them: shared by an owner's keys, named by routes with costs of their own, and
//! shared among the processes that judge.

use axum::http::HeaderMap;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Value, json};

use crate::support::apply::{apply_spec, field, objects};
use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// A namespace with a ProtectedApi whose routes cost differently, and a controller.
struct World {
    namespace: Namespace,
    _controller: Keyturn,
}

/// What a verifier has answered.
#[derive(Debug, Eq, PartialEq)]
struct Told {
    code: String,
    /// Name of the limit that is closest to exhaustion, and what is left of it.
    limit: Option<(String, String)>,
}

impl Told {
    fn new(code: &str, limit: &str, remaining: u32) -> Self {
        Self { code: code.to_owned(), limit: Some((limit.to_owned(), remaining.to_string())) }
    }
}

impl World {
    async fn new() -> Self {
        let namespace = Namespace::create().await;
        let controller = Keyturn::controller(&namespace).await;
        let world = Self { namespace, _controller: controller };
        let routes = json!([
            {"name": "list", "path": "/list"},
            {"name": "search", "path": "/search", "rateLimits": [{"name": "search", "cost": 5}, {"name": "nobodys"}]},
            {"name": "admin", "path": "/admin", "require": "admin"},
        ]);
        let credentials = json!([{"header": "X-API-Key"}]);
        world.apply("ProtectedApi", "transcripts", json!({"credentials": credentials, "routes": routes})).await;
        world
    }

    async fn apply(&self, kind: &str, name: &str, spec: Value) {
        apply_spec(&self.namespace, kind, name, &spec).await;
    }

    /// The string of a new key.
    async fn key(&self, name: &str, mut spec: Value) -> String {
        spec["apiRef"] = json!({"name": "transcripts"});
        self.apply("ApiKey", name, spec).await;
        eventually(&format!("{name} is active"), async || {
            let key = objects(&self.namespace, "ApiKey").get(name).await.map_err(|error| error.to_string())?;
            if field(&key, "/status/state") == "Active" { Ok(()) } else { Err(field(&key, "/status").to_string()) }
        })
        .await;
        let secrets: Api<Secret> = self.namespace.api();
        let data = secrets.get(name).await.expect("the key has a Secret").data.expect("the Secret has data");
        String::from_utf8(data["api-key"].0.clone()).expect("a string is text")
    }

    async fn verifier(&self) -> Keyturn {
        let mut verifier = Keyturn::start("verifier", &self.namespace, &["--drain-delay=0s"]);
        verifier.ready().await;
        verifier
    }

    async fn ask(&self, verifier: &Keyturn, string: &str, path: &str) -> Told {
        let target = format!("/auth/nginx/{}/transcripts", self.namespace.name());
        let headers =
            [("x-original-method", "GET"), ("x-original-uri", path), ("x-real-ip", "192.0.2.7"), ("x-api-key", string)];
        let answer = HttpClient::new(verifier.auth()).get(&target, &headers).await.expect("the verifier answers");
        let text = |name: &str, headers: &HeaderMap| {
            headers.get(name).map(|value| value.to_str().expect("a header is text").to_owned())
        };
        let name = text("ratelimit-policy", &answer.headers);
        let name = name.map(|policy| policy.split('"').nth(1).expect("a policy has a quoted name").to_owned());
        Told {
            code: text("x-auth-code", &answer.headers).unwrap_or_else(|| answer.status.as_u16().to_string()),
            limit: name.zip(text("x-ratelimit-remaining", &answer.headers)),
        }
    }

    /// What is left of the key's limit, by a request that is refused for other reasons and charges nothing.
    async fn left(&self, verifier: &Keyturn, string: &str) -> Option<String> {
        let told = self.ask(verifier, string, "/admin").await;
        assert_eq!(told.code, "INSUFFICIENT_SCOPE");
        told.limit.map(|(_, remaining)| remaining)
    }

    /// Waits until the verifier gives away no more and no less than that.
    async fn share_becomes(&self, verifier: &Keyturn, string: &str, expected: u32) {
        eventually(&format!("{expected} are left"), async || match self.left(verifier, string).await {
            Some(left) if left == expected.to_string() => Ok(()),
            left => Err(format!("{left:?}")),
        })
        .await;
    }
}

fn limit(name: &str, limit: u32, auto_apply: bool) -> Value {
    json!({"name": name, "limit": limit, "window": "720h", "autoApply": auto_apply})
}

#[tokio::test]
async fn keys_of_one_owner_share_its_limits_unless_they_have_their_own_of_that_name() {
    let world = World::new().await;
    let tier = json!({"rateLimits": [limit("requests", 100, true), limit("burst", 50, true)]});
    world.apply("ApiKeyTier", "pro", tier).await;
    let owner = json!({"externalId": "cus_1", "tier": "pro", "rateLimits": [limit("requests", 3, true)]});
    world.apply("ApiKeyOwner", "acme", owner).await;
    let first = world.key("first", json!({"owner": "cus_1"})).await;
    let second = world.key("second", json!({"owner": "cus_1"})).await;
    let own = world.key("own", json!({"owner": "cus_1", "rateLimits": [limit("requests", 60, true)]})).await;
    let verifier = world.verifier().await;
    assert_eq!(world.ask(&verifier, &first, "/list").await, Told::new("200", "requests", 2));
    assert_eq!(world.ask(&verifier, &second, "/list").await, Told::new("200", "requests", 1));
    assert_eq!(world.ask(&verifier, &own, "/list").await, Told::new("200", "burst", 49), "of the tier");
    assert_eq!(world.ask(&verifier, &first, "/list").await, Told::new("200", "requests", 0));
    assert_eq!(world.ask(&verifier, &second, "/list").await, Told::new("RATE_LIMITED", "requests", 0));
    assert_eq!(world.ask(&verifier, &own, "/list").await, Told::new("200", "burst", 48));
}

#[tokio::test]
async fn a_route_charges_the_limits_that_it_names_what_it_says() {
    let world = World::new().await;
    let limits = json!([limit("search", 11, false), limit("all", 100, true)]);
    let string = world.key("ci", json!({"rateLimits": limits})).await;
    let verifier = world.verifier().await;
    for (path, told) in [
        ("/list", Told::new("200", "all", 99)),
        ("/search", Told::new("200", "search", 6)),
        ("/search", Told::new("200", "search", 1)),
        ("/search", Told::new("RATE_LIMITED", "search", 1)),
        ("/list", Told::new("200", "all", 96)),
    ] {
        assert_eq!(world.ask(&verifier, &string, path).await, told, "{path}");
    }
}

#[tokio::test]
async fn processes_share_a_limit_as_they_come_and_go() {
    let world = World::new().await;
    let string = world.key("ci", json!({"rateLimits": [limit("requests", 12, true)]})).await;
    let first = world.verifier().await;
    world.share_becomes(&first, &string, 12).await;
    let (second, third) = (world.verifier().await, world.verifier().await);
    for verifier in [&first, &second, &third] {
        world.share_becomes(verifier, &string, 4).await;
    }
    let mut admitted = 0;
    for verifier in [&first, &second, &third] {
        for _ in 0..8 {
            admitted += usize::from(world.ask(verifier, &string, "/list").await.code == "200");
        }
    }
    assert_eq!(admitted, 12, "together they admit what one would");
    third.signal(Signal::TERM);
    // Six for each of two, of which four are gone.
    for verifier in [&first, &second] {
        world.share_becomes(verifier, &string, 2).await;
    }
    second.signal(Signal::KILL);
    world.share_becomes(&first, &string, 8).await;
}
