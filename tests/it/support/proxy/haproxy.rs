//! HAProxy with its script.

use std::process::Command;

use super::Site;
use crate::support::process::tool;

pub(super) fn command(site: &Site) -> Command {
    let mut command = site.command(&tool("haproxy"));
    let client = if site.behind.is_some() { "txn.sf:hdr_ip(\"x-forwarded-for\", -1)" } else { "txn.sf:src()" };
    let script = site.changed("keyturn.lua", &[("txn.sf:src()", client)]);
    command.env("LISTEN", site.listen.to_string()).env("KEYTURN_LUA", script);
    command.args(["-db", "-f"]).arg(site.config("haproxy.cfg"));
    command
}
