//! An API server of a test's own, for what concerns a cluster as a whole: accounts, and more than one namespace.

use std::path::{Path, PathBuf};
use std::process::Command;

use http::Request;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::accounts::log_in;
use super::etcd::{self, Server};
use super::process::{Process, Signal, scratch, tool};
use super::program::printed;
use super::root;
use super::wait::eventually;

/// Two at a time beside the common one: each takes as much of the machine as that.
static ROOM: Semaphore = Semaphore::const_new(2);

/// Runs until it is dropped. The environment's `CLUSTER` counts for nothing: nobody else's cluster is touched.
pub(crate) struct OwnCluster {
    process: Process,
    kubeconfig: PathBuf,
    /// Servers that were started again after a restore.
    restored: Vec<Process>,
    /// Last: given back when everything has ended.
    _room: SemaphorePermit<'static>,
}

impl OwnCluster {
    /// Starts one with our kinds, and nothing else, in it.
    pub(crate) async fn start() -> Self {
        let room = ROOM.acquire().await.expect("it is never closed");
        let told = scratch("kubeconfig-path");
        let tell = r#"printf '%s' "$KUBECONFIG" >"$0.part" && mv "$0.part" "$0" && exec sleep infinity"#;
        let mut command = Command::new(root().join("tests/cluster/run.sh"));
        command.env_remove("CLUSTER").args(["bash", "-c", tell]).arg(&told);
        let mut process = Process::spawn("cluster", command);
        let kubeconfig = eventually("a cluster of the test's own is ready", async || {
            if let Some(status) = process.status() {
                return Err(format!("it has ended with {status}"));
            }
            std::fs::read_to_string(&told).map(PathBuf::from).map_err(|error| error.to_string())
        })
        .await;
        Self { process, kubeconfig, restored: Vec::new(), _room: room }
    }

    /// A client that the API server takes for `user`; for its administrator without one.
    pub(crate) async fn client(&self, user: Option<&str>) -> Client {
        let mut config = Config::from_custom_kubeconfig(self.kubeconfig(), &KubeConfigOptions::default())
            .await
            .expect("the cluster's kubeconfig is complete");
        config.auth_info.impersonate = user.map(str::to_owned);
        Client::try_from(config).expect("a kubeconfig of the test cluster makes a client")
    }

    /// A kubeconfig that logs in as a ServiceAccount, by a token.
    pub(crate) fn account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.kubectl(&["create", "token", name, "--namespace", namespace]);
        let file = scratch(&format!("{name}.kubeconfig"));
        log_in(self.kubeconfig(), token.trim(), &file);
        file
    }

    /// What etcd holds now, for [`OwnCluster::restore`].
    pub(crate) async fn snapshot(&self) -> PathBuf {
        etcd::snapshot(&self.server("etcd")).await
    }

    /// Stops API server and etcd, restores etcd from a snapshot with these further options of `etcdutl`, and starts
    /// both again. Can be done once.
    pub(crate) async fn restore(&mut self, snapshot: &Path, further: &[&str]) {
        let (mut etcd, api) = (self.server("etcd"), self.server("kube-apiserver"));
        api.kill().await;
        etcd.kill().await;
        etcd::restore(&mut etcd, snapshot, further);
        // The API server waits for etcd.
        self.restored = vec![api.start(), etcd.start()];
        let client = self.client(None).await;
        eventually("the API server is ready after the restore", async || {
            for server in &mut self.restored {
                if let Some(status) = server.status() {
                    panic!("it has ended with {status}: {}", server.log());
                }
            }
            let request = Request::get("/readyz").body(Vec::new()).expect("it is a request");
            client.request_text(request).await.map_err(|error| error.to_string())
        })
        .await;
    }

    fn server(&self, name: &'static str) -> Server {
        Server::of(name, self.kubeconfig.parent().expect("the kubeconfig is in a folder"))
    }

    /// Runs `kubectl` as administrator, from the repository's root, and answers what it printed.
    pub(crate) fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {arguments:?}: {error}"))
    }

    /// As [`OwnCluster::kubectl`]; otherwise what it complained about.
    pub(crate) fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(tool("kubectl"));
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(arguments);
        printed(&mut command)
    }

    /// Applies, or only tries, what a manifest says; a field that its kind does not have is refused.
    pub(crate) fn apply(&self, manifest: &str, further: &[&str]) -> Result<String, String> {
        let file = scratch("manifest.yaml");
        std::fs::write(&file, manifest).expect("the folder of tests can be written to");
        let file = file.to_str().expect("the folder of tests is text");
        let apply = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "--filename", file];
        self.try_kubectl(&[&apply, further].concat())
    }

    /// Makes other people's kinds known, such as HTTPRoute or ServiceMonitor, of which nothing runs.
    pub(crate) fn know_other_kinds(&self) {
        let schemas = tool("schemas.yaml");
        let file = schemas.to_str().expect("the folder of tools is text");
        self.kubectl(&["apply", "--server-side", "--filename", file]);
        self.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "--filename", file]);
    }

    /// Where its kubeconfig is, for programs that read one.
    pub(crate) fn kubeconfig_file(&self) -> &Path {
        &self.kubeconfig
    }

    fn kubeconfig(&self) -> Kubeconfig {
        let path: &Path = &self.kubeconfig;
        Kubeconfig::read_from(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()))
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        if self.process.status().is_none() {
            // It takes its servers and its files with it.
            self.process.signal(Signal::TERM);
            self.process.join();
        }
    }
}
