//! A cluster whose ring can be changed.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;
use virga_disk::device::Description;
use virga_disk::kv::KvCache;
use virga_node::clock::{Clock, Hlc, ManualClock, Micros, Version};
use virga_node::health::Health;
use virga_node::task::Tasks;
use virga_object_server::config::{DeviceEntry, WorkerSettings};
use virga_object_server::workers::Progress;
use virga_object_server::{Config, Parts, Rings, RunError, run};
use virga_object_store::device::{self as store, DeviceConfig, DeviceOptions, Storage};
use virga_object_store::rounds::LastRound;
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{Movement, RingName};
use virga_object_wire::node::{Nodes, ObjectNode, Read};
use virga_object_wire::object::{At, Found, ObjectMeta, PutObject, Source};
use virga_object_wire::table::NodeTable;
use virga_ring::builder::{Builder, NewDevice};
use virga_ring::{Device, HashPath, NameHash, Ring, RingHandle};
use virga_rpc::Secret;

const SECRET: &str = "the secret of these tests";
const LONG: Duration = Duration::from_secs(60);

struct Server {
    tasks: Tasks,
    running: JoinHandle<Result<(), RunError>>,
}

/// Servers with one device each, three replicas. Time stands still unless moved.
pub struct Cluster {
    root: tempfile::TempDir,
    pub rings: Rings,
    builder: Builder,
    pub clock: Arc<ManualClock>,
    hlc: Hlc,
    ports: Vec<u16>,
    servers: Vec<Option<Server>>,
    nodes: Arc<NodeTable>,
}

/// What a server is told about its workers.
fn settings() -> WorkerSettings {
    WorkerSettings {
        reconcile_ms: 20,
        in_flight_ms: 1,
        // Rows are another story: there are no containers here.
        update_listings_ms: 3_600_000,
        report_containers_ms: 3_600_000,
        ..WorkerSettings::default()
    }
}

fn new_device(n: usize, port: u16) -> NewDevice {
    NewDevice {
        region: 1,
        zone: n as u32,
        ip: "127.0.0.1".into(),
        port,
        replication_ip: None,
        replication_port: None,
        device: format!("d{n}"),
        weight: 1.0,
        meta: String::new(),
    }
}

impl Cluster {
    /// `servers` servers with the devices d0, d1, ..., of which the first
    /// `members` are in the ring.
    pub async fn start(servers: usize, members: usize) -> Self {
        let mut listeners = Vec::new();
        for _ in 0..servers {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let mut builder = Builder::create(5, 3.0, 0).unwrap();
        for (n, port) in ports.iter().enumerate().take(members) {
            builder.add(new_device(n, *port)).unwrap();
        }
        builder.rebalance(1, 0).unwrap();
        let ring = |builder: &Builder| Arc::new(RingHandle::new(builder.to_ring().unwrap().unwrap()));
        let rings = Rings {
            grace: Duration::ZERO,
            hash: HashPath::new("prefix", "").unwrap(),
            account: ring(&builder),
            container: ring(&builder),
            object: vec![(0, ring(&builder))],
        };
        let clock = Arc::new(ManualClock::new(Micros(1_766_400_000_000_000)));
        let mut cluster = Self {
            root: tempfile::tempdir().unwrap(),
            rings,
            builder,
            hlc: Hlc::new(clock.clone()),
            clock,
            ports,
            servers: Vec::new(),
            nodes: Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), Tasks::new())),
        };
        for (n, listener) in listeners.into_iter().enumerate() {
            let server = cluster.serve(n, listener).await;
            cluster.servers.push(Some(server));
        }
        cluster
    }

    async fn serve(&self, n: usize, listener: TcpListener) -> Server {
        let (tasks, health) = (Tasks::new(), Health::new());
        let config = Config {
            listen: None,
            advertise: None,
            cluster: Uuid::from_u128(7),
            secret: SECRET.into(),
            devices: vec![DeviceEntry {
                name: format!("d{n}"),
                path: self.folder(n),
            }],
            cache_bytes: 8 << 20,
            segment_bytes: Some(4 << 20),
            workers: settings(),
        };
        let parts = Parts {
            tasks: tasks.clone(),
            clock: self.clock.clone(),
            health: health.clone(),
            nodes: Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), tasks.clone())),
            rings: self.rings.clone(),
            listener: Some(listener),
            progress: Progress::default(),
        };
        let running = tasks.spawn(run(config, parts));
        until("the server is up", async || {
            !health.snapshot().is_empty() && health.serving()
        })
        .await;
        Server { tasks, running }
    }

    /// The folder of device `n`.
    pub fn folder(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("d{n}"))
    }

    pub async fn stop(&mut self, n: usize) {
        let server = self.servers[n].take().unwrap();
        assert!(server.tasks.drain(LONG).await, "every task ended");
        server.running.await.unwrap().unwrap();
    }

    pub async fn restart(&mut self, n: usize) {
        let listener = TcpListener::bind(("127.0.0.1", self.ports[n])).await.unwrap();
        self.servers[n] = Some(self.serve(n, listener).await);
    }

    /// Changes the ring and puts the new one in place everywhere.
    pub fn change(&mut self, change: impl FnOnce(&mut Builder, &dyn Fn(usize) -> NewDevice)) {
        let ports = self.ports.clone();
        change(&mut self.builder, &|n| new_device(n, ports[n]));
        self.builder.rebalance(7, 1_800_000_000).unwrap();
        let ring = self.builder.to_ring().unwrap().unwrap();
        self.rings.object[0].1.swap(ring);
    }

    /// What compaction does on a stopped device with old deletions, after a round
    /// that began when they were in sealed segments.
    pub async fn forget_deletions(&self, n: usize) {
        let config = DeviceConfig {
            name: format!("d{n}").into(),
            storage: Storage::Folder {
                path: self.folder(n),
                fresh: Description::new(Uuid::from_u128(7), Uuid::from_u128(1), [0; 8]),
            },
            cache: KvCache::new(8 << 20),
            options: DeviceOptions {
                segment_size: 4 << 20,
                upkeep: false,
                ..DeviceOptions::default()
            },
        };
        let device = store::Device::open(config, self.clock.clone()).unwrap();
        let at = self.at(n, "churn");
        for salt in 0..8_u8 {
            let mut body = vec![7; 900_000];
            body[0] = salt;
            let put = request("churn", self.next_version(), &body);
            device.put(&at, put, Checked::seal(body.into())).await.unwrap();
        }
        self.settle();
        let before = device.last_round(0).unwrap().unwrap();
        let round = LastRound {
            started: self.next_version(),
            ..before
        };
        device.note_round(0, round).unwrap();
        let mut reclaimed = 0;
        while let Some(done) = device.compact().await.unwrap() {
            reclaimed += done.reclaimed;
        }
        assert!(reclaimed > 0, "nothing to forget on d{n}");
        device.close().await.unwrap();
    }

    pub fn ring(&self) -> Arc<Ring> {
        self.rings.object[0].1.current()
    }

    pub fn next_version(&self) -> Version {
        self.hlc.next()
    }

    pub fn hash(&self, name: &str) -> NameHash {
        self.rings.hash.hash("a", Some("c"), Some(name))
    }

    /// Place of a name on device `n`.
    pub fn at(&self, n: usize, name: &str) -> At {
        let hash = self.hash(name);
        At {
            device: format!("d{n}").into(),
            policy: 0,
            partition: self.ring().partition(&hash),
            hash,
            ring: virga_ring::RingEpoch::NONE,
        }
    }

    /// Numbers of the devices that the ring puts a name on.
    pub fn primaries(&self, name: &str) -> Vec<usize> {
        let ring = self.ring();
        let partition = ring.partition(&self.hash(name));
        let primaries = ring.primaries(partition);
        let mut numbers: Vec<usize> = primaries.map(|(_, device)| number(device)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The server of device `n`, over the network.
    pub fn node(&self, n: usize) -> Arc<dyn ObjectNode> {
        let device = serde_free_device(n, self.ports[n], &self.ring());
        self.nodes.node(&device)
    }

    /// Stores an object on some devices.
    pub async fn put(&self, on: &[usize], name: &str, version: Version, body: &[u8]) {
        for n in on {
            let put = request(name, version, body);
            let (node, at) = (self.node(*n), self.at(*n, name));
            if body.len() <= EXTENT {
                let body = Checked::seal(body.to_vec().into());
                node.put(&at, put, body).await.unwrap();
                continue;
            }
            let mut stream = node.begin_put(&at).await.unwrap();
            for piece in body.chunks(EXTENT) {
                stream.send(Checked::seal(piece.to_vec().into())).await.unwrap();
            }
            stream.commit(put).await.unwrap();
        }
    }

    /// Stores objects "o0", "o1", ... on their primaries; gives their bytes.
    pub async fn fill(&self, objects: usize) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for n in 0..objects {
            let name = format!("o{n}");
            let size = if n % 40 == 7 { 2 * EXTENT + n } else { 100 + n };
            let body: Vec<u8> = (0..size).map(|at| (at / 251 + n) as u8).collect();
            self.put(&self.primaries(&name), &name, self.next_version(), &body)
                .await;
            all.insert(name, body);
        }
        all
    }

    pub async fn head(&self, n: usize, name: &str) -> Result<Found, NodeError> {
        self.node(n).head(&self.at(n, name)).await
    }

    /// The bytes of an object on device `n`; `None` if it has none.
    pub async fn read(&self, n: usize, name: &str) -> Result<Option<Vec<u8>>, NodeError> {
        let mut read = match self.node(n).get(&self.at(n, name), None).await? {
            Read::Object(read) => read,
            Read::Gone(_) => return Ok(None),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = read.body.next().await {
            bytes.extend_from_slice(piece?.data());
        }
        Ok(Some(bytes))
    }

    /// How far device `n` has come with the objects' ring.
    pub async fn movement(&self, n: usize) -> Movement {
        let all = self.node(n).movement().await.unwrap();
        all.into_iter()
            .find(|one| one.ring == RingName::Object(0))
            .unwrap()
    }

    /// What was written so far is on its way no longer.
    pub fn settle(&self) {
        self.clock.advance(Duration::from_millis(10));
    }

    /// Waits until these devices have completed a round that began after now
    /// under the ring as it is.
    pub async fn reconciled(&self, devices: &[usize]) {
        self.settle();
        let now = Version::at(self.clock.now());
        let id = self.rings.object[0].1.id();
        for n in devices {
            let mut last = None;
            let waited = tokio::time::timeout(LONG, async {
                loop {
                    let movement = last.insert(self.movement(*n).await);
                    if movement.reconciled == Some(id) && movement.round_started >= now {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
            assert!(waited.await.is_ok(), "waited too long for {id}: {last:?}");
        }
    }

    /// Whether objects lie, whole, on their primaries and nowhere else.
    pub async fn assert_in_place(&self, objects: &BTreeMap<String, Vec<u8>>, devices: &[usize]) {
        for (name, body) in objects {
            let primaries = self.primaries(name);
            for n in devices {
                let found = self.read(*n, name).await.unwrap();
                if primaries.contains(n) {
                    assert_eq!(found.as_ref(), Some(body), "{name} on d{n}");
                } else {
                    assert_eq!(self.head(*n, name).await, Ok(Found::Absent), "{name} on d{n}");
                }
            }
        }
    }
}

fn number(device: &Device) -> usize {
    device.device.strip_prefix('d').unwrap().parse().unwrap()
}

/// A device as a ring would name it, also if it is in none now.
fn serde_free_device(n: usize, port: u16, ring: &Ring) -> Device {
    let like = ring.devices().next().unwrap().clone();
    Device {
        port,
        device: format!("d{n}"),
        ..like
    }
}

pub fn request(name: &str, version: Version, body: &[u8]) -> PutObject {
    let meta = ObjectMeta {
        path: format!("a/c/{name}"),
        content_type: "text/plain".into(),
        headers: vec![("x-object-meta-name".into(), name.into())],
        ..ObjectMeta::default()
    };
    PutObject {
        version,
        size: body.len() as u64,
        blake3: *blake3::hash(body).as_bytes(),
        meta,
        handoff_for: None,
        source: Source::Client,
    }
}

/// Waits until something is so.
pub async fn until(what: &str, mut met: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !met().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited too long: {what}");
}

/// Flips a bit in every place below a folder that reads like `pattern`; says how
/// many those were.
pub fn rot(folder: &Path, pattern: &[u8]) -> usize {
    let mut hits = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<usize> = bytes
            .windows(pattern.len())
            .enumerate()
            .filter(|(_, window)| *window == pattern)
            .map(|(at, _)| at)
            .collect();
        if !places.is_empty() {
            places.iter().for_each(|at| bytes[at + pattern.len() / 2] ^= 4);
            hits += places.len();
            std::fs::write(&path, bytes).unwrap();
        }
    }
    hits
}
