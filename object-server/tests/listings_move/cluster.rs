//! Four servers with one device each, reached through ports that count bytes,
//! and a ring that names some of them.
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;
use virga_node::clock::{Clock, Hlc, ManualClock, Micros, Version};
use virga_node::health::Health;
use virga_node::task::Tasks;
use virga_object_server::config::{DeviceEntry, WorkerSettings};
use virga_object_server::workers::Progress;
use virga_object_server::{Config, Parts, Rings, RunError, run};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{
    ContainerInfo, Entry, ListRequest, ListingKind, ObjectRow, PutAccount, PutContainer,
};
use virga_object_wire::movement::{Movement, RingName};
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::object::At;
use virga_object_wire::table::NodeTable;
use virga_ring::builder::{Builder, NewDevice};
use virga_ring::{Device, HashPath, NameHash, Partition, Ring, RingHandle};
use virga_rpc::Secret;

const SECRET: &str = "the secret of these tests";
const LONG: Duration = Duration::from_secs(90);
const POWER: u8 = 4;
pub const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Four servers with one device each; rings name some of them.
pub struct Cluster {
    root: tempfile::TempDir,
    pub clock: Arc<ManualClock>,
    pub hlc: Hlc,
    hash: HashPath,
    handle: Arc<RingHandle>,
    devices: Vec<Device>,
    nodes: Arc<NodeTable>,
    pub servers: Vec<Option<Server>>,
    /// Where the rings say the servers are, and bytes that passed there.
    pub doors: Vec<Door>,
    settings: WorkerSettings,
    /// Containers that were made.
    made: Mutex<BTreeSet<String>>,
}

pub struct Server {
    tasks: Tasks,
    pub progress: Progress,
    running: JoinHandle<Result<(), RunError>>,
}

/// A port that passes everything on to a server.
pub struct Door {
    port: u16,
    inside: u16,
    pub bytes: Arc<AtomicU64>,
}

impl Door {
    async fn open() -> (Self, TcpListener) {
        let outer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inside = inner.local_addr().unwrap().port();
        let bytes = Arc::new(AtomicU64::new(0));
        let door = Self {
            port: outer.local_addr().unwrap().port(),
            inside,
            bytes: bytes.clone(),
        };
        let tasks = Tasks::new();
        tasks.clone().spawn(async move {
            while let Ok((from, _)) = outer.accept().await {
                let bytes = bytes.clone();
                tasks.spawn(async move {
                    let Ok(to) = TcpStream::connect(("127.0.0.1", inside)).await else {
                        return;
                    };
                    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
                    let there = copy(from_read, to_write, bytes.clone());
                    let back = copy(to_read, from_write, bytes);
                    tokio::join!(there, back);
                });
            }
        });
        (door, inner)
    }
}

/// Copies and counts.
async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    bytes: Arc<AtomicU64>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        bytes.fetch_add(read as u64, Ordering::SeqCst);
    }
}

pub fn settings(reconcile_ms: u64) -> WorkerSettings {
    WorkerSettings {
        update_listings_ms: 50,
        owed_age_ms: 0,
        report_containers_ms: 50,
        expire_ms: 1000,
        delay_reaping_ms: 0,
        reconcile_ms,
        in_flight_ms: 0,
        move_bytes_per_s: 0,
        reclaim_ms: 100,
    }
}

impl Cluster {
    pub async fn start(devices: &[usize], settings: WorkerSettings) -> Self {
        let clock = Arc::new(ManualClock::new(Micros(1_766_400_000_000_000)));
        let (mut doors, mut listeners) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let (door, listener) = Door::open().await;
            doors.push(door);
            listeners.push(listener);
        }
        let ports: Vec<u16> = doors.iter().map(|door| door.port).collect();
        let mut cluster = Self {
            root: tempfile::tempdir().unwrap(),
            hlc: Hlc::new(clock.clone()),
            clock,
            hash: HashPath::new("prefix", "").unwrap(),
            handle: Arc::new(RingHandle::new(ring(&ports, devices))),
            devices: ring(&ports, &[0, 1, 2, 3]).devices().cloned().collect(),
            nodes: Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), Tasks::new())),
            servers: Vec::new(),
            doors,
            settings,
            made: Mutex::default(),
        };
        for (n, listener) in listeners.into_iter().enumerate() {
            let server = cluster.server(n, listener).await;
            cluster.servers.push(Some(server));
        }
        cluster
    }

    pub fn folder(&self, n: usize) -> PathBuf {
        self.root.path().join(format!("d{n}"))
    }

    async fn server(&self, n: usize, listener: TcpListener) -> Server {
        let (tasks, progress, health) = (Tasks::new(), Progress::default(), Health::new());
        let config = Config {
            listen: None,
            advertise: Some(format!("127.0.0.1:{}", self.doors[n].port).parse().unwrap()),
            cluster: Uuid::from_u128(7),
            secret: SECRET.into(),
            devices: vec![DeviceEntry {
                name: format!("d{n}"),
                path: self.folder(n),
            }],
            cache_bytes: 8 << 20,
            segment_bytes: Some(8 << 20),
            workers: self.settings.clone(),
        };
        let parts = Parts {
            tasks: tasks.clone(),
            clock: self.clock.clone(),
            health: health.clone(),
            nodes: Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), tasks.clone())),
            rings: Rings {
                grace: Duration::ZERO,
                hash: self.hash.clone(),
                account: self.handle.clone(),
                container: self.handle.clone(),
                object: vec![(0, self.handle.clone())],
            },
            listener: Some(listener),
            progress: progress.clone(),
        };
        let running = tasks.spawn(run(config, parts));
        let up = comes(async || !health.snapshot().is_empty() && health.serving());
        assert!(up.await, "d{n} does not come up: {:?}", health.snapshot());
        Server {
            tasks,
            progress,
            running,
        }
    }

    pub async fn stop(&mut self, n: usize) {
        let server = self.servers[n].take().unwrap();
        assert!(server.tasks.drain(LONG).await, "every task ended");
        server.running.await.unwrap().unwrap();
    }

    pub async fn restart(&mut self, n: usize) {
        let listener = TcpListener::bind(("127.0.0.1", self.doors[n].inside))
            .await
            .unwrap();
        let server = self.server(n, listener).await;
        self.servers[n] = Some(server);
    }

    /// Puts a ring over these devices in place.
    pub fn use_ring(&self, devices: &[usize]) {
        let ports: Vec<u16> = self.doors.iter().map(|door| door.port).collect();
        self.handle.swap(ring(&ports, devices));
    }

    pub fn node(&self, n: usize) -> Arc<dyn ObjectNode> {
        let name = format!("d{n}");
        let device = self.devices.iter().find(|device| device.device == name);
        self.nodes.node(device.unwrap())
    }

    pub fn at(&self, n: usize, container: Option<&str>) -> At {
        let hash: NameHash = self.hash.hash("a", container, None);
        At {
            device: format!("d{n}").into(),
            policy: 0,
            partition: self.handle.current().partition(&hash),
            hash,
            ring: virga_ring::RingEpoch::NONE,
        }
    }

    pub async fn make(&self, on: &[usize], container: &str) {
        let version = self.hlc.next();
        self.made.lock().unwrap().insert(container.to_owned());
        for n in on {
            let put = PutContainer {
                account: "a".into(),
                container: container.into(),
                version,
                deleted: Version(0),
                policy: 0,
                meta: vec![],
            };
            let at = self.at(*n, Some(container));
            self.node(*n).put_container(&at, put).await.unwrap();
        }
    }

    pub async fn make_account(&self, on: &[usize]) {
        let version = self.hlc.next();
        for n in on {
            let put = PutAccount {
                account: "a".into(),
                version,
                meta: vec![],
            };
            self.node(*n).put_account(&self.at(*n, None), put).await.unwrap();
        }
    }

    pub async fn put_rows(&self, on: &[usize], container: &str, rows: Vec<ObjectRow>) {
        for n in on {
            let at = self.at(*n, Some(container));
            self.node(*n).put_object_rows(&at, rows.clone()).await.unwrap();
        }
    }

    pub fn row(&self, name: &str) -> ObjectRow {
        ObjectRow {
            size: 7,
            etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
            content_type: "text/plain".into(),
            deleted: false,
            ..ObjectRow::deletion(name, self.hlc.next())
        }
    }

    pub async fn info(&self, n: usize, container: &str) -> ContainerInfo {
        let at = self.at(n, Some(container));
        self.node(n).head_container(&at).await.unwrap()
    }

    /// Live names that a device lists.
    pub async fn names(&self, n: usize, container: &str) -> BTreeSet<String> {
        self.page(n, container).await.unwrap_or_default()
    }

    /// Live containers that a device lists in the account.
    pub async fn containers(&self, n: usize) -> BTreeSet<String> {
        let list = ListRequest {
            limit: 10_000,
            ..ListRequest::default()
        };
        let page = self.node(n).list_account(&self.at(n, None), list).await.unwrap();
        let live = page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) if row.put > row.deleted => Some(row.name),
            _ => None,
        });
        live.collect()
    }

    async fn page(&self, n: usize, container: &str) -> Result<BTreeSet<String>, NodeError> {
        let list = ListRequest {
            limit: 10_000,
            ..ListRequest::default()
        };
        let at = self.at(n, Some(container));
        let page = self.node(n).list_container(&at, list).await?;
        let live = page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) if !row.deleted => Some(row.name),
            _ => None,
        });
        Ok(live.collect())
    }

    pub async fn movement(&self, n: usize, ring: RingName) -> Movement {
        let all = self.node(n).movement().await.unwrap();
        all.into_iter().find(|movement| movement.ring == ring).unwrap()
    }

    /// Sums of everything that a device knows of both kinds.
    pub async fn sums(&self, n: usize) -> Vec<u128> {
        let (node, device) = (self.node(n), Arc::from(format!("d{n}").as_str()));
        let all: Vec<Partition> = (0..1 << POWER).map(Partition).collect();
        let mut sums = Vec::new();
        for kind in [ListingKind::Container, ListingKind::Account] {
            let answer = node.listing_sums(&device, kind, POWER, all.clone()).await;
            sums.extend(answer.unwrap().sums);
        }
        sums
    }

    pub async fn equal(&self, devices: &[usize]) {
        let what = format!("{devices:?} know the same");
        self.until(&what, async || {
            let first = self.sums(devices[0]).await;
            for n in &devices[1..] {
                if self.sums(*n).await != first {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Waits until all of these have finished a round under the ring in use
    /// that began after now.
    pub async fn reconciled(&self, devices: &[usize]) {
        self.clock.advance(Duration::from_secs(1));
        let since = Version::at(self.clock.now());
        let id = self.handle.id();
        for n in devices {
            for ring in [RingName::Account, RingName::Container] {
                self.until(&format!("d{n} is done with its {ring}s"), async || {
                    let movement = self.movement(*n, ring).await;
                    movement.reconciled == Some(id) && movement.round_started >= since
                })
                .await;
            }
        }
    }

    /// Waits for a condition, and says in what state all is if it does not come.
    pub async fn until(&self, what: &str, holds: impl AsyncFnMut() -> bool) {
        if !comes(holds).await {
            panic!("waited too long: {what}\n{}", self.state().await);
        }
    }

    /// What every server holds and what its workers have done, for a person.
    async fn state(&self) -> String {
        let mut text = format!("it is {:?}, ring {:?}\n", self.clock.now(), self.handle.id());
        for n in 0..self.servers.len() {
            let Some(server) = &self.servers[n] else {
                let _ = writeln!(text, "d{n} is stopped");
                continue;
            };
            let _ = writeln!(text, "d{n} lists in the account:");
            let list = ListRequest {
                limit: 10_000,
                ..ListRequest::default()
            };
            let at = self.at(n, None);
            match soon(self.node(n).list_account(&at, list)).await {
                Ok(page) => page.entries.iter().for_each(|entry| {
                    let _ = writeln!(text, "  {entry:?}");
                }),
                Err(error) => {
                    let _ = writeln!(text, "  {error}");
                }
            }
            let made: Vec<String> = self.made.lock().unwrap().iter().take(20).cloned().collect();
            for container in made {
                let at = self.at(n, Some(&container));
                let info = soon(self.node(n).head_container(&at)).await;
                let _ = writeln!(text, "  {container}: {info:?}");
            }
            let _ = writeln!(text, "  movement: {:?}", soon(self.node(n).movement()).await);
            for worker in server.progress.snapshot() {
                let _ = writeln!(text, "  {worker:?}");
            }
        }
        text
    }

    pub async fn finish(mut self) {
        for n in 0..4 {
            if self.servers[n].is_some() {
                self.stop(n).await;
            }
        }
    }
}

fn ring(ports: &[u16], devices: &[usize]) -> Ring {
    let mut builder = Builder::create(POWER, devices.len().min(3) as f64, 0).unwrap();
    for n in devices {
        let device = NewDevice {
            region: 1,
            zone: *n as u32,
            ip: "127.0.0.1".into(),
            port: ports[*n],
            replication_ip: None,
            replication_port: None,
            device: format!("d{n}"),
            weight: 1.0,
            meta: String::new(),
        };
        builder.add(device).unwrap();
    }
    builder.rebalance(1, 0).unwrap();
    builder.to_ring().unwrap().unwrap()
}

/// What a call says within five seconds.
async fn soon<T>(call: impl Future<Output = Result<T, NodeError>>) -> Result<T, NodeError> {
    let late = |_| Err(NodeError::Unreachable("no answer in time".into()));
    tokio::time::timeout(Duration::from_secs(5), call)
        .await
        .unwrap_or_else(late)
}

/// Whether a condition comes to hold before long.
async fn comes(mut holds: impl AsyncFnMut() -> bool) -> bool {
    let end = tokio::time::Instant::now() + LONG;
    while !holds().await {
        if tokio::time::Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

pub fn set(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}
