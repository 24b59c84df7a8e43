//! Servers to be measured, each with a runtime of its own that has one thread, whose processor time counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use keyturn::metrics::Metrics;
use keyturn::transport::{AuthPort, Outside};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use super::fleet::Fleet;

static STARTED: AtomicUsize = AtomicUsize::new(0);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    /// Ends with it.
    _runtime: Runtime,
    /// Name of its thread.
    thread: String,
}

impl Server {
    /// `start`, which is called within the runtime, serves on that listener for ever.
    pub(crate) fn start<F>(name: &'static str, start: impl FnOnce(TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let thread = format!("server-{}", STARTED.fetch_add(1, Ordering::Relaxed));
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(&thread).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let serving = {
            let _inside = runtime.enter();
            start(listener)
        };
        runtime.spawn(serving);
        Self { name, address, _runtime: runtime, thread }
    }

    /// Processor time of its thread.
    pub(crate) fn processor(&self) -> Duration {
        let is_own = |name: String| name.trim_end() == self.thread;
        processor_of("/proc/self/task".as_ref(), |task| std::fs::read_to_string(task.join("comm")).is_ok_and(is_own))
    }
}

/// What the threads in that folder of /proc have had of the processors, of those that count.
pub(crate) fn processor_of(tasks: &Path, counts: impl Fn(&Path) -> bool) -> Duration {
    let tasks = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap().path()).filter(|task| counts(task));
    let nanoseconds = tasks.map(|task| {
        // A thread may have ended since.
        let statistics = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        statistics.split(' ').next().and_then(|spent| spent.parse::<u64>().ok()).unwrap_or_default()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// The auth port, apart from its connections, with those keys.
pub(crate) fn auth_port(fleet: &Fleet, outside: Outside) -> Arc<AuthPort> {
    let engine = fleet.engine();
    fleet.warm(&engine, keyturn::clock::now());
    let engine = if outside.store.is_some() { engine.with_limits_elsewhere() } else { engine };
    Arc::new(AuthPort::new(Arc::new(Metrics::new()), Arc::new(OnceLock::from(engine)), outside))
}
