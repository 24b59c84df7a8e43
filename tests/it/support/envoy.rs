//! A real Envoy with a configuration of config/ingress.

use std::net::SocketAddr;
use std::path::Path;

use super::ports;
use super::process::{Process, scratch, tool};
use super::wait::eventually;

pub(crate) struct Envoy {
    address: SocketAddr,
    process: Process,
}

impl Envoy {
    /// Starts Envoy with `config/ingress/envoy-grpc/envoy.yaml`, whose three addresses become its own, the verifier's and
    /// the backend's; `change` may change the text further.
    pub(crate) async fn asking_over_grpc(
        verifier: SocketAddr,
        backend: SocketAddr,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        Self::asking_over_grpc_at(ports::free(), verifier, backend, change).await
    }

    /// The same, which listens there.
    pub(crate) async fn asking_over_grpc_at(
        own: SocketAddr,
        verifier: SocketAddr,
        backend: SocketAddr,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let file = super::root().join("config/ingress/envoy-grpc/envoy.yaml");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()));
        let mut text = text;
        for (example, address) in [
            ("address: 0.0.0.0, port_value: 8000", own),
            ("address: keyturn-verifier.keyturn-system.svc.cluster.local, port_value: 9090", verifier),
            ("address: transcripts.speech.svc.cluster.local, port_value: 80", backend),
        ] {
            text = replaced(&text, example, &socket_address(address));
        }
        Self::start(&change(text), own).await
    }

    async fn start(configuration: &str, address: SocketAddr) -> Self {
        let folder = scratch("envoy");
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
        let file = folder.join("envoy.yaml");
        std::fs::write(&file, configuration).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
        let arguments = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "-c"].map(Path::new);
        let arguments = arguments.into_iter().chain([&*file]);
        let mut process = Process::start("envoy", &tool("envoy"), arguments);
        eventually("Envoy listens", async || {
            if let Some(status) = process.status() {
                return Err(format!("it has ended with {status}: {}", process.log()));
            }
            tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { address, process }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has written: warnings and the access log.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }
}

/// As it stands in Envoy's configuration.
pub(crate) fn socket_address(address: SocketAddr) -> String {
    let (ip, port) = (address.ip(), address.port());
    if address.is_ipv4() {
        format!("address: {ip}, port_value: {port}")
    } else {
        format!("address: \"{ip}\", port_value: {port}")
    }
}

/// One endpoint of a cluster, or two, in place of one's address.
pub(crate) fn endpoints(first: SocketAddr, second: Option<SocketAddr>) -> String {
    let more =
        |second| format!("}}}}}}\n              - endpoint: {{address: {{socket_address: {{{}", socket_address(second));
    socket_address(first) + &second.map(more).unwrap_or_default()
}

/// With `part`, which must be there, replaced.
pub(crate) fn replaced(text: &str, part: &str, by: &str) -> String {
    assert!(text.contains(part), "the configuration has no {part:?}");
    text.replace(part, by)
}
