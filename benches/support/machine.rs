//! What processes take of the machine.

use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use super::support::etcd::Server;

/// Clock ticks of `/proc/*/stat` in a second; the kernel shows no others.
const TICKS: u64 = 100;

/// What a process has taken so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) processor: Duration,
    /// Resident memory in bytes, now.
    pub(crate) memory: u64,
}

impl Taken {
    /// By the process of that id; nothing when it is gone.
    pub(crate) fn by(pid: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // Behind the name, which may hold anything: user and system time are the 12th and 13th field.
        let stat = read("stat");
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11);
        let ticks: u64 = fields.take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let status = read("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next());
        let kilobytes: u64 = resident.and_then(|field| field.parse().ok()).unwrap_or(0);
        Self { processor: Duration::from_millis(ticks * 1_000 / TICKS), memory: kilobytes * 1024 }
    }

    /// As it is told: processor time since then, and memory now.
    pub(crate) fn since(self, before: Self) -> String {
        let processor = self.processor.saturating_sub(before.processor).as_secs_f64();
        format!("{processor:.1} s of processor time, {} MB resident", self.memory / 1_000_000)
    }
}

/// Processes that take less than this much of a processor, over so long, have nothing to do.
const QUIET: f64 = 0.05;
const SPELL: Duration = Duration::from_secs(5);

/// Waits until the processes of those ids have nothing to do.
pub(crate) async fn quiet(pids: &[u32]) {
    let taken = || pids.iter().map(|&pid| Taken::by(pid).processor).sum::<Duration>();
    loop {
        let before = taken();
        sleep(SPELL).await;
        if taken().saturating_sub(before).div_duration_f64(SPELL) < QUIET {
            return;
        }
    }
}

/// A server of the cluster that `tests/cluster/run.sh` runs beside this process.
#[expect(clippy::disallowed_methods, reason = "where the cluster is, is the environment's to say")]
pub(crate) fn server(name: &'static str) -> Server {
    let kubeconfig = std::env::var("KUBECONFIG").expect("tests/cluster/run.sh sets KUBECONFIG");
    Server::of(name, Path::new(&kubeconfig).parent().expect("it is in the folder of the cluster"))
}

/// What the API server and its etcd have taken so far.
pub(crate) fn servers() -> [(&'static str, Taken); 2] {
    ["kube-apiserver", "etcd"].map(|name| {
        let pid = server(name).pid().as_raw_nonzero().get();
        (name, Taken::by(pid.unsigned_abs()))
    })
}
