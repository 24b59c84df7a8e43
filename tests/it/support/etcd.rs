//! Snapshots of the etcd under a test's own API server, and restores as an administrator makes them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::http::Method;
use k8s_openapi::ByteString;
use rustix::process::{Pid, kill_process, test_kill_process};
use serde_json::Value;

use super::http::HttpClient;
use super::process::{Process, Signal, scratch, tool};
use super::wait::eventually;

/// A server that `tests/cluster/run.sh` runs: how it was started, and in which process.
pub(crate) struct Server {
    name: &'static str,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// The one of this name whose files are in `folder`.
    pub(crate) fn of(name: &'static str, folder: &Path) -> Self {
        let text = read(&folder.join(format!("{name}.arguments")));
        let arguments = text.split_terminator('\0').map(str::to_owned).collect();
        Self { name, folder: folder.to_owned(), arguments }
    }

    /// What was given for an option, as `--option value`.
    fn option(&self, option: &str) -> &str {
        let mut pairs = self.arguments.windows(2);
        let found = pairs.find(|pair| pair[0] == option).map(|pair| pair[1].as_str());
        found.unwrap_or_else(|| panic!("{} is started without {option}", self.name))
    }

    /// Where an etcd listens to clients.
    pub(crate) fn address(&self) -> SocketAddr {
        let url = self.option("--listen-client-urls");
        url.trim_start_matches("http://").parse().expect("etcd listens on an address")
    }

    pub(crate) fn pid(&self) -> Pid {
        let pid = read(&self.folder.join(format!("{}.pid", self.name)));
        pid.parse().ok().and_then(Pid::from_raw).expect("the script writes a process id")
    }

    /// Ends it as a power cut does, and waits until it is gone.
    pub(super) async fn kill(&self) {
        let pid = self.pid();
        kill_process(pid, Signal::KILL).unwrap_or_else(|error| panic!("killing {}: {error}", self.name));
        eventually(&format!("{} is gone", self.name), async || match test_kill_process(pid) {
            Ok(()) => Err("it is still there".to_owned()),
            Err(_) => Ok(()),
        })
        .await;
    }

    /// Starts it with the arguments that it had.
    pub(super) fn start(&self) -> Process {
        Process::start(self.name, &tool(self.name), &self.arguments)
    }
}

/// Takes a snapshot, which is on the disk when this returns.
pub(super) async fn snapshot(etcd: &Server) -> PathBuf {
    let answer = HttpClient::new(etcd.address()).send(Method::POST, "/v3/maintenance/snapshot", &[]).await;
    let answer = answer.unwrap_or_else(|error| panic!("asking etcd for a snapshot: {error}"));
    assert!(answer.status.is_success(), "{answer:?}");
    let mut bytes = Vec::new();
    for message in answer.body.lines() {
        let mut message: Value = serde_json::from_str(message).expect("etcd answers in JSON");
        let blob = message["result"]["blob"].take();
        let ByteString(blob) = serde_json::from_value(blob).expect("a piece of a snapshot is base64");
        bytes.extend(blob);
    }
    let file = scratch("etcd.snapshot");
    std::fs::write(&file, bytes).unwrap_or_else(|error| panic!("writing {}: {error}", file.display()));
    file
}

/// Makes a new data directory of a snapshot, with these further options of `etcdutl snapshot restore`, and has etcd
/// start with that.
pub(super) fn restore(etcd: &mut Server, snapshot: &Path, further: &[&str]) {
    let folder = scratch("etcd");
    let output = Command::new(tool("etcdutl"))
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .arg("--data-dir")
        .arg(&folder)
        .args(["--initial-cluster", etcd.option("--initial-cluster")])
        .args(["--initial-advertise-peer-urls", etcd.option("--initial-advertise-peer-urls")])
        .args(further)
        .output()
        .expect("etcdutl runs");
    assert!(output.status.success(), "etcdutl {further:?}: {}", String::from_utf8_lossy(&output.stderr));
    let data = etcd.arguments.iter().position(|argument| argument == "--data-dir").expect("it has a data directory");
    folder.to_str().expect("the path is text").clone_into(&mut etcd.arguments[data + 1]);
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()))
}
