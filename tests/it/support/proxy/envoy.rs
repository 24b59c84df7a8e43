//! Envoy, asking over HTTP.

use std::process::Command;

use super::Site;
use crate::support::envoy::{endpoints, socket_address};
use crate::support::{ports, process::tool};

pub(super) fn command(site: &Site) -> Command {
    let hops = "use_remote_address: true";
    let behind =
        if site.behind.is_some() { "use_remote_address: true\n                xff_num_trusted_hops: 1" } else { hops };
    let service = "http_service:\n";
    let body = "with_request_body: {max_request_bytes: 65536, allow_partial_message: true}";
    let body = format!("{body}\n                      {service}");
    let api = format!("envoy-edge/{}", site.api);
    // The lines that a person is asked to edit, and what the README says to change.
    let file = site.changed(
        "envoy.yaml",
        &[
            ("address: 127.0.0.1, port_value: 9901", &socket_address(ports::free())),
            ("address: 0.0.0.0, port_value: 8000", &socket_address(site.listen)),
            ("envoy-edge/speech/transcripts", &api),
            (
                "address: keyturn-verifier.keyturn-system.svc.cluster.local, port_value: 8080",
                &endpoints(site.verifier, site.also),
            ),
            ("address: transcripts.speech.svc.cluster.local, port_value: 80", &socket_address(site.backend)),
            (hops, behind),
            (service, if site.sends_bodies { &body } else { service }),
        ],
    );
    let mut command = site.command(&tool("envoy"));
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warn", "-c"]).arg(file);
    command
}
