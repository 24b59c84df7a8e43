//! Traefik with its file provider.

use std::process::Command;

use super::Site;
use crate::support::process::tool;

pub(super) fn command(site: &Site) -> Command {
    let mut command = site.command(&tool("traefik"));
    command.arg(format!("--entrypoints.web.address={}", site.listen));
    let trust = if site.behind.is_some() { "trustForwardHeader: true" } else { "trustForwardHeader: false" };
    let size = "maxResponseBodySize: 65536";
    let body = format!("{size}\n        forwardBody: true\n        maxBodySize: 65536");
    let body = if site.sends_bodies { body.as_str() } else { size };
    site.changed("keyturn.yaml", &[("trustForwardHeader: false", trust), (size, body)]);
    // It is for another provider, and this one would read it.
    std::fs::remove_file(site.config("kubernetes.yaml")).expect("it is for those who run in a cluster");
    command.arg(format!("--providers.file.directory={}", site.folder.display()));
    if let Some(from) = site.behind {
        command.arg(format!("--entrypoints.web.forwardedHeaders.trustedIPs={from}"));
    }
    command.args(["--providers.file.watch=false", "--log.level=WARN"]);
    command.args(["--global.checknewversion=false", "--global.sendanonymoususage=false"]);
    command
}
