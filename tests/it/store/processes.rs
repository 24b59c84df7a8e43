//! Verifiers that count rate limits in one server, as processes against a real API server.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;

use crate::support::apply::{apply_spec, field, objects};
use crate::support::cluster::Namespace;
use crate::support::http::{Answer, HttpClient};
use crate::support::keyturn::Keyturn;
use crate::support::process::scratch;
use crate::support::redis::Redis;
use crate::support::wait::eventually;

/// A namespace with an API and a key of it, of which this many requests are admitted.
struct World {
    namespace: Namespace,
    string: String,
    _controller: Keyturn,
}

impl World {
    async fn with_limit(limit: u32) -> Self {
        let namespace = Namespace::create().await;
        let controller = Keyturn::controller(&namespace).await;
        let limits = json!([{"name": "requests", "limit": limit, "window": "720h", "autoApply": true}]);
        for (kind, name, spec) in [
            ("ProtectedApi", "transcripts", json!({"credentials": [{"header": "X-API-Key"}]})),
            ("ApiKey", "ci", json!({"apiRef": {"name": "transcripts"}, "rateLimits": limits})),
        ] {
            apply_spec(&namespace, kind, name, &spec).await;
        }
        let string = eventually("the key is active", async || {
            let key = objects(&namespace, "ApiKey").get("ci").await.map_err(|error| error.to_string())?;
            if field(&key, "/status/state") != "Active" {
                return Err(field(&key, "/status").to_string());
            }
            let secret = namespace.api::<Secret>().get("ci").await.map_err(|error| error.to_string())?;
            let string = secret.data.unwrap_or_default().remove("api-key").ok_or("there is no string")?;
            String::from_utf8(string.0).map_err(|error| error.to_string())
        })
        .await;
        Self { namespace, string, _controller: controller }
    }

    /// Starts a verifier that is connected to this server.
    async fn verifier(&self, server: &Redis, further: &[&str]) -> Keyturn {
        let url = format!("--valkey-url={}", server.url());
        let arguments = ["--rate-limit-store=valkey", &url, "--drain-delay=0s"];
        let mut verifier = Keyturn::start("verifier", &self.namespace, &[&arguments, further].concat());
        verifier.ready().await;
        store_is(&verifier, true).await;
        verifier
    }

    /// Presents the key.
    async fn ask(&self, client: &HttpClient) -> Answer {
        let target = format!("/auth/nginx/{}/transcripts", self.namespace.name());
        let headers = [("x-original-method", "GET"), ("x-original-uri", "/"), ("x-real-ip", "192.0.2.7")];
        let headers = [&headers[..], &[("x-api-key", self.string.as_str())]].concat();
        client.get(&target, &headers).await.expect("the verifier answers")
    }

    async fn status(&self, verifier: &Keyturn) -> u16 {
        self.ask(&HttpClient::new(verifier.auth())).await.status.as_u16()
    }
}

/// Waits until the verifier says whether it is connected to its store.
async fn store_is(verifier: &Keyturn, connected: bool) {
    eventually("the metric tells whether the store is connected", async || {
        let value = verifier.metric("keyturn_store_connected").await?;
        if (value > 0.5) == connected { Ok(()) } else { Err(value.to_string()) }
    })
    .await;
}

#[tokio::test]
#[expect(clippy::print_stdout, reason = "the figure is what the test is run for")]
async fn four_processes_admit_exactly_the_limit() {
    const LIMIT: u32 = 300;
    let (server, world) = (Redis::start().await, World::with_limit(LIMIT).await);
    let mut verifiers = Vec::new();
    for _ in 0..4 {
        verifiers.push(world.verifier(&server, &["--store-timeout=5s"]).await);
    }
    let hammer = |verifier: &Keyturn| {
        let client = HttpClient::new(verifier.auth());
        let world = &world;
        async move {
            let mut admitted = 0_u32;
            for _ in 0..25 {
                let answer = world.ask(&client).await;
                match answer.header("x-auth-code") {
                    None if answer.status.is_success() => admitted += 1,
                    Some("RATE_LIMITED") => {}
                    _ => panic!("{answer:?}"),
                }
            }
            admitted
        }
    };
    let counts = join_all(verifiers.iter().map(|verifier| join_all((0..8).map(|_| hammer(verifier))))).await;
    let counts: Vec<u32> = counts.iter().map(|counts| counts.iter().sum()).collect();
    let sum: u32 = counts.iter().sum();
    println!("of a limit of {LIMIT}, 4 processes admitted {sum}: {counts:?}; overshoot {}", sum.saturating_sub(LIMIT));
    assert_eq!(sum, LIMIT);
    let refused = world.ask(&HttpClient::new(verifiers[0].auth())).await;
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
}

#[tokio::test]
async fn while_the_store_is_away_a_process_counts_alone_or_refuses_and_stays_ready() {
    let (mut server, world) = (Redis::start().await, World::with_limit(1_000).await);
    let local = world.verifier(&server, &["--on-store-error=Local"]).await;
    let deny = world.verifier(&server, &["--on-store-error=Deny"]).await;
    assert_eq!((world.status(&local).await, world.status(&deny).await), (200, 200));
    server.kill().await;
    for verifier in [&local, &deny] {
        store_is(verifier, false).await;
        let answer = verifier.health().get("/readyz", &[]).await.unwrap();
        assert!(answer.status.is_success(), "{answer:?}");
        assert!(answer.body.contains("rate limits: valkey://127.0.0.1:"), "{}", answer.body);
    }
    assert_eq!((world.status(&local).await, world.status(&deny).await), (200, 503));
    for (verifier, action) in [(&local, "Local"), (&deny, "Deny")] {
        let without_answer = r#"keyturn_store_requests_total{outcome="Disconnected"}"#;
        assert_eq!(verifier.metric(without_answer).await, Ok(1.0));
        let instead = format!(r#"keyturn_store_unanswered_total{{action="{action}"}}"#);
        assert_eq!(verifier.metric(&instead).await, Ok(1.0));
    }
    server.restart().await;
    for verifier in [&local, &deny] {
        store_is(verifier, true).await;
        assert_eq!(world.status(verifier).await, 200);
        assert_eq!(verifier.health().get("/readyz", &[]).await.unwrap().body, "ready\n");
    }
}

#[tokio::test]
async fn what_can_never_work_is_told_at_the_start_and_no_password_with_it() {
    let namespace = Namespace::create().await;
    let missing = scratch("missing.crt");
    let missing = format!("--valkey-ca-file={}", missing.display());
    for (arguments, part) in [
        (&["--rate-limit-store=valkey"][..], "give --valkey-url="),
        (&["--rate-limit-store=valkey", "--valkey-url=valkey://:hunter2@host"], "--valkey-password-file"),
        (&["--rate-limit-store=valkey", "--valkey-url=valkeys://127.0.0.1:1", missing.as_str()], "missing.crt"),
    ] {
        let mut verifier = Keyturn::start("verifier", &namespace, arguments);
        assert!(!verifier.process().ended().await.success(), "{arguments:?}");
        let log = verifier.log();
        assert!(log.contains(part) && !log.contains("hunter2"), "{log}");
    }
}
