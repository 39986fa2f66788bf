//! One cloud: the `virga up` process, its folder and its ports.
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest wait for a start or a stop. Generous: two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a cloud is made on its first start.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Devices (folders).
    pub devices: u16,
    /// More flags for `virga up`.
    pub flags: Vec<String>,
}

impl Default for Shape {
    /// Four devices, hence three replicas with one device to spare.
    fn default() -> Self {
        Self {
            devices: 4,
            flags: Vec::new(),
        }
    }
}

/// A running or stopped cloud. Dropping it kills the process it started and
/// removes the folder.
#[derive(Debug)]
pub struct Cloud {
    folder: TempDir,
    shape: Shape,
    ports: Option<(u16, u16)>,
    process: Option<Child>,
}

impl Cloud {
    /// Makes and starts a cloud of the default shape.
    pub fn start() -> Self {
        Self::start_as(Shape::default())
    }

    /// Makes and starts a cloud.
    pub fn start_as(shape: Shape) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cloud = Self {
            folder,
            shape,
            ports: None,
            process: None,
        };
        cloud.resume();
        cloud
    }

    /// Starts the process (again) on the same folder and ports; returns how
    /// long it took to say that it is ready.
    pub fn resume(&mut self) -> Duration {
        assert!(self.process.is_none(), "the cloud runs already");
        let (port, object_port) = self.ports.unwrap_or((0, 0));
        let begun = Instant::now();
        let mut process = Command::new(binary())
            .arg("up")
            .args(["--data".as_ref(), self.data().as_os_str()])
            .args([
                "--port",
                &port.to_string(),
                "--object-port",
                &object_port.to_string(),
            ])
            .args(["--devices", &self.shape.devices.to_string()])
            .args(&self.shape.flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(
                std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.log_path())
                    .expect("a log"),
            )
            .spawn()
            .expect("the virga binary starts (cargo build --bin virga)");
        let out = process.stdout.take().expect("stdout was piped");
        self.process = Some(process);
        let (say, heard) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if line.starts_with("virga is ready") {
                    let _ = say.try_send(());
                }
            }
        });
        if heard.recv_timeout(PATIENCE).is_err() {
            panic!("virga did not get ready; its log:\n{}", self.log());
        }
        let took = begun.elapsed();
        self.ports = Some((port_of(&self.auth_url()), port_of(&self.object_url())));
        took
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Everything the process has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the process can be killed");
            process.wait().expect("the process can be waited for");
        }
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("the cloud runs");
        let pid = Pid::from_child(&process);
        kill_process(pid, Signal::TERM).expect("the process takes signals");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = process.try_wait().expect("the process can be asked") {
                assert!(
                    status.success(),
                    "stopped with {status}; its log:\n{}",
                    self.log()
                );
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

    /// One variable of an openrc-like file in the data folder.
    pub fn credential(&self, file: &str, name: &str) -> String {
        let text = std::fs::read_to_string(self.data().join(file)).expect("the credential file");
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("export {name}=")));
        line.unwrap_or_else(|| panic!("{name} in {file}"))
            .trim_matches('\'')
            .to_owned()
    }

    /// Identity's URL.
    pub fn auth_url(&self) -> String {
        self.credential("openrc-demo", "OS_AUTH_URL")
    }

    /// The object store's root URL.
    pub fn object_url(&self) -> String {
        self.credential("s3.env", "AWS_ENDPOINT_URL")
    }

    /// Runs a shell script with the demo user's openrc sourced and the test
    /// clients on the path; panics with its output if it fails.
    pub fn demo_shell(&self, script: &str) -> String {
        self.shell("openrc-demo", script)
    }

    /// Runs a shell script with the given openrc sourced.
    pub fn shell(&self, openrc: &str, script: &str) -> String {
        let preamble = format!(
            "set -eu; PATH='{}/bin':$PATH; . '{}'; cd '{}'\n",
            clients_venv().display(),
            self.data().join(openrc).display(),
            self.folder.path().display()
        );
        let out = Command::new("bash")
            .arg("-c")
            .arg(preamble + script)
            .output()
            .expect("bash");
        let (stdout, stderr) = (
            String::from_utf8_lossy(&out.stdout).into_owned(),
            String::from_utf8_lossy(&out.stderr),
        );
        assert!(
            out.status.success(),
            "{script}\nended with {}\n{stdout}\n{stderr}\n{}",
            out.status,
            self.log()
        );
        stdout
    }

    /// A scratch folder beside the data.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of virga ---\n{}", self.log());
        }
    }
}

fn port_of(url: &str) -> u16 {
    let host = url.split('/').nth(2).unwrap_or_default();
    host.rsplit(':')
        .next()
        .and_then(|p| p.parse().ok())
        .unwrap_or_else(|| panic!("a port in {url}"))
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

/// Where `tests/clients/install` put the clients.
pub fn clients_venv() -> PathBuf {
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/install");
    let out = Command::new(install)
        .arg("--path")
        .output()
        .expect("tests/clients/install");
    PathBuf::from(String::from_utf8_lossy(&out.stdout).trim())
}
