//! Real proxies between a client and an application, configured by config/ingress as it stands.

mod caddy;
mod envoy;
mod haproxy;
mod traefik;

use std::io;
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

impl Kind {
    /// Its folder of config/ingress, and the file there that a person edits.
    fn edited(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx", "nginx.conf"),
            Self::Traefik => ("traefik", "site.yaml"),
            Self::Caddy => ("caddy", "Caddyfile"),
            Self::Haproxy => ("haproxy", "haproxy.cfg"),
            Self::Envoy => ("envoy-http", "envoy.yaml"),
            Self::EnvoyGrpc => ("envoy-grpc", "envoy.yaml"),
        }
    }
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
    /// Its own, with a copy of its folder of config/ingress.
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
        Self::start_edited(kind, api, verifier, backend, options, |text| text).await
    }

    /// The same, with `edit` of the configuration that a person is asked to edit.
    pub(crate) async fn start_edited(
        kind: Kind,
        api: &str,
        verifier: SocketAddr,
        backend: SocketAddr,
        options: Options,
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let listen = options.listen.unwrap_or_else(ports::free);
        if kind == Kind::Nginx {
            let real_ip =
                |from| format!("set_real_ip_from {from}; real_ip_header X-Forwarded-For; real_ip_recursive on;");
            let behind = options.behind.map(real_ip).unwrap_or_default();
            let protocol = if options.http2 { " http2" } else { "" };
            let verifiers: Vec<_> = [Some(verifier), options.also].into_iter().flatten().collect();
            let http = Nginx::protected(&format!("{protocol}; {behind}"), api, &verifiers, backend);
            let nginx = Nginx::start_at(listen, &edit(http)).await;
            return Self { address: nginx.address(), _running: Running::Nginx(nginx) };
        }
        if kind == Kind::EnvoyGrpc {
            let changed = |text: String| {
                let text = replaced(&text, "api: speech/transcripts", &format!("api: {api}"));
                let text = replaced(&text, &socket_address(verifier), &endpoints(verifier, options.also));
                if !options.sends_bodies {
                    return edit(text);
                }
                let settings = format!("context_extensions: {{api: {api}}}");
                let body =
                    "with_request_body: {max_request_bytes: 65536, allow_partial_message: true, pack_as_bytes: true}";
                edit(replaced(&text, &settings, &format!("{settings}, {body}")))
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
        let folder = copied(kind);
        let Options { also, behind, sends_bodies, .. } = options;
        let site = Site { api: api.to_owned(), verifier, also, backend, listen, behind, sends_bodies, folder };
        let command = match kind {
            Kind::Nginx | Kind::Traefik => traefik::command(&site),
            Kind::Caddy => caddy::command(&site),
            Kind::Haproxy => haproxy::command(&site),
            Kind::Envoy | Kind::EnvoyGrpc => envoy::command(&site),
        };
        rewrite(&site.config(kind.edited().1), edit);
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

    /// A file of its configuration.
    fn config(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// That file with the parts replaced, which must be there.
    fn changed(&self, name: &str, changes: &[(&str, &str)]) -> PathBuf {
        let file = self.config(name);
        rewrite(&file, |text| changes.iter().fold(text, |text, (part, by)| replaced(&text, part, by)));
        file
    }
}

/// A folder with that proxy's configuration.
fn copied(kind: Kind) -> PathBuf {
    let (original, own) = (root().join("config/ingress").join(kind.edited().0), scratch(&format!("{kind:?}")));
    let done = |result: io::Result<_>| result.unwrap_or_else(|error| panic!("copying to {}: {error}", own.display()));
    done(std::fs::create_dir(&own));
    let files = std::fs::read_dir(&original).unwrap_or_else(|error| panic!("reading {}: {error}", original.display()));
    for file in files {
        let file = file.expect("the folder can be read");
        done(std::fs::copy(file.path(), own.join(file.file_name())).map(drop));
    }
    own
}

fn rewrite(file: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()));
    std::fs::write(file, change(text)).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
}
