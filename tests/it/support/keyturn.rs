//! The program under test, as processes that watch one namespace and keep their own objects there too, so
//! that tests do not meet.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::accounts;
use super::cluster::Namespace;
use super::http::HttpClient;
use super::ports;
use super::process::{Process, Signal};
use super::wait::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_keyturn");

/// A `keyturn controller`, `keyturn verifier` or `keyturn all`.
pub(crate) struct Keyturn {
    auth: SocketAddr,
    health: HttpClient,
    process: Process,
}

impl Keyturn {
    /// Starts a controller and waits until it is ready.
    pub(crate) async fn controller(namespace: &Namespace) -> Self {
        let mut started = Self::start("controller", namespace, &[]);
        started.ready().await;
        started
    }

    /// Starts a verifier, which may have to wait for the controller before it is [`Keyturn::ready`].
    pub(crate) fn verifier(namespace: &Namespace) -> Self {
        Self::start("verifier", namespace, &[])
    }

    /// As [`Keyturn::verifier`], with further arguments and an auth port that the test has chosen.
    pub(crate) fn verifier_at(namespace: &Namespace, auth: SocketAddr, further: &[&str]) -> Self {
        let (only, own) =
            (format!("--namespace={}", namespace.name()), format!("--operator-namespace={}", namespace.name()));
        let arguments = [&[only.as_str(), &own], further].concat();
        Self::start_listening("verifier", auth, &accounts::in_namespace(namespace.name(), "verifier"), &arguments, [])
    }

    /// `keyturn ROLE` with these further arguments, under an account with the rights of `config/rbac`.
    pub(crate) fn start(role: &str, namespace: &Namespace, further: &[&str]) -> Self {
        let only = format!("--namespace={}", namespace.name());
        let own = format!("--operator-namespace={}", namespace.name());
        let arguments: Vec<&str> = [only.as_str(), &own].into_iter().chain(further.iter().copied()).collect();
        Self::start_as(role, &accounts::in_namespace(namespace.name(), role), &arguments)
    }

    /// `keyturn ROLE` under the account of that kubeconfig; for a whole cluster, unless told otherwise.
    pub(crate) fn start_as(role: &str, kubeconfig: &Path, further: &[&str]) -> Self {
        Self::start_in(role, kubeconfig, further, [])
    }

    /// As [`Keyturn::start_as`], in an environment with these variables too.
    pub(crate) fn start_in<const N: usize>(
        role: &str,
        kubeconfig: &Path,
        further: &[&str],
        environment: [(&str, OsString); N],
    ) -> Self {
        Self::start_listening(role, ports::free(), kubeconfig, further, environment)
    }

    fn start_listening<const N: usize>(
        role: &str,
        auth: SocketAddr,
        kubeconfig: &Path,
        further: &[&str],
        environment: [(&str, OsString); N],
    ) -> Self {
        let health = ports::free();
        let mut command = Command::new(PROGRAM);
        command.env("KUBECONFIG", kubeconfig).envs(environment).arg(role).arg(format!("--health-listen={health}"));
        if role != "controller" {
            command.arg(format!("--auth-listen={auth}"));
        }
        command.args(further);
        Self { auth, health: HttpClient::new(health), process: Process::spawn(role, command) }
    }

    /// Waits until its readiness endpoint answers 200.
    pub(crate) async fn ready(&mut self) {
        eventually("keyturn is ready", async || {
            if let Some(status) = self.process.status() {
                return Err(format!("it has ended with {status}"));
            }
            let answer = self.health.get("/readyz", &[]).await?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.body) }
        })
        .await;
    }

    /// Where a verifier answers proxies.
    pub(crate) fn auth(&self) -> SocketAddr {
        self.auth
    }

    /// Its health and metrics port.
    pub(crate) fn health(&self) -> &HttpClient {
        &self.health
    }

    /// The value of this metric now.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64, String> {
        let text = self.health.get("/metrics", &[]).await?.body;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| format!("{name} is not in\n{text}"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
