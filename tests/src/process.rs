//! One `virga` process: started and waited for, asked, frozen, stopped, killed.
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for a start or a stop. Generous: two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A `virga` that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts the binary with `args`, stderr appended to `log`, and waits
    /// until it says that it is ready.
    pub fn start(args: &[&str], log: &Path) -> Self {
        Self::start_by(&[], args, log)
    }

    /// The same by another program, one that runs the words behind its own
    /// and becomes the process itself (`nsenter --net=...`).
    pub fn start_by(program: &[String], args: &[&str], log: &Path) -> Self {
        let stderr = OpenOptions::new().create(true).append(true).open(log);
        let mut words = program.iter().map(OsString::from).chain([binary().into()]);
        let mut child = Command::new(words.next().expect("the binary at least"))
            .args(words)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr.expect("a log"))
            .spawn()
            .expect("the virga binary starts (cargo build --bin virga)");
        let out = child.stdout.take().expect("stdout was piped");
        let process = Self {
            child,
            log: log.to_owned(),
        };
        let (say, heard) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line.starts_with("virga is ready") {
                    let _ = say.try_send(());
                }
            }
        });
        if heard.recv_timeout(PATIENCE).is_err() {
            panic!("virga {args:?} did not get ready; its log:\n{}", process.log());
        }
        process
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process takes signals");
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the process can be asked") {
                let log = self.log();
                assert!(status.success(), "stopped with {status}; its log:\n{log}");
                return;
            }
            assert!(
                Instant::now() < deadline,
                "did not stop; its log:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    /// SIGKILL, and waits until it is gone; what has ended already has ended.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done` says so; panics with `what` when it never does.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The binary under test: `VIRGA_BIN`, or the one beside the test binaries.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("VIRGA_BIN") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("the path of the test");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("virga")
}

/// One variable of an openrc-like file.
pub fn credential(file: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(file).expect("the credential file");
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(&format!("export {name}=")));
    line.unwrap_or_else(|| panic!("{name} in {}", file.display()))
        .trim_matches('\'')
        .to_owned()
}
