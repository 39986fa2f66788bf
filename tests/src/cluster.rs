//! A cloud of several hosts on one machine: a controller (identity), a proxy
//! and storage hosts, each a `virga run` process with a data folder and a
//! loopback address of its own, set up as an operator sets hosts up: secrets
//! and rings are made once and copied.
//!
//! Every host has its own address in 127.0.0.0/8, so the usual ports are free
//! on each and several clusters run side by side.
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, virga};
use crate::swift::Swift;

/// Storage hosts, one device each: three replicas and one to spare.
pub const STORES: usize = 4;
/// Partitions are 2 to the power of this: few, so that rings are made quickly.
const PART_POWER: u8 = 8;

/// A host: its folder, its roles, its process if that runs.
#[derive(Debug)]
struct Host {
    role: &'static str,
    data: PathBuf,
    process: Option<Process>,
}

impl Host {
    fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.role);
        let config = self.data.join("virga.toml");
        let config = config.to_str().expect("UTF-8");
        let args = ["run", "--config", config, "--role", self.role];
        self.process = Some(Process::start(&args, &self.data.join("log")));
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the host runs")
    }
}

/// The cloud. Dropping it kills its processes and removes its folders.
#[derive(Debug)]
pub struct Cluster {
    /// Processes before folders: dropped in this order.
    controller: Host,
    proxy: Host,
    stores: Vec<Host>,
    folder: TempDir,
    subnet: String,
}

impl Cluster {
    /// Makes rings and secrets, copies them to all hosts and starts those.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let subnet = subnet();
        let host = |name: &str, role| {
            let data = folder.path().join(name);
            std::fs::create_dir_all(&data).expect("a folder");
            Host {
                role,
                data,
                process: None,
            }
        };
        let mut cluster = Self {
            controller: host("controller", "identity"),
            proxy: host("proxy", "proxy"),
            stores: (1..=STORES)
                .map(|n| host(&format!("store{n}"), "object-server"))
                .collect(),
            subnet,
            folder,
        };
        cluster.configure();
        cluster.make_rings();
        cluster.controller.start();
        cluster.copy_secrets();
        for store in &mut cluster.stores {
            store.start();
        }
        cluster.proxy.start();
        cluster
    }

    fn configure(&self) {
        let write = |host: &Host, text: String| {
            std::fs::write(host.data.join("virga.toml"), format!("data = \".\"\n{text}"))
                .expect("a configuration");
        };
        let ip = |last| self.address(last);
        let (front, object) = (ip(1), ip(2));
        write(
            &self.controller,
            format!("front_door = \"{front}:5000\"\nobject_url = \"http://{object}:8080\"\n"),
        );
        write(&self.proxy, format!("object_store = \"{object}:8080\"\n"));
        for (n, store) in self.stores.iter().enumerate() {
            // Workers look often, so that tests need not wait for them.
            let text = format!(
                "node = \"{}:6200\"\n[[devices]]\nname = \"d1\"\npath = \"d1\"\n\
                 [workers]\npush_handoffs_ms = 200\nupdate_listings_ms = 200\n",
                ip(10 + n)
            );
            write(store, text);
        }
    }

    fn address(&self, last: usize) -> String {
        format!("{}.{last}", self.subnet)
    }

    fn make_rings(&self) {
        let made = self.folder.path().join("rings");
        std::fs::create_dir_all(&made).expect("a folder");
        for name in ["account", "container", "object"] {
            let builder = made.join(format!("{name}.builder"));
            let builder = builder.to_str().expect("UTF-8");
            virga(&["ring", builder, "create", &PART_POWER.to_string(), "3", "1"]);
            for n in 0..STORES {
                let device = format!("r1z{}-{}:6200/d1", n + 1, self.address(10 + n));
                virga(&["ring", builder, "add", &device, "100"]);
            }
            virga(&["ring", builder, "rebalance", "--seed", "7"]);
        }
        for host in self.stores.iter().chain([&self.proxy]) {
            copy(&made, &host.data.join("rings"));
        }
    }

    /// Storage hosts get what nodes share, the proxy the token keys as well.
    fn copy_secrets(&self) {
        let from = self.controller.data.join("secrets");
        for host in self.stores.iter().chain([&self.proxy]) {
            let to = host.data.join("secrets");
            std::fs::create_dir_all(&to).expect("a folder");
            std::fs::copy(from.join("cluster.json"), to.join("cluster.json")).expect("the secrets");
        }
        self.copy_token_keys();
    }

    /// Copies the token keys to the proxy, as after a rotation.
    pub fn copy_token_keys(&self) {
        let keys = |host: &Host| host.data.join("secrets/token-keys");
        copy(&keys(&self.controller), &keys(&self.proxy));
    }

    /// The demo user at the object store.
    pub fn demo(&self) -> Swift {
        Swift::of(&self.controller.data)
    }

    /// kill -9 of a storage host (from 0), waiting until it is gone.
    pub fn kill_store(&mut self, store: usize) {
        self.stores[store].process = None;
    }

    /// Starts a storage host again.
    pub fn start_store(&mut self, store: usize) {
        self.stores[store].start();
    }

    /// Freezes a storage host: its kernel still takes connections, nobody answers.
    pub fn freeze_store(&self, store: usize) {
        self.stores[store].running().signal(Signal::STOP);
    }

    /// Lets a frozen storage host go on.
    pub fn thaw_store(&self, store: usize) {
        self.stores[store].running().signal(Signal::CONT);
    }

    /// Stops and starts the proxy.
    pub fn restart_proxy(&mut self) {
        self.proxy.process.take().expect("the proxy runs").stop();
        self.proxy.start();
    }

    /// Tells the proxy to read its files again.
    pub fn hang_up_proxy(&self) {
        self.proxy.running().signal(Signal::HUP);
    }

    /// Rotates the token keys on the controller as Keystone does: the staged
    /// key becomes the primary, a new one is staged; then tells it.
    pub fn rotate_token_keys(&self, new: &[u8; 32]) {
        let keys = self.controller.data.join("secrets/token-keys");
        let newest = (1..).find(|n| !keys.join(format!("{}", n + 1)).exists());
        let primary = keys.join(format!("{}", newest.expect("a number") + 1));
        std::fs::rename(keys.join("0"), primary).expect("the staged key");
        std::fs::write(keys.join("0"), base64url(new)).expect("a new key");
        self.controller.running().signal(Signal::HUP);
    }

    /// The proxy's rings folder.
    pub fn proxy_rings(&self) -> PathBuf {
        self.proxy.data.join("rings")
    }

    /// The folder with the builders.
    pub fn builders(&self) -> PathBuf {
        self.folder.path().join("rings")
    }

    /// What the proxy has logged.
    pub fn proxy_log(&self) -> String {
        self.proxy.running().log()
    }

    /// `virga status --json` of the proxy.
    pub fn proxy_status(&self) -> serde_json::Value {
        status(&self.proxy.data)
    }

    /// `virga status --json` of a storage host.
    pub fn store_status(&self, store: usize) -> serde_json::Value {
        status(&self.stores[store].data)
    }

    /// Data folder of the controller, with the credential files.
    pub fn controller_data(&self) -> &Path {
        &self.controller.data
    }

    /// Data folder of a storage host.
    pub fn store_data(&self, store: usize) -> &Path {
        &self.stores[store].data
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for host in self.stores.iter().chain([&self.proxy, &self.controller]) {
                let log = std::fs::read_to_string(host.data.join("log")).unwrap_or_default();
                eprintln!("--- log of {} ---\n{log}", host.data.display());
            }
        }
    }
}

fn status(data: &Path) -> serde_json::Value {
    let said = virga(&["status", "--json", "--data", data.to_str().expect("UTF-8")]);
    serde_json::from_str(&said).expect("JSON")
}

/// The first three numbers of addresses that no other cluster on this machine
/// has: from the process id and a count.
fn subnet() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = std::process::id()
        .wrapping_mul(8)
        .wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed) % 8);
    // Not 127.0: that is everyone's.
    format!("127.{}.{}", 1 + (unique >> 8) % 254, unique & 0xff)
}

/// 32 bytes as a key file holds them.
fn base64url(bytes: &[u8; 32]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..=three.len() {
            out.push(char::from(LETTERS[(word >> (18 - 6 * place)) as usize & 63]));
        }
    }
    out + "="
}

/// Copies the files of a folder, not what is in folders inside it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("its type").is_dir() {
            continue;
        }
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}
