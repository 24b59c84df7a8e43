//! Caddy.

use std::process::Command;

use super::Site;
use crate::support::process::tool;

pub(super) fn command(site: &Site) -> Command {
    let mut command = site.command(&tool("caddy"));
    command.env("BIND", site.listen.ip().to_string()).env("PORT", site.listen.port().to_string());
    command.env("XDG_DATA_HOME", &site.folder).env("XDG_CONFIG_HOME", &site.folder);
    let protocols = "protocols h1 h2c";
    let trusting = site.behind.map(|from| format!("{protocols}\n\t\ttrusted_proxies static {from}/32"));
    let file = site.changed("Caddyfile", &[(protocols, trusting.as_deref().unwrap_or(protocols))]);
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command
}
