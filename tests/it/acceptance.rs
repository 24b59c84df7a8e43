//! The whole life of a key on real parts: API server, controller, verifier, nginx. The steps are those of
//! `make demo`, and so are the manifests.

mod load;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use axum::http::Method;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::apply::{apply, apply_files, condition, field, manifests, objects};
use crate::support::cluster::Namespace;
use crate::support::http::{Answer, HttpClient};
use crate::support::installation::Installation;
use crate::support::keyturn::Keyturn;
use crate::support::process::Signal;
use crate::support::wait::eventually;
use load::Load;

const READ: &str = "/v1/transcripts/1";

struct World {
    installation: Installation,
}

impl World {
    /// Starts it all, and applies the samples and the demo's keys as they stand.
    async fn start() -> Self {
        let installation = Installation::protecting("transcripts").await;
        let samples = ["protectedapi", "apikeytiers", "apikeyrole", "apikey"];
        apply_files(&installation.namespace, &samples.map(|name| format!("config/samples/{name}.yaml"))).await;
        apply_files(&installation.namespace, &["config/demo/keys.yaml"]).await;
        Self { installation }
    }

    async fn key(&self, name: &str) -> DynamicObject {
        objects(&self.installation.namespace, "ApiKey").get(name).await.unwrap()
    }

    /// Waits until a member of a key's status says `wanted`.
    async fn wait_for(&self, name: &str, pointer: &str, wanted: impl Fn(&Value) -> bool) -> DynamicObject {
        eventually(&format!("{pointer} of {name}"), async || {
            let key = self.key(name).await;
            if wanted(field(&key, pointer)) { Ok(key) } else { Err(field(&key, "/status").to_string()) }
        })
        .await
    }

    /// The string of an active key, from its Secret.
    async fn string(&self, name: &str) -> String {
        self.wait_for(name, "/status/state", |state| state == "Active").await;
        self.secret(name).await.expect("an active key has its Secret")
    }

    async fn secret(&self, name: &str) -> Option<String> {
        self.installation.namespace.string_in(name).await
    }

    async fn patch(&self, name: &str, spec: Value) -> Result<DynamicObject, kube::Error> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        objects(&self.installation.namespace, "ApiKey").patch(name, &PatchParams::default(), &patch).await
    }

    async fn call(&self, key: &str) -> Answer {
        let credential = format!("Bearer {key}");
        HttpClient::new(self.installation.nginx.address()).get(READ, &[("Authorization", &credential)]).await.unwrap()
    }

    /// Waits until the key is answered with this status and code.
    async fn refused(&self, key: &str, status: u16, code: &str) {
        eventually(&format!("the key is refused with {status} {code}"), async || {
            let answer = self.call(key).await;
            if verdict(&answer) == (status, code.to_owned()) { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    }
}

/// Status, and code of the problem document; empty when there is none.
fn verdict(answer: &Answer) -> (u16, String) {
    let problem: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    (answer.status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn an_applied_key_is_minted_into_its_secret() {
    let world = World::start().await;
    let string = world.string("ci-runner").await;
    assert!(string.starts_with("sk_live_") && string.len() == "sk_live_".len() + 38, "{} characters", string.len());

    let key = world.key("ci-runner").await;
    assert_eq!(field(&key, "/status/start"), &json!(string[..12]));
    for kind in ["Accepted", "Ready", "SecretSynced"] {
        assert_eq!(condition(&key, kind).unwrap()[0], "True", "{kind}");
    }
    let stored = serde_json::to_string(&key).unwrap();
    assert!(!stored.contains(&string[8..]), "the ApiKey holds the string itself");
}

#[tokio::test]
async fn nginx_lets_nobody_in_but_who_holds_the_key_and_may() {
    let world = World::start().await;
    let key = world.string("ci-runner").await;
    let credential = format!("Bearer {key}");
    let authorization = [("Authorization", credential.as_str())];
    let client = HttpClient::new(world.installation.nginx.address());
    let far = HttpClient::from_address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), world.installation.nginx.address());

    let none = client.get(READ, &[]).await.unwrap();
    assert_eq!(verdict(&none), (401, "UNAUTHORIZED".into()));
    assert!(none.header("www-authenticate").is_some());
    let lacking = client.send(Method::POST, READ, &authorization).await.unwrap();
    assert_eq!(verdict(&lacking), (403, "INSUFFICIENT_SCOPE".into()));
    assert_eq!(verdict(&far.get(READ, &authorization).await.unwrap()), (403, "IP_NOT_ALLOWED".into()));
    assert!(world.installation.backend.take().is_empty(), "a refused request has reached the backend");

    let forged = [authorization[0], ("X-Apikey-Name", "root"), ("X-Apikey-Environment", "test")];
    let answer = client.get(READ, &forged).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-ratelimit-limit"), Some("1000"));
    let seen = world.installation.backend.take();
    let identity = ["x-apikey-name", "x-apikey-owner", "x-apikey-environment", "authorization"];
    let identity = identity.map(|name| seen[0].header(name));
    assert_eq!(identity, [Some("ci-runner"), Some("acme-1"), Some("live"), None]);
}

#[tokio::test]
async fn past_the_limit_a_key_waits_for_exactly_retry_after() {
    let world = World::start().await;
    let key = world.string("limited").await;
    let refusal = eventually("the limit is reached", async || {
        let answer = world.call(&key).await;
        if answer.status == 429 { Ok(answer) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!(verdict(&refusal), (429, "RATE_LIMITED".into()));
    let wait = refusal.header("retry-after").and_then(|seconds| seconds.parse().ok()).unwrap();
    // What a client is told to do.
    tokio::time::sleep(Duration::from_secs(wait)).await;
    assert_eq!(world.call(&key).await.status, 200);
}

#[tokio::test]
async fn no_request_fails_while_a_key_is_rotated() {
    let world = World::start().await;
    let old = world.string("busy").await;
    let load = Load::start(&world.installation.nginx, &old).await;

    let request = |grace: &str| json!({"rotation": {"request": {"id": "one", "gracePeriod": grace}}});
    world.patch("busy", request("1h")).await.unwrap();
    let new = eventually("the Secret holds the new string", async || {
        world.secret("busy").await.filter(|string| *string != old).ok_or_else(|| "the old string".into())
    })
    .await;
    // From the moment that it can be read it is accepted.
    assert_eq!(world.call(&new).await.status, 200);
    world.wait_for("busy", "/status/versions/1/state", |state| state == "Grace").await;
    assert_eq!(world.call(&old).await.status, 200);
    let failures = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());

    world.patch("busy", request("0s")).await.unwrap();
    world.refused(&old, 403, "EXPIRED").await;
    assert_eq!(world.call(&new).await.status, 200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_for_good() {
    let world = World::start().await;
    let key = world.string("leaked").await;
    world.patch("leaked", json!({"revoked": true, "revocationReason": "leaked in a build log"})).await.unwrap();
    world.refused(&key, 401, "REVOKED").await;
    world.wait_for("leaked", "/status/revocation/at", Value::is_string).await;
    eventually("the Secret is gone", async || {
        if world.secret("leaked").await.is_none() { Ok(()) } else { Err("still there".into()) }
    })
    .await;

    let refusal = world.patch("leaked", json!({"revoked": false})).await.unwrap_err().to_string();
    assert!(refusal.contains("revoked"), "{refusal}");
    world.refused(&key, 401, "REVOKED").await;
}

#[tokio::test]
async fn nothing_is_left_of_a_deleted_key() {
    let world = World::start().await;
    let key = world.string("ci-runner").await;
    let uid = world.key("ci-runner").await.metadata.uid;
    objects(&world.installation.namespace, "ApiKey").delete("ci-runner", &DeleteParams::default()).await.unwrap();
    world.refused(&key, 401, "UNAUTHORIZED").await;
    eventually("no Secret belongs to the key", async || {
        let secrets = world.installation.namespace.api::<Secret>().list(&ListParams::default()).await.unwrap();
        let owned = |secret: &Secret| {
            secret.metadata.owner_references.iter().flatten().any(|owner| Some(&owner.uid) == uid.as_ref())
        };
        let left: Vec<_> = secrets.items.into_iter().filter(owned).map(|secret| secret.metadata.name).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn mistakes_are_refused_or_explained() {
    let world = World::start().await;
    let mistake = |name: &str| manifests(&format!("config/demo/mistakes/{name}.yaml"));
    for (name, part) in
        [("bad-cidr", "10.0.0.0/33"), ("long-grace", "gracePeriod"), ("scope-with-space", "spec.scopes")]
    {
        let refusal = apply(&world.installation.namespace, &mistake(name)[0]).await.unwrap_err().to_string();
        assert!(refusal.contains(part), "{name}: {refusal}");
    }

    let foreign: Secret = serde_json::from_value(mistake("taken-secret").remove(0)).unwrap();
    world.installation.namespace.api().create(&PostParams::default(), &foreign).await.unwrap();
    for (name, reason, part) in
        [("unknown-tier", "TierNotFound", "platinum"), ("taken-secret", "SecretNameTaken", "database")]
    {
        apply(&world.installation.namespace, mistake(name).last().unwrap()).await.unwrap();
        let key = world.wait_for(name, "/status/state", |state| state == "Rejected").await;
        let [status, said, message] = condition(&key, "Accepted").unwrap();
        assert_eq!([status.as_str(), said.as_str()], ["False", reason], "{name}: {message}");
        assert!(message.contains(part), "{name}: {message}");
    }
    let kept = world.installation.namespace.api::<Secret>().get("database").await.unwrap();
    assert_eq!(kept.data.unwrap().keys().collect::<Vec<_>>(), ["password"]);
}

#[tokio::test]
async fn a_verifier_told_to_end_finishes_what_it_has_begun() {
    let namespace = Namespace::create().await;
    let _controller = Keyturn::controller(&namespace).await;
    let mut verifier = Keyturn::verifier(&namespace);
    verifier.ready().await;
    verifier.signal(Signal::TERM);
    let readiness = eventually("it says that it is not ready", async || {
        let answer = verifier.health().get("/readyz", &[]).await?;
        if answer.status.is_success() { Err("ready".into()) } else { Ok(answer) }
    })
    .await;
    assert_eq!(readiness.status, 503, "{readiness:?}");
    assert!(verifier.process().ended().await.success());
}
