//! A namespace with an API and its keys, two verifiers of which one takes reports, and an nginx that writes what the shipper
//! reads.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::core::v1::Secret;
use keyturn::resources::ApiKeyUsage;
use keyturn::resources::apikeyusage::{Bytes, Usage};
use kube::api::DynamicObject;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::apply::{apply_spec, field, objects};
use crate::support::backend::Backend;
use crate::support::cluster::Namespace;
use crate::support::keyturn::Keyturn;
use crate::support::nginx::Nginx;
use crate::support::ports;
use crate::support::process::{Process, scratch};
use crate::support::root;
use crate::support::wait::eventually;

pub(super) const TOKEN: &str = "correct-horse-battery-staple-4711";

const OFTEN: &str = "--usage-interval=1s";

/// What was sent and received, as a client counts it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Sizes {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl std::ops::Add for Sizes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { sent: self.sent + other.sent, received: self.received + other.received }
    }
}

pub(super) struct World {
    pub(super) namespace: Namespace,
    pub(super) log: PathBuf,
    /// Where reports are taken.
    pub(super) reports: SocketAddr,
    pub(super) token: PathBuf,
    pub(super) nginx: Nginx,
    pub(super) backend: Backend,
    _judging: Keyturn,
    _controller: Keyturn,
}

impl World {
    /// With keys of these names.
    pub(super) async fn new(keys: &[&str]) -> Self {
        let namespace = Namespace::create().await;
        let mut controller = Keyturn::start("controller", &namespace, &["--leader-lease=2s"]);
        controller.ready().await;
        let mut judging = Keyturn::start("verifier", &namespace, &[OFTEN, "--drain-delay=0s"]);
        judging.ready().await;
        let (log, backend) = (scratch("nginx-log").join("keyturn.log"), Backend::start().await);
        // Its worker is another user, who opens the log anew when it was moved away.
        std::fs::create_dir(log.parent().expect("it is in a directory"))
            .expect("the folder for tests can be written to");
        let nginx = nginx(namespace.name(), judging.auth(), backend.address(), &log).await;
        let (reports, token) = (ports::free(), file(TOKEN));
        let world = Self { namespace, log, reports, token, nginx, backend, _judging: judging, _controller: controller };
        world.apply("ProtectedApi", "transcripts", json!({"credentials": [{"header": "X-API-Key"}]})).await;
        for key in keys {
            world.apply("ApiKey", key, json!({"apiRef": {"name": "transcripts"}})).await;
        }
        for key in keys {
            world.key_when(key, "a string", |key| field(key, "/status/state") == "Active").await;
        }
        world
    }

    async fn apply(&self, kind: &str, name: &str, spec: Value) {
        apply_spec(&self.namespace, kind, name, &spec).await;
    }

    async fn key_when(&self, key: &str, what: &str, holds: impl Fn(&DynamicObject) -> bool) -> DynamicObject {
        eventually(&format!("the key {key} has {what}"), async || {
            let key = objects(&self.namespace, "ApiKey").get(key).await.map_err(|error| error.to_string())?;
            if holds(&key) { Ok(key) } else { Err(field(&key, "/status").to_string()) }
        })
        .await
    }

    /// `status.id` of a key.
    pub(super) async fn id(&self, key: &str) -> String {
        let key = self.key_when(key, "an id", |key| field(key, "/status/id").is_string()).await;
        field(&key, "/status/id").as_str().expect("it is text").to_owned()
    }

    pub(super) async fn string(&self, key: &str) -> String {
        let secrets: Api<Secret> = self.namespace.api();
        let data = secrets.get(key).await.expect("the key has a Secret").data.expect("the Secret has data");
        String::from_utf8(data["api-key"].0.clone()).expect("a string is text")
    }

    /// A verifier that takes reports from whoever shows the token.
    pub(super) async fn receiver(&self) -> Keyturn {
        self.receiver_with(&[&format!("--report-token-file={}", self.token.display())]).await
    }

    /// A verifier that takes reports.
    pub(super) async fn receiver_with(&self, further: &[&str]) -> Keyturn {
        let listen = format!("--report-listen={}", self.reports);
        let arguments = [&[OFTEN, "--drain-delay=0s", &listen], further].concat();
        let mut receiver = Keyturn::start("verifier", &self.namespace, &arguments);
        receiver.ready().await;
        receiver
    }

    /// A shipper that shows the token.
    pub(super) fn shipper(&self) -> Process {
        self.shipper_to(self.reports, &["--interval=1s"])
    }

    /// A shipper that shows the token there.
    pub(super) fn shipper_to(&self, reports: SocketAddr, further: &[&str]) -> Process {
        let (to, token) = (format!("--to=http://{reports}"), format!("--token-file={}", self.token.display()));
        self.ship(&[&[to.as_str(), &token], further].concat())
    }

    /// A shipper with these arguments.
    pub(super) fn ship(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyturn"));
        command.args(["ship-nginx-log", "--file"]).arg(&self.log).args(arguments);
        Process::spawn("shipper", command)
    }

    /// Sends requests with that string and these header fields through nginx, and answers what went over the wire.
    pub(super) async fn requests(&self, string: &str, further: &str, times: usize) -> Sizes {
        requests(self.nginx.address(), string, further, times).await
    }

    /// Sends these bytes to nginx, which have to be answered so.
    pub(super) async fn exchange(&self, request: &str, status: &str) -> Sizes {
        exchange(self.nginx.address(), request, status).await
    }

    pub(super) async fn usage(&self, key: &str) -> Result<Usage, String> {
        let key = objects(&self.namespace, "ApiKey").get(key).await.map_err(|error| error.to_string())?;
        let name = format!("key-{}", key.uid().expect("an object has a uid"));
        let usages: Api<ApiKeyUsage> = self.namespace.api();
        let usage = usages.get(&name).await.map_err(|error| error.to_string())?;
        Ok(usage.status.and_then(|status| status.usage).unwrap_or_default())
    }

    /// What a key's ApiKeyUsage says has gone through.
    pub(super) async fn total(&self, key: &str) -> Result<Sizes, String> {
        let Bytes { in_bytes, out_bytes } = self.usage(key).await?.bandwidth.unwrap_or_default().total;
        Ok(Sizes { sent: in_bytes, received: out_bytes })
    }

    /// Waits until a key's ApiKeyUsage says so.
    pub(super) async fn total_becomes(&self, key: &str, expected: Sizes) {
        eventually(&format!("{expected:?} of {key} are told"), async || match self.total(key).await? {
            total if total == expected => Ok(()),
            total => Err(format!("{total:?}")),
        })
        .await;
    }

    /// Waits until a shipper has found the log.
    pub(super) async fn shipper_has_noted_its_place(&self) {
        eventually("a shipper has noted its place", async || {
            let state = format!("{}.shipped", self.log.display());
            std::fs::metadata(state).map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// Moves the log away, as logrotate does, before nginx is told.
    pub(super) fn move_log(&self, suffix: &str) {
        let moved = format!("{}{suffix}", self.log.display());
        std::fs::rename(&self.log, moved).expect("the log can be moved");
    }

    /// Tells nginx to open its log anew, and waits until it has.
    pub(super) async fn reopen_log(&self) {
        self.nginx.reopen_logs();
        eventually("nginx has opened its log", async || {
            // The master makes it, and the worker opens it after that.
            let log = std::fs::metadata(&self.log).map_err(|error| error.to_string())?;
            if self.nginx.has_open(&log) { Ok(()) } else { Err("the worker writes to the old one".to_owned()) }
        })
        .await;
    }
}

/// Sends requests with that string and these header fields through that proxy, and answers what went over the wire.
pub(super) async fn requests(proxy: SocketAddr, string: &str, further: &str, times: usize) -> Sizes {
    let mut all = Sizes::default();
    for number in 0..times {
        let pad = "x".repeat(37 * number);
        let request = format!(
            "GET /read/{pad} HTTP/1.1\r\nHost: api\r\nX-API-Key: {string}\r\n{further}X-Pad: {pad}\r\nConnection: close\r\n\r\n"
        );
        all = all + exchange(proxy, &request, "HTTP/1.1 200 ").await;
    }
    all
}

/// Sends these bytes to a proxy, which have to be answered so.
pub(super) async fn exchange(proxy: SocketAddr, request: &str, status: &str) -> Sizes {
    let mut stream = TcpStream::connect(proxy).await.expect("the proxy listens");
    stream.write_all(request.as_bytes()).await.expect("the proxy reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("the proxy answers");
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with(status), "{text}");
    let size = |bytes: &[u8]| u64::try_from(bytes.len()).expect("it is small");
    Sizes { sent: size(request.as_bytes()), received: size(&answer) }
}

async fn nginx(namespace: &str, verifier: SocketAddr, backend: SocketAddr, log: &Path) -> Nginx {
    let parts = root().join("config/ingress/nginx");
    let (parts, log) = (parts.display(), log.display());
    Nginx::start(&format!(
        "include {parts}/keyturn-log.conf;
        upstream keyturn {{ server {verifier}; keepalive 64; }}
        upstream backend {{ server {backend}; keepalive 64; }}
        server {{
            listen {{listen}};
            set $keyturn_api {namespace}/transcripts;
            include {parts}/keyturn.conf;
            access_log {log} keyturn_bandwidth if=$keyturn_id;
            location /open/ {{ proxy_pass http://backend; }}
            location / {{ include {parts}/keyturn-protect.conf; proxy_pass http://backend; }}
        }}"
    ))
    .await
}

/// A file with that text.
pub(super) fn file(text: &str) -> PathBuf {
    let path = scratch("file");
    std::fs::write(&path, text).expect("the folder for tests can be written to");
    path
}

/// The value of a counter of a verifier; 0 if it has never counted.
pub(super) async fn counter(verifier: &Keyturn, name: &str) -> Result<f64, String> {
    let text = verifier.health().get("/metrics", &[]).await?.body;
    Ok(text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or_default())
}
