//! Real proxies between a client and an application, configured by config/ingress as it stands.

mod caddy;
mod envoy;
mod haproxy;
mod traefik;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::envoy::{Envoy, replaced};
use super::http::HttpClient;
use super::nginx::Nginx;
use super::process::{Process, scratch};
use super::wait::eventually;
use super::{ports, root};

/// Which proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Nginx,
    Traefik,
    Caddy,
    Haproxy,
    Envoy,
    /// Envoy, asking over gRPC.
    EnvoyGrpc,
}

/// What a proxy stands between.
struct Site {
    /// `NAMESPACE/NAME`
    api: String,
    verifier: SocketAddr,
    backend: SocketAddr,
    listen: SocketAddr,
    /// Its own, for what it writes.
    folder: PathBuf,
}

/// A proxy that demands keys of one API. Gone when dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    _running: Running,
}

#[expect(dead_code, reason = "held until dropped")]
enum Running {
    Nginx(Nginx),
    Envoy(Envoy),
    Other(Process),
}

impl Proxy {
    /// Starts it and waits until it asks the verifier.
    pub(crate) async fn start(kind: Kind, api: &str, verifier: SocketAddr, backend: SocketAddr) -> Self {
        if kind == Kind::Nginx {
            let nginx = Nginx::protecting(api, verifier, backend).await;
            return Self { address: nginx.address(), _running: Running::Nginx(nginx) };
        }
        if kind == Kind::EnvoyGrpc {
            let named = |text: String| replaced(&text, "api: speech/transcripts", &format!("api: {api}"));
            let envoy = Envoy::asking_over_grpc(verifier, backend, named).await;
            let address = envoy.address();
            eventually("Envoy asks the verifier", async || {
                let answer = HttpClient::new(address).get("/", &[]).await?;
                if answer.body.contains("\"code\"") || answer.status == 200 { Ok(()) } else { Err(envoy.log()) }
            })
            .await;
            return Self { address, _running: Running::Envoy(envoy) };
        }
        let folder = scratch(&format!("{kind:?}"));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
        let site = Site { api: api.to_owned(), verifier, backend, listen: ports::free(), folder };
        let command = match kind {
            Kind::Nginx | Kind::Traefik => traefik::command(&site),
            Kind::Caddy => caddy::command(&site),
            Kind::Haproxy => haproxy::command(&site),
            Kind::Envoy | Kind::EnvoyGrpc => envoy::command(&site),
        };
        let mut process = Process::spawn(&format!("{kind:?}"), command);
        let client = HttpClient::new(site.listen);
        eventually(&format!("{kind:?} asks the verifier"), async || {
            if let Some(status) = process.status() {
                return Err(format!("it has ended with {status}: {}", process.log()));
            }
            // Traefik listens before it knows its routes.
            let answer = client.get("/", &[]).await?;
            let is_verdict = answer.body.contains("\"code\"");
            if answer.status == 404 && !is_verdict { Err(process.log()) } else { Ok(()) }
        })
        .await;
        Self { address: site.listen, _running: Running::Other(process) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Site {
    /// A program with what config/ingress expects in the environment.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KEYTURN_AUTH", self.verifier.to_string());
        command.env("KEYTURN_API", &self.api).env("BACKEND", self.backend.to_string());
        command
    }

    fn config(path: &str) -> PathBuf {
        root().join("config/ingress").join(path)
    }
}
