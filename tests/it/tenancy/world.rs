//! A cluster with a platform team, two tenants, and Keyturn at work for all of them.

use axum::http::Method;
use http::Request;
use kube::Client;
use serde_json::{Value, json};

use crate::support::http::HttpClient;
use crate::support::keyturn::Keyturn;
use crate::support::own_cluster::OwnCluster;
use crate::support::process::Signal;
use crate::support::wait::eventually;

/// Who may edit team-a.
const TENANT: &str = "tenant";

/// Where the tenant is at home.
pub(super) const HOME: &str = "team-a";

/// The key of `config/samples/cross-namespace`.
pub(super) const KEY: &str = "uploader";

/// What it may do, and its string is asked about.
pub(super) const WRITE: (&str, &str) = ("POST", "/v1/transcripts/1");

pub(super) struct World {
    /// With every right.
    pub(super) platform: Server,
    pub(super) tenant: Server,
    controller: Option<Keyturn>,
    verifier: Keyturn,
    // Last: the processes go before their API server does.
    _cluster: OwnCluster,
}

/// The API server as one person sees it.
pub(super) struct Server(Client);

/// What the API server answers: the object, or code and message of the refusal.
pub(super) type Answer = Result<Value, (u16, String)>;

impl Server {
    /// Sends a request; a PATCH merges.
    pub(super) async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map_or_else(Vec::new, |body| body.to_string().into_bytes());
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body);
        let answer = self.0.request::<Value>(request.expect("the test gives a valid request")).await;
        answer.map_err(|error| match error {
            kube::Error::Api(status) => (status.code, status.message.clone()),
            other => panic!("{method} {path}: {other}"),
        })
    }

    /// As [`Server::send`], for what must succeed.
    pub(super) async fn must(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.send(method, path, body).await;
        answer.unwrap_or_else(|(code, message)| panic!("{method} {path}: {code} {message}"))
    }

    /// Creates an object of one of our kinds.
    pub(super) async fn create(&self, kind: &str, namespace: &str, name: &str, spec: Value) -> Value {
        let object = ours(kind, name, spec);
        self.must("POST", &path(kind, namespace, ""), Some(&object)).await
    }

    /// Creates a key of the tenant's for speech/transcripts.
    pub(super) async fn create_key(&self, name: &str, claims: &Value) -> Value {
        self.create("ApiKey", HOME, name, key_spec(claims)).await
    }

    /// Deletes an object, and waits until it is gone.
    pub(super) async fn delete(&self, path: &str) {
        self.must("DELETE", path, None).await;
        eventually(&format!("{path} is gone"), async || match self.send("GET", path, None).await {
            Err((404, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}

/// An object of one of our kinds.
pub(super) fn ours(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": "keyturn.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// Where the objects of one of our kinds are, or the one of that name is.
pub(super) fn path(kind: &str, namespace: &str, name: &str) -> String {
    let plural = format!("{}s", kind.to_lowercase());
    let slash = if name.is_empty() { "" } else { "/" };
    format!("/apis/keyturn.dev/v1alpha1/namespaces/{namespace}/{plural}{slash}{name}")
}

/// Where a Secret is, or all of a namespace are.
pub(super) fn secret_path(namespace: &str, name: &str) -> String {
    let slash = if name.is_empty() { "" } else { "/" };
    format!("/api/v1/namespaces/{namespace}/secrets{slash}{name}")
}

/// The spec of a key for speech/transcripts that claims this besides.
fn key_spec(claims: &Value) -> Value {
    let mut spec = json!({"apiRef": {"name": "transcripts", "namespace": "speech"}});
    for (field, value) in claims.as_object().expect("claims are an object") {
        spec[field] = value.clone();
    }
    spec
}

impl World {
    pub(super) async fn start() -> Self {
        let cluster = OwnCluster::start().await;
        cluster.kubectl(&["apply", "--server-side", "-k", "config/rbac"]);
        cluster.kubectl(&["apply", "--server-side", "-f", "config/samples/cross-namespace"]);
        for tenant in [(TENANT, HOME), ("neighbour", "team-b")] {
            bind(&cluster, tenant);
        }
        let platform = Server(cluster.client(None).await);
        let tenant = Server(cluster.client(Some(TENANT)).await);
        furnish(&platform).await;
        // The roles of config/rbac become part of `edit` a moment after they are there.
        eventually("the tenant has its rights", async || {
            let answer = tenant.send("GET", &path("ApiKey", HOME, ""), None).await;
            answer.map(drop).map_err(|(code, message)| format!("{code} {message}"))
        })
        .await;
        let controller = Keyturn::start_as("controller", &cluster.account("keyturn-system", "keyturn-controller"), &[]);
        let verifier = cluster.account("keyturn-system", "keyturn-verifier");
        let verifier = Keyturn::start_as("verifier", &verifier, &["--drain-delay=0s"]);
        let mut world = Self { platform, tenant, controller: Some(controller), verifier, _cluster: cluster };
        for process in world.controller.iter_mut().chain([&mut world.verifier]) {
            process.ready().await;
        }
        world
    }

    pub(super) async fn stop_controller(&mut self) {
        let mut controller = self.controller.take().expect("the controller runs");
        controller.signal(Signal::TERM);
        controller.process().ended().await;
    }

    /// The string of a key, as whoever may read its Secret has it.
    pub(super) async fn string(&self, namespace: &str, secret: &str) -> String {
        let what = format!("{namespace}/{secret} holds a string");
        let secret = eventually(&what, async || {
            let answer = self.platform.send("GET", &secret_path(namespace, secret), None).await;
            answer.map_err(|(code, message)| format!("{code} {message}"))
        })
        .await;
        let encoded = secret.pointer("/data/api-key").and_then(Value::as_str).expect("the Secret holds a string");
        let bytes: k8s_openapi::ByteString = serde_json::from_value(json!(encoded)).expect("it is base64");
        String::from_utf8(bytes.0).expect("a string is text")
    }

    /// What the verifier answers about a request to speech/transcripts: `OK`, or the code of the refusal.
    pub(super) async fn ask(&self, string: &str, (method, uri): (&str, &str)) -> Result<String, String> {
        let credential = format!("Bearer {string}");
        let headers = [
            ("x-original-method", method),
            ("x-original-uri", uri),
            ("x-real-ip", "127.0.0.1"),
            ("authorization", &credential),
        ];
        let answer =
            HttpClient::new(self.verifier.auth()).send(Method::GET, "/auth/nginx/speech/transcripts", &headers).await?;
        match (answer.status.as_u16(), answer.header("x-auth-code")) {
            (200, None) => Ok("OK".to_owned()),
            (_, Some(code)) => Ok(code.to_owned()),
            _ => Err(format!("{answer:?}")),
        }
    }

    /// Waits until the verifier answers that.
    pub(super) async fn becomes(&self, what: &str, string: &str, request: (&str, &str), expected: &str) {
        eventually(&format!("{what}: the verifier answers {expected}"), async || {
            let answer = self.ask(string, request).await?;
            if answer == expected { Ok(()) } else { Err(answer) }
        })
        .await;
    }

    /// Waits until the tenant's key of the samples is let in.
    pub(super) async fn expect_usable(&self, what: &str) {
        let string = self.string(HOME, KEY).await;
        self.becomes(what, &string, WRITE, "OK").await;
    }

    /// Waits until the controller has told what it makes of an object of our kinds as it is now, and that is `reason`;
    /// answers the whole object.
    pub(super) async fn judged(&self, kind: &str, namespace: &str, name: &str, reasons: &[&str]) -> Value {
        eventually(&format!("{kind} {namespace}/{name} is {}", reasons.join(" or ")), async || {
            let object = self.platform.send("GET", &path(kind, namespace, name), None).await;
            let object = object.map_err(|(code, message)| format!("{code} {message}"))?;
            let accepted = accepted(&object);
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let expected = accepted["reason"].as_str().is_some_and(|reason| reasons.contains(&reason));
            if current && expected { Ok(object) } else { Err(accepted.to_string()) }
        })
        .await
    }

    /// Waits until a key of the tenant's can be used, and answers its string.
    pub(super) async fn active(&self, name: &str) -> String {
        eventually(&format!("{name} is active"), async || {
            let key = self.platform.must("GET", &path("ApiKey", HOME, name), None).await;
            if key["status"]["state"] == "Active" { Ok(()) } else { Err(key["status"].to_string()) }
        })
        .await;
        self.string(HOME, name).await
    }
}

/// The `Accepted` of an object.
pub(super) fn accepted(object: &Value) -> &Value {
    let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    conditions.iter().find(|condition| condition["type"] == "Accepted").unwrap_or(&Value::Null)
}

fn bind(cluster: &OwnCluster, (user, namespace): (&str, &str)) {
    if namespace != HOME {
        cluster.kubectl(&["create", "namespace", namespace]);
    }
    let user = format!("--user={user}");
    cluster.kubectl(&["create", "rolebinding", "tenants", "--clusterrole=edit", &user, "--namespace", namespace]);
}

/// What there is besides the samples: more than the tenant was granted, and a neighbour's key.
async fn furnish(platform: &Server) {
    let team_b = json!({"metadata": {"labels": {"team": "b"}}});
    platform.must("PATCH", "/api/v1/namespaces/team-b", Some(&team_b)).await;
    let enterprise = json!({"rateLimits": [{"name": "requests", "limit": 1_000_000, "window": "1m"}]});
    let neighbours = json!({"namespaces": ["team-b"]});
    let grant = |name: &str, team: &str, rest: Value| {
        let mut grant = json!({"name": name, "from": {"selector": {"matchLabels": {"team": team}}}});
        rest.as_object().expect("a grant is an object").iter().for_each(|(field, value)| grant[field] = value.clone());
        grant
    };
    let everything = json!({"scopes": ["*"], "roles": ["admin"], "tiers": ["enterprise"], "owners": "Declared"});
    for (kind, name, spec) in [
        ("ApiKeyTier", "enterprise", enterprise),
        ("ApiKeyRole", "admin", json!({"scopes": ["*"]})),
        ("ApiKeyOwner", "neighbour", neighbours),
        ("ProtectedApi", "internal", json!({})),
        ("ProtectedApi", "rich", json!({"grants": [grant("team-b", "b", everything)]})),
        (
            "ProtectedApi",
            "generous",
            json!({
                "defaults": {"scopes": ["*"]}, "defaultTier": "enterprise",
                "grants": [grant("team-a", "a", json!({"scopes": ["read"], "tiers": ["free"]}))],
            }),
        ),
        (
            "ProtectedApi",
            "bundles",
            json!({"grants": [
                grant("writers", "a", json!({"scopes": ["write"], "tiers": ["free"]})),
                grant("readers", "a", json!({"scopes": ["read"], "tiers": ["pro"]})),
            ]}),
        ),
    ] {
        platform.create(kind, "speech", name, spec).await;
    }
    create_latecomer(platform).await;
    let theirs = json!({"apiRef": {"name": "rich", "namespace": "speech"}, "tier": "enterprise", "owner": "neighbour"});
    platform.create("ApiKey", "team-b", "ci", theirs).await;
}

/// An owner that lists the tenant's namespace, but whose external id an older one has.
async fn create_latecomer(platform: &Server) {
    let elder = platform.must("GET", &path("ApiKeyOwner", "speech", "neighbour"), None).await;
    let created_at = |owner: &Value| owner["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    eventually("the latecomer is a second younger", async || {
        let spec = json!({"externalId": "neighbour", "namespaces": [HOME]});
        let latecomer = platform.create("ApiKeyOwner", "speech", "latecomer", spec).await;
        if created_at(&latecomer) > created_at(&elder) {
            return Ok(());
        }
        platform.delete(&path("ApiKeyOwner", "speech", "latecomer")).await;
        Err("as old as the other".to_owned())
    })
    .await;
}
