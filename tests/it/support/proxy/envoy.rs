//! Envoy, asking over HTTP.

use std::net::SocketAddr;
use std::process::Command;

use super::Site;
use crate::support::{ports, process::tool};

pub(super) fn command(site: &Site) -> Command {
    let file = Site::config("envoy-http/envoy.yaml");
    let mut text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()));
    let at = |address: SocketAddr| format!("address: {}, port_value: {}", address.ip(), address.port());
    // The lines that a person is asked to edit.
    for (from, to) in [
        ("address: 127.0.0.1, port_value: 9901", at(ports::free())),
        ("address: 0.0.0.0, port_value: 8000", at(site.listen)),
        ("envoy-edge/speech/transcripts", format!("envoy-edge/{}", site.api)),
        ("address: keyturn-verifier.keyturn-system.svc.cluster.local, port_value: 8080", at(site.verifier)),
        ("address: transcripts.speech.svc.cluster.local, port_value: 80", at(site.backend)),
    ] {
        assert!(text.contains(from), "{} is not as it was: {from}", file.display());
        text = text.replace(from, &to);
    }
    let own = site.folder.join("envoy.yaml");
    std::fs::write(&own, text).unwrap_or_else(|error| panic!("writing {}: {error}", own.display()));
    let mut command = site.command(&tool("envoy"));
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "-c"]).arg(own);
    command
}
