//! A cloud of several hosts on one machine: a controller (identity), proxies
//! and storage hosts, each a `virga run` process with a data folder and a
//! loopback address of its own, set up as an operator sets hosts up: secrets
//! and rings are made once and copied. Hosts come, go, are killed, lose disks,
//! and rings are changed ([`crate::rings`]) and copied while it all runs.
//!
//! Every host has its own address in 127.0.0.0/8, so the usual ports are free
//! on each and several clusters run side by side.
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, binary};
use crate::rings::Builders;
use crate::swift::Swift;

/// Storage hosts of the usual shape, one device each: three replicas and one to spare.
pub const STORES: usize = 4;
/// The port of every object server.
const NODE_PORT: u16 = 6200;

/// Where hosts are that are more than a folder and a loopback address.
#[derive(Debug, Clone)]
pub struct Site {
    /// Holds their folders, in place of a temporary one, and is left as it is.
    pub folder: PathBuf,
    /// The first three numbers of their addresses. Each host has a network
    /// namespace of its own, that `ip netns` knows by the host's address.
    pub subnet: String,
}

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Where, if not on loopback addresses.
    pub site: Option<Site>,
    /// More lines for every storage host's file, before its devices.
    pub store: String,
    /// Zone and number of devices of every storage host.
    pub stores: Vec<(u32, usize)>,
    /// Proxies.
    pub proxies: usize,
    /// Partitions are 2 to the power of this: few, so that rings are made and
    /// moved quickly.
    pub part_power: u8,
    /// Hours that a partition rests after a move.
    pub min_part_hours: u8,
    /// The rings: "account", "container", and one for each storage policy.
    pub rings: Vec<String>,
    /// More lines for every storage host's file; its section is [workers].
    pub workers: String,
    /// More lines for every proxy's file.
    pub proxy: String,
}

impl Default for Shape {
    /// Four hosts in four zones. Workers look often, so that tests need not
    /// wait for them.
    fn default() -> Self {
        Self {
            site: None,
            store: String::new(),
            stores: (1..).zip([1; STORES]).collect(),
            proxies: 1,
            part_power: 8,
            min_part_hours: 1,
            rings: ["account", "container", "object"].map(str::to_owned).into(),
            workers: "reconcile_ms = 200\nupdate_listings_ms = 200\n".to_owned(),
            proxy: "[rings]\nmovement_ms = 200\ngrace_ms = 2000\ngone_after_ms = 2000\n".to_owned(),
        }
    }
}

/// A host: its folder, its address, its role, its process if that runs.
#[derive(Debug)]
struct Host {
    role: &'static str,
    data: PathBuf,
    address: String,
    /// Whether its network is a namespace of its own.
    apart: bool,
    process: Option<Process>,
}

impl Host {
    fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.data.display());
        let config = self.data.join("virga.toml");
        let config = config.to_str().expect("UTF-8");
        let args = ["run", "--config", config, "--role", self.role];
        let enter = ["nsenter".to_owned(), format!("--net=/run/netns/{}", self.address)];
        let program = if self.apart { &enter[..] } else { &[] };
        self.process = Some(Process::start_by(program, &args, &self.data.join("log")));
    }

    fn running(&self) -> &Process {
        self.process.as_ref().expect("the host runs")
    }

    fn configure(&self, text: &str) {
        let file = self.data.join("virga.toml");
        std::fs::write(file, format!("data = \".\"\n{text}")).expect("a configuration");
    }
}

/// The cloud. Dropping it kills its processes and removes its folders.
#[derive(Debug)]
pub struct Cluster {
    /// Processes before folders: dropped in this order.
    controller: Host,
    proxies: Vec<Host>,
    stores: Vec<Host>,
    shape: Shape,
    builders: Builders,
    folder: PathBuf,
    subnet: String,
    /// Removed at the end.
    _temporary: Option<TempDir>,
}

impl Cluster {
    /// A cluster of the usual shape.
    pub fn start() -> Self {
        Self::start_as(Shape::default())
    }

    /// Makes rings and secrets, copies them to all hosts and starts those.
    pub fn start_as(shape: Shape) -> Self {
        let (folder, subnet, temporary) = match &shape.site {
            Some(site) => (site.folder.clone(), site.subnet.clone(), None),
            None => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                (folder.path().to_owned(), subnet(), Some(folder))
            }
        };
        let builders = Builders {
            folder: folder.join("rings"),
        };
        std::fs::create_dir_all(&builders.folder).expect("a folder");
        let mut cluster = Self {
            controller: host(&folder, "controller", "identity", String::new()),
            proxies: Vec::new(),
            stores: Vec::new(),
            builders,
            subnet,
            folder,
            shape,
            _temporary: temporary,
        };
        cluster.controller.address = cluster.address(1);
        cluster.controller.apart = cluster.shape.site.is_some();
        let (front, object) = (cluster.address(1), cluster.address(2));
        cluster.controller.configure(&format!(
            "front_door = \"{front}:5000\"\nobject_url = \"http://{object}:8080\"\n"
        ));
        cluster.make_rings();
        cluster.controller.start();
        for (_, devices) in cluster.shape.stores.clone() {
            cluster.add_store(devices);
        }
        for _ in 0..cluster.shape.proxies {
            cluster.add_proxy();
        }
        cluster
    }

    /// A storage host more, with these devices, secrets and rings as they are;
    /// it runs, and no ring needs to know of it. Its number.
    pub fn add_store(&mut self, devices: usize) -> usize {
        let n = self.stores.len();
        let address = self.address(10 + n);
        let name = format!("store{}", n + 1);
        let mut store = host(&self.folder, &name, "object-server", address);
        store.apart = self.shape.site.is_some();
        let mut text = format!("node = \"{}:{NODE_PORT}\"\n{}", store.address, self.shape.store);
        for device in 1..=devices {
            text += &format!("[[devices]]\nname = \"d{device}\"\npath = \"d{device}\"\n");
        }
        // As the proxies: an earlier ring is honoured for as long.
        let rings = "[rings]\ngrace_ms = 2000\n";
        store.configure(&format!("{text}{rings}[workers]\n{}", self.shape.workers));
        self.copy_secrets(&store);
        self.copy_rings(&store);
        self.stores.push(store);
        self.stores[n].start();
        n
    }

    fn add_proxy(&mut self) {
        let n = self.proxies.len();
        let address = self.address(2 + n);
        let name = format!("proxy{}", n + 1);
        let mut proxy = host(&self.folder, &name, "proxy", address);
        proxy.apart = self.shape.site.is_some();
        proxy.configure(&format!(
            "object_store = \"{}:8080\"\n{}\n[identity_host]\nurl = \"http://{}:5000\"\n",
            proxy.address,
            self.shape.proxy,
            self.address(1)
        ));
        self.copy_secrets(&proxy);
        self.copy_rings(&proxy);
        self.proxies.push(proxy);
        self.copy_token_keys();
        self.proxies[n].start();
    }

    fn address(&self, last: usize) -> String {
        format!("{}.{last}", self.subnet)
    }

    fn make_rings(&self) {
        let power = self.shape.part_power.to_string();
        let hours = self.shape.min_part_hours.to_string();
        for name in &self.shape.rings {
            self.builders.run(name, &["create", &power, "3", &hours]);
            for (n, (zone, devices)) in self.shape.stores.iter().enumerate() {
                for device in 1..=*devices {
                    self.add_to(name, n, *zone, device);
                }
            }
            self.builders.run(name, &["rebalance", "--seed", "7"]);
        }
    }

    /// Adds a device ("d1" is 1) of a storage host to a builder.
    pub fn add_to(&self, ring: &str, store: usize, zone: u32, device: usize) {
        let address = self.address(10 + store);
        let device = format!("r1z{zone}-{address}:{NODE_PORT}/d{device}");
        self.builders.run(ring, &["add", &device, "100"]);
    }

    /// How rings name a device of a storage host.
    pub fn search(&self, store: usize, device: usize) -> String {
        format!("{}:{NODE_PORT}/d{device}", self.address(10 + store))
    }

    /// Address and port of a storage host, as rings name it.
    pub fn node(&self, store: usize) -> String {
        format!("{}:{NODE_PORT}", self.stores[store].address)
    }

    fn copy_secrets(&self, host: &Host) {
        let (from, to) = (self.controller.data.join("secrets"), host.data.join("secrets"));
        std::fs::create_dir_all(&to).expect("a folder");
        std::fs::copy(from.join("cluster.json"), to.join("cluster.json")).expect("the secrets");
    }

    fn copy_rings(&self, host: &Host) {
        self.shape
            .rings
            .iter()
            .for_each(|ring| self.copy_ring(ring, host));
    }

    /// As `cp` and `mv` do it: nobody reads half a file.
    fn copy_ring(&self, ring: &str, host: &Host) {
        let folder = host.data.join("rings");
        std::fs::create_dir_all(&folder).expect("a folder");
        let (new, file) = (folder.join(format!(".{ring}.new")), format!("{ring}.ring.gz"));
        std::fs::copy(self.builders.ring_file(ring), &new).expect("a copy");
        std::fs::rename(new, folder.join(file)).expect("a rename");
    }

    /// Copies a ring to every host and tells those that run to read it.
    pub fn distribute(&self, ring: &str) {
        self.hosts().for_each(|host| self.copy_ring(ring, host));
        for process in self.hosts().filter_map(|host| host.process.as_ref()) {
            process.signal(Signal::HUP);
        }
    }

    /// The same for one proxy alone.
    pub fn distribute_to_proxy(&self, ring: &str, proxy: usize) {
        self.copy_ring(ring, &self.proxies[proxy]);
        self.proxies[proxy].running().signal(Signal::HUP);
    }

    /// Those that place by rings.
    fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.stores.iter().chain(&self.proxies)
    }

    /// Copies the token keys to the proxies, as after a rotation.
    pub fn copy_token_keys(&self) {
        let keys = |host: &Host| host.data.join("secrets/token-keys");
        for proxy in &self.proxies {
            copy(&keys(&self.controller), &keys(proxy));
        }
    }

    /// The demo user at the object store.
    pub fn demo(&self) -> Swift {
        Swift::of(&self.controller.data)
    }

    /// The demo user at every proxy.
    pub fn doors(&self) -> Vec<Swift> {
        let demo = self.demo();
        let at = |proxy: &Host| demo.at(&format!("http://{}:8080", proxy.address));
        self.proxies.iter().map(at).collect()
    }

    /// kill -9 of a storage host (from 0), waiting until it is gone.
    pub fn kill_store(&mut self, store: usize) {
        self.stores[store].process = None;
    }

    /// Starts a storage host again.
    pub fn start_store(&mut self, store: usize) {
        self.stores[store].start();
    }

    /// Stops a storage host for good: what it held is not needed any more.
    pub fn stop_store(&mut self, store: usize) {
        self.stores[store].process.take().expect("the host runs").stop();
    }

    /// A disk died and an empty one stands in its place: the host is killed,
    /// the device's folder goes, the host starts.
    pub fn replace_disk(&mut self, store: usize, device: usize) {
        self.kill_store(store);
        let folder = self.stores[store].data.join(format!("d{device}"));
        std::fs::remove_dir_all(folder).expect("the device");
        self.start_store(store);
    }

    /// Freezes a storage host: its kernel still takes connections, nobody answers.
    pub fn freeze_store(&self, store: usize) {
        self.stores[store].running().signal(Signal::STOP);
    }

    /// Lets a frozen storage host go on.
    pub fn thaw_store(&self, store: usize) {
        self.stores[store].running().signal(Signal::CONT);
    }

    /// kill -9 of every process at the same moment, as when power fails.
    pub fn power_off(&mut self) {
        let hosts = [&mut self.controller].into_iter();
        let all = hosts.chain(&mut self.stores).chain(&mut self.proxies);
        let running: Vec<Process> = all.filter_map(|host| host.process.take()).collect();
        running.iter().for_each(|process| process.signal(Signal::KILL));
    }

    /// Starts every process that does not run, all at the same moment: nobody
    /// finds the others there already.
    pub fn power_on(&mut self) {
        let hosts = [&mut self.controller].into_iter();
        let all = hosts.chain(&mut self.stores).chain(&mut self.proxies);
        std::thread::scope(|scope| {
            for host in all.filter(|host| host.process.is_none()) {
                scope.spawn(|| host.start());
            }
        });
    }

    /// kill -9 of a proxy.
    pub fn kill_proxy(&mut self, proxy: usize) {
        self.proxies[proxy].process = None;
    }

    /// Starts a proxy again.
    pub fn start_proxy(&mut self, proxy: usize) {
        self.proxies[proxy].start();
    }

    /// Stops and starts a proxy.
    pub fn restart_proxy(&mut self, proxy: usize) {
        let process = self.proxies[proxy].process.take();
        process.expect("the proxy runs").stop();
        self.proxies[proxy].start();
    }

    /// kill -9 of a proxy and a start.
    pub fn crash_proxy(&mut self, proxy: usize) {
        self.proxies[proxy].process = None;
        self.proxies[proxy].start();
    }

    /// Tells a proxy to read its files again.
    pub fn hang_up_proxy(&self, proxy: usize) {
        self.proxies[proxy].running().signal(Signal::HUP);
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

    /// The first proxy's rings folder.
    pub fn proxy_rings(&self) -> PathBuf {
        self.proxies[0].data.join("rings")
    }

    /// The builders.
    pub fn builders(&self) -> &Builders {
        &self.builders
    }

    /// What the first proxy has logged.
    pub fn proxy_log(&self) -> String {
        self.proxies[0].running().log()
    }

    /// `virga status --json` of a proxy.
    pub fn proxy_status(&self, proxy: usize) -> serde_json::Value {
        status(&self.proxies[proxy].data)
    }

    /// Data folder of a proxy.
    pub fn proxy_data(&self, proxy: usize) -> &Path {
        &self.proxies[proxy].data
    }

    /// Storage hosts that there are, whether they run or not.
    pub fn stores(&self) -> usize {
        self.stores.len()
    }

    /// Whether a storage host runs.
    pub fn runs(&self, store: usize) -> bool {
        self.stores[store].process.is_some()
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
            for host in self.hosts().chain([&self.controller]) {
                let log = std::fs::read_to_string(host.data.join("log")).unwrap_or_default();
                eprintln!("--- log of {} ---\n{log}", host.data.display());
            }
        }
    }
}

fn host(folder: &Path, name: &str, role: &'static str, address: String) -> Host {
    let data = folder.join(name);
    std::fs::create_dir_all(&data).expect("a folder");
    Host {
        role,
        data,
        address,
        apart: false,
        process: None,
    }
}

fn status(data: &Path) -> serde_json::Value {
    let args = ["status", "--json", "--data", data.to_str().expect("UTF-8")];
    let out = Command::new(binary()).args(args).output().expect("virga runs");
    // The exit code says how the cloud is; that stands in the answer too.
    let trouble = String::from_utf8_lossy(&out.stderr);
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {trouble}"))
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
