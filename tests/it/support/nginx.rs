//! A real nginx with a configuration made by the test.

use std::fmt::Write;
use std::fs::Metadata;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::ports;
use super::process::{Process, Signal, scratch, tool};
use super::wait::eventually;

pub(crate) struct Nginx {
    address: SocketAddr,
    process: Process,
}

impl Nginx {
    /// Starts nginx with `http` inside its `http { }`; `{listen}` there becomes the address to listen on.
    pub(crate) async fn start(http: &str) -> Self {
        Self::start_at(ports::free(), http).await
    }

    /// The same, which listens there.
    pub(super) async fn start_at(address: SocketAddr, http: &str) -> Self {
        let folder = scratch("nginx");
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
        let configuration = configuration(&folder, &http.replace("{listen}", &address.to_string()));
        let file = folder.join("main.conf");
        std::fs::write(&file, configuration).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
        let arguments = [Path::new("-e"), Path::new("stderr"), Path::new("-p"), &folder, Path::new("-c"), &file];
        let mut process = Process::start("nginx", &tool("nginx"), arguments);
        eventually("nginx listens", async || {
            if let Some(status) = process.status() {
                return Err(format!("it has ended with {status}: {}", process.log()));
            }
            tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { address, process }
    }

    /// Puts nginx with the configuration in config/ingress/nginx in front of `backend`: keys of the API
    /// `NAMESPACE/NAME` are demanded.
    pub(crate) async fn protecting(api: &str, verifier: SocketAddr, backend: SocketAddr) -> Self {
        Self::start(&Self::protected(";", api, &[verifier], backend)).await
    }

    /// What [`Nginx::protecting`] starts it with. `listening` follows the address in the directive `listen`, up to
    /// whatever follows the semicolon.
    pub(super) fn protected(listening: &str, api: &str, verifiers: &[SocketAddr], backend: SocketAddr) -> String {
        let parts = super::root().join("config/ingress/nginx");
        let parts = parts.display();
        let servers: Vec<_> = verifiers.iter().map(|verifier| format!("server {verifier};")).collect();
        let servers = servers.join(" ");
        format!(
            "upstream keyturn {{ {servers} keepalive 64; }}
            upstream backend {{ server {backend}; keepalive 64; }}
            server {{
                listen {{listen}}{listening}
                set $keyturn_api {api};
                include {parts}/keyturn.conf;
                location / {{ include {parts}/keyturn-protect.conf; proxy_pass http://backend; }}
            }}"
        )
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells it to open its logs anew.
    pub(crate) fn reopen_logs(&self) {
        self.process.signal(Signal::USR1);
    }

    /// Whether all of its processes that have a log open have that one.
    pub(crate) fn has_open(&self, log: &Metadata) -> bool {
        let children = format!("/proc/{0}/task/{0}/children", self.process.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        let mut workers = children.split_whitespace();
        workers.all(|worker| {
            let files = std::fs::read_dir(format!("/proc/{worker}/fd")).into_iter().flatten().flatten();
            let mut files = files.filter_map(|file| std::fs::metadata(file.path()).ok());
            files.any(|file| (file.dev(), file.ino()) == (log.dev(), log.ino()))
        })
    }

    /// What it has written to its error log.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Killed outright, the master would leave its worker behind.
        if self.process.status().is_none() {
            self.process.signal(Signal::TERM);
            self.process.join();
        }
    }
}

/// Every path that nginx writes to lies in `folder`, so that it needs no rights and meets no other nginx.
fn configuration(folder: &Path, http: &str) -> String {
    // Its workers open logs anew themselves, also where only root may enter; others than root ignore it.
    let mut text = String::from("user root;\ndaemon off;\nworker_processes 1;\n");
    let _ = write!(text, "pid {}/nginx.pid;\nerror_log stderr warn;\n", folder.display());
    text.push_str("events { worker_connections 4096; }\nhttp {\naccess_log off;\n");
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "{kind}_temp_path {}/{kind};", folder.display());
    }
    let _ = write!(text, "{http}\n}}\n");
    text
}
