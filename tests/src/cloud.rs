//! One cloud: the `virga up` process, its folder and its ports.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use crate::process::binary;
use crate::process::{Process, credential};

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
    process: Option<Process>,
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
        let data = self.data();
        let (port, object_port) = (port.to_string(), object_port.to_string());
        let devices = self.shape.devices.to_string();
        let mut args = vec!["up", "--data", data.to_str().expect("UTF-8")];
        args.extend(["--port", &port, "--object-port", &object_port]);
        args.extend(["--devices", &devices]);
        args.extend(self.shape.flags.iter().map(String::as_str));
        self.process = Some(Process::start(&args, &self.log_path()));
        let took = begun.elapsed();
        self.ports = Some((port_of(&self.auth_url()), port_of(&self.object_url())));
        took
    }

    /// Stops the cloud, lets its configuration be changed (the file says what is in effect, every setting), and starts it
    /// again.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut String)) {
        self.stop();
        let file = self.data().join("virga.toml");
        let mut text = std::fs::read_to_string(&file).expect("the configuration");
        change(&mut text);
        std::fs::write(&file, text).expect("the configuration");
        self.resume();
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
        self.process.as_ref().map(Process::pid)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and waits for a clean end.
    pub fn stop(&mut self) {
        self.process.take().expect("the cloud runs").stop();
    }

    /// One variable of an openrc-like file in the data folder.
    pub fn credential(&self, file: &str, name: &str) -> String {
        credential(&self.data().join(file), name)
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

/// Where `tests/clients/install` put the clients.
pub fn clients_venv() -> PathBuf {
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/install");
    let out = Command::new(install)
        .arg("--path")
        .output()
        .expect("tests/clients/install");
    PathBuf::from(String::from_utf8_lossy(&out.stdout).trim())
}
