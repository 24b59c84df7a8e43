//! Traefik with its file provider.

use std::process::Command;

use super::Site;
use crate::support::process::tool;

pub(super) fn command(site: &Site) -> Command {
    let mut command = site.command(&tool("traefik"));
    command.arg(format!("--entrypoints.web.address={}", site.listen));
    command.arg(format!("--providers.file.directory={}", Site::config("traefik").display()));
    command.args(["--providers.file.watch=false", "--log.level=WARN"]);
    command.args(["--global.checknewversion=false", "--global.sendanonymoususage=false"]);
    command
}
