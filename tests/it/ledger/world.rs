//! Keys that have quotas or credits, verifiers, and connections that spend.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use keyturn::resources::ApiKeyUsage;
use keyturn::resources::apikeyusage::LedgerEntry;
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::support::apply::{apply_spec, field, objects};
use crate::support::cluster::Namespace;
use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::wait::eventually;

/// What usage counts is of no concern here, and not in the way.
const USAGE: &str = "--usage-interval=30d";

/// A namespace with a ProtectedApi and a controller.
pub(super) struct World {
    namespace: Namespace,
    controller: Keyturn,
}

impl World {
    pub(super) async fn new() -> Self {
        let namespace = Namespace::create().await;
        let mut controller = Keyturn::start("controller", &namespace, &["--leader-lease=2s"]);
        controller.ready().await;
        let world = Self { namespace, controller };
        let routes = json!([{"name": "one", "path": "/one"}, {"name": "five", "path": "/five", "cost": 5}]);
        let api = json!({"credentials": [{"header": "X-API-Key"}], "routes": routes});
        world.apply("ProtectedApi", "transcripts", api).await;
        world
    }

    pub(super) fn controller(&self) -> &Keyturn {
        &self.controller
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(super) async fn apply(&self, kind: &str, name: &str, spec: Value) {
        apply_spec(&self.namespace, kind, name, &spec).await;
    }

    /// Applies a key with these further fields.
    pub(super) async fn apply_key(&self, name: &str, further: Value) {
        let mut spec = json!({"apiRef": {"name": "transcripts"}});
        for (field, value) in further.as_object().expect("the fields of a spec") {
            spec[field] = value.clone();
        }
        self.apply("ApiKey", name, spec).await;
    }

    /// Applies a key with these further fields, and answers its string.
    pub(super) async fn mint(&self, name: &str, further: Value) -> String {
        self.apply_key(name, further).await;
        self.key_when(name, "a string", |key| field(key, "/status/state") == "Active").await;
        self.string(name).await
    }

    /// The string of a key that is in use.
    pub(super) async fn string(&self, name: &str) -> String {
        let secrets: Api<Secret> = self.namespace.api();
        let data = secrets.get(name).await.expect("the key has a Secret").data.expect("the Secret has data");
        String::from_utf8(data["api-key"].0.clone()).expect("a string is text")
    }

    pub(super) async fn key_when(&self, name: &str, what: &str, holds: impl Fn(&DynamicObject) -> bool) {
        eventually(&format!("{name} has {what}"), async || {
            let key = objects(&self.namespace, "ApiKey").get(name).await.map_err(|error| error.to_string())?;
            if holds(&key) { Ok(()) } else { Err(field(&key, "/status").to_string()) }
        })
        .await;
    }

    /// A verifier that answers.
    pub(super) async fn verifier(&self) -> Keyturn {
        let mut verifier = Keyturn::start("verifier", &self.namespace, &[USAGE, "--drain-delay=0s"]);
        verifier.ready().await;
        verifier
    }

    pub(super) async fn verifiers(&self, count: usize) -> Vec<Keyturn> {
        let start = || Keyturn::start("verifier", &self.namespace, &[USAGE, "--drain-delay=0s"]);
        let mut verifiers: Vec<_> = (0..count).map(|_| start()).collect();
        for verifier in &mut verifiers {
            verifier.ready().await;
        }
        self.all_are_counted(&verifiers).await;
        verifiers
    }

    /// Waits until each knows of all: chunks are smaller then.
    async fn all_are_counted(&self, verifiers: &[Keyturn]) {
        let leases: Api<k8s_openapi::api::coordination::v1::Lease> = self.namespace.api();
        eventually("every verifier holds a Lease", async || {
            let held = leases.list(&kube::api::ListParams::default()).await.map_err(|error| error.to_string())?;
            if held.items.len() > verifiers.len() { Ok(()) } else { Err(format!("{} Leases", held.items.len())) }
        })
        .await;
    }

    /// What the arguments of a verifier in this namespace are.
    pub(super) fn arguments(&self) -> Vec<String> {
        let namespace = self.namespace.name();
        let own = [format!("--namespace={namespace}"), format!("--operator-namespace={namespace}")];
        let further = [USAGE, "--drain-delay=0s"].map(str::to_owned);
        further.into_iter().chain(own).collect()
    }

    pub(super) fn kubeconfig(&self) -> impl AsRef<Path> {
        crate::support::accounts::in_namespace(self.namespace.name(), "verifier")
    }

    pub(super) fn spender(&self, auth: SocketAddr, string: &str) -> Spender {
        Spender { namespace: self.namespace.name().to_owned(), auth, string: string.to_owned(), path: "/one" }
    }

    pub(super) async fn usage_of(&self, key: &str) -> Result<ApiKeyUsage, String> {
        let key = objects(&self.namespace, "ApiKey").get(key).await.map_err(|error| error.to_string())?;
        let name = format!("key-{}", key.uid().expect("an object has a uid"));
        self.namespace.api::<ApiKeyUsage>().get(&name).await.map_err(|error| error.to_string())
    }

    /// The only line in the ledger of a key.
    pub(super) async fn line_of(&self, key: &str) -> LedgerEntry {
        let usage = self.usage_of(key).await.expect("the key has an ApiKeyUsage");
        let mut ledger = usage.status.unwrap_or_default().ledger;
        assert_eq!(ledger.len(), 1, "{ledger:?}");
        ledger.remove(0)
    }
}

/// Presents one string to one verifier.
#[derive(Clone)]
pub(super) struct Spender {
    namespace: String,
    auth: SocketAddr,
    string: String,
    path: &'static str,
}

impl Spender {
    pub(super) fn on(self, path: &'static str) -> Self {
        Self { path, ..self }
    }

    /// What one request is answered: a code, or `ALLOWED`.
    async fn ask(&self, client: &HttpClient) -> Result<String, String> {
        let target = format!("/auth/nginx/{}/transcripts", self.namespace);
        let headers = [
            ("x-original-method", "GET"),
            ("x-original-uri", self.path),
            ("x-real-ip", "127.0.0.1"),
            ("x-api-key", self.string.as_str()),
        ];
        let answer = client.get(&target, &headers).await?;
        if answer.status.is_success() {
            return Ok("ALLOWED".to_owned());
        }
        answer.header("x-auth-code").map(str::to_owned).ok_or_else(|| format!("{answer:?}"))
    }

    /// What one request over a new connection is answered.
    pub(super) async fn once(&self) -> Result<String, String> {
        self.ask(&HttpClient::new(self.auth)).await
    }

    /// Waits until it is answered so.
    pub(super) async fn is_answered(&self, expected: &str) {
        let client = HttpClient::new(self.auth);
        eventually(&format!("a request is answered {expected}"), async || match self.ask(&client).await? {
            code if code == expected => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// Asks over so many connections until each is answered `end`, or does not get an answer any more; how often
    /// there was which answer before.
    pub(super) async fn spend(&self, connections: usize, end: &str) -> Answers {
        let asking = (0..connections).map(|_| async {
            let (client, mut answers) = (HttpClient::new(self.auth), Answers::default());
            while let Ok(code) = self.ask(&client).await {
                if code == end {
                    break;
                }
                answers.add(&code, 1);
            }
            answers
        });
        let all = futures::future::join_all(asking).await;
        all.into_iter().fold(Answers::default(), Answers::and)
    }
}

/// How often there was which answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Answers(BTreeMap<String, u64>);

impl Answers {
    fn add(&mut self, code: &str, times: u64) {
        *self.0.entry(code.to_owned()).or_default() += times;
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        other.0.iter().for_each(|(code, times)| self.add(code, *times));
        self
    }

    pub(super) fn allowed(&self) -> u64 {
        self.0.get("ALLOWED").copied().unwrap_or(0)
    }

    /// Requests that were neither let in nor told that there is no more.
    pub(super) fn unanswered(&self) -> u64 {
        self.0.iter().filter(|(code, _)| *code != "ALLOWED").map(|(_, times)| times).sum()
    }
}
