//! Child processes: started with their output in a file, signalled by process id, gone when dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, kill_process};

pub(crate) use rustix::process::Signal;

use super::wait::eventually;

static STARTED: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `program`; stdout and stderr go to one file, which is shown if the test fails.
    pub(crate) fn start<A: AsRef<OsStr>>(name: &str, program: &Path, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(name, command)
    }

    /// As [`Process::start`], for a command with an environment of its own.
    pub(crate) fn spawn(name: &str, mut command: Command) -> Self {
        let log = scratch(&format!("{name}.log"));
        let output = File::create(&log).unwrap_or_else(|error| panic!("creating {}: {error}", log.display()));
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be cloned"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", command.get_program().display()));
        Self { name: name.to_owned(), child, log, ended: None }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap_or_else(|error| panic!("sending {signal:?} to {}: {error}", self.name));
    }

    /// Stops it as a debugger would, and waits until none of its threads runs: others go on until the first has noticed.
    pub(crate) async fn stop(&self) {
        self.signal(Signal::STOP);
        let threads = format!("/proc/{}/task", self.id());
        eventually(&format!("{} stands still", self.name), async || {
            let threads = std::fs::read_dir(&threads).map_err(|error| error.to_string())?;
            let states = threads.flatten().map(|thread| std::fs::read_to_string(thread.path().join("status")));
            let states = states.collect::<Result<String, _>>().map_err(|error| error.to_string())?;
            let runs = states.lines().find(|line| line.starts_with("State:") && !line.contains("T (stopped)"));
            runs.map_or(Ok(()), |state| Err(state.to_owned()))
        })
        .await;
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn status(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child can be waited for");
        }
        self.ended
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(&what, async || self.status().ok_or_else(|| "still running".to_owned())).await
    }

    /// As [`Process::ended`], for code that cannot await; the caller has told it to end.
    pub(super) fn join(&mut self) {
        self.ended = self.child.wait().ok();
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "the test runner shows it for failed tests only")]
    fn drop(&mut self) {
        if self.status().is_none() {
            // SIGKILL ends a stopped process too.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("---- {} ({}) ----\n{}", self.name, self.log.display(), self.log());
        }
    }
}

/// A path of its own for `name`, in the folder that cargo keeps for tests; says which test it belongs to.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed").replace("::", "-");
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{test}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("creating {}: {error}", folder.display()));
    folder.join(format!("{number}-{name}"))
}

/// Where `tool` of the pinned tools is.
pub(crate) fn tool(tool: &str) -> PathBuf {
    let path =
        std::env::split_paths(env_path().as_os_str()).map(|folder| folder.join(tool)).find(|file| file.is_file());
    path.unwrap_or_else(|| {
        panic!("{tool} is not in PATH; run the tests with `make test` or `tests/cluster/run.sh cargo test`")
    })
}

#[expect(clippy::disallowed_methods, reason = "where programs are is the environment's to say")]
fn env_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}
