//! HAProxy with its script.

use std::process::Command;

use super::Site;
use crate::support::process::tool;

pub(super) fn command(site: &Site) -> Command {
    let mut command = site.command(&tool("haproxy"));
    command.env("LISTEN", site.listen.to_string()).env("KEYTURN_LUA", Site::config("haproxy/keyturn.lua"));
    command.args(["-db", "-f"]).arg(Site::config("haproxy/haproxy.cfg"));
    command
}
