//! Real proxies between a client and an application, configured by config/ingress as it stands.

mod caddy;
mod envoy;
mod haproxy;
mod traefik;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::envoy::{Envoy, endpoints, replaced, socket_address};
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
    /// See [`Options::also`].
    also: Option<SocketAddr>,
    backend: SocketAddr,
    listen: SocketAddr,
    /// See [`Options::behind`].
    behind: Option<IpAddr>,
    /// See [`Options::sends_bodies`].
    sends_bodies: bool,
    /// Its own, for what it writes.
    folder: PathBuf,
}

/// What is other than in the example of config/ingress, as its README says to make it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Where it listens; `None`: somewhere on 127.0.0.1.
    pub(crate) listen: Option<SocketAddr>,
    /// A second verifier.
    pub(crate) also: Option<SocketAddr>,
    /// The proxy before this one, which is believed.
    pub(crate) behind: Option<IpAddr>,
    /// It sends bodies to the verifier, if it can.
    pub(crate) sends_bodies: bool,
    /// It speaks HTTP/2 without TLS. All others do so as they are; nginx then speaks nothing else.
    pub(crate) http2: bool,
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
        Self::start_with(kind, api, verifier, backend, Options::default()).await
    }

    pub(crate) async fn start_with(
        kind: Kind,
        api: &str,
        verifier: SocketAddr,
        backend: SocketAddr,
        options: Options,
    ) -> Self {
        let listen = options.listen.unwrap_or_else(ports::free);
        if kind == Kind::Nginx {
            let real_ip =
                |from| format!("set_real_ip_from {from}; real_ip_header X-Forwarded-For; real_ip_recursive on;");
            let behind = options.behind.map(real_ip).unwrap_or_default();
            let protocol = if options.http2 { " http2" } else { "" };
            let verifiers: Vec<_> = [Some(verifier), options.also].into_iter().flatten().collect();
            let nginx = Nginx::protecting_at(listen, &format!("{protocol}; {behind}"), api, &verifiers, backend).await;
            return Self { address: nginx.address(), _running: Running::Nginx(nginx) };
        }
        if kind == Kind::EnvoyGrpc {
            let changed = |text: String| {
                let text = replaced(&text, "api: speech/transcripts", &format!("api: {api}"));
                let text = replaced(&text, &socket_address(verifier), &endpoints(verifier, options.also));
                if !options.sends_bodies {
                    return text;
                }
                let settings = format!("context_extensions: {{api: {api}}}");
                let body =
                    "with_request_body: {max_request_bytes: 65536, allow_partial_message: true, pack_as_bytes: true}";
                replaced(&text, &settings, &format!("{settings}, {body}"))
            };
            let envoy = Envoy::asking_over_grpc_at(listen, verifier, backend, changed).await;
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
        let Options { also, behind, sends_bodies, .. } = options;
        let site = Site { api: api.to_owned(), verifier, also, backend, listen, behind, sends_bodies, folder };
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

    /// A copy of that file in its own folder, with the parts replaced, which must be there.
    fn changed(&self, path: &str, changes: &[(&str, &str)]) -> PathBuf {
        let file = Self::config(path);
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()));
        let text = changes.iter().fold(text, |text, (part, by)| replaced(&text, part, by));
        let own = self.folder.join(file.file_name().expect("it is a file"));
        std::fs::write(&own, text).unwrap_or_else(|error| panic!("writing {}: {error}", own.display()));
        own
    }
}
