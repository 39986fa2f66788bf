//! Accounts and containers over several nodes: replicas that differ become
//! equal, listings follow the ring, and what is deleted stays deleted.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    ContainerInfo, Entry, ListRequest, ListingKind, MetaItem, ObjectRow, PutAccount, PutContainer,
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
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// Four servers with one device each; rings name some of them.
struct Cluster {
    root: tempfile::TempDir,
    clock: Arc<ManualClock>,
    hlc: Hlc,
    hash: HashPath,
    handle: Arc<RingHandle>,
    devices: Vec<Device>,
    nodes: Arc<NodeTable>,
    servers: Vec<Option<Server>>,
    /// Where the rings say the servers are, and bytes that passed there.
    doors: Vec<Door>,
    settings: WorkerSettings,
}

struct Server {
    tasks: Tasks,
    progress: Progress,
    running: JoinHandle<Result<(), RunError>>,
}

/// A port that passes everything on to a server.
struct Door {
    port: u16,
    inside: u16,
    bytes: Arc<AtomicU64>,
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
        tokio::spawn(async move {
            while let Ok((from, _)) = outer.accept().await {
                let bytes = bytes.clone();
                tokio::spawn(async move {
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

fn settings(reconcile_ms: u64) -> WorkerSettings {
    WorkerSettings {
        update_listings_ms: 50,
        owed_age_ms: 0,
        report_containers_ms: 50,
        expire_ms: 1000,
        reconcile_ms,
        in_flight_ms: 0,
        move_bytes_per_s: 0,
        reclaim_ms: 100,
    }
}

impl Cluster {
    async fn start(devices: &[usize], settings: WorkerSettings) -> Self {
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
        };
        for (n, listener) in listeners.into_iter().enumerate() {
            let server = cluster.server(n, listener).await;
            cluster.servers.push(Some(server));
        }
        cluster
    }

    fn folder(&self, n: usize) -> PathBuf {
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
                hash: self.hash.clone(),
                account: self.handle.clone(),
                container: self.handle.clone(),
                object: vec![(0, self.handle.clone())],
            },
            listener: Some(listener),
            progress: progress.clone(),
        };
        let running = tasks.spawn(run(config, parts));
        until("the server is up", async || {
            !health.snapshot().is_empty() && health.serving()
        })
        .await;
        Server {
            tasks,
            progress,
            running,
        }
    }

    async fn stop(&mut self, n: usize) {
        let server = self.servers[n].take().unwrap();
        assert!(server.tasks.drain(LONG).await, "every task ended");
        server.running.await.unwrap().unwrap();
    }

    async fn restart(&mut self, n: usize) {
        let listener = TcpListener::bind(("127.0.0.1", self.doors[n].inside))
            .await
            .unwrap();
        let server = self.server(n, listener).await;
        self.servers[n] = Some(server);
    }

    /// Puts a ring over these devices in place.
    fn use_ring(&self, devices: &[usize]) {
        let ports: Vec<u16> = self.doors.iter().map(|door| door.port).collect();
        self.handle.swap(ring(&ports, devices));
    }

    fn node(&self, n: usize) -> Arc<dyn ObjectNode> {
        let name = format!("d{n}");
        let device = self.devices.iter().find(|device| device.device == name);
        self.nodes.node(device.unwrap())
    }

    fn at(&self, n: usize, container: Option<&str>) -> At {
        let hash: NameHash = self.hash.hash("a", container, None);
        At {
            device: format!("d{n}").into(),
            policy: 0,
            partition: self.handle.current().partition(&hash),
            hash,
        }
    }

    async fn make(&self, on: &[usize], container: &str) {
        let version = self.hlc.next();
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

    async fn make_account(&self, on: &[usize]) {
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

    async fn put_rows(&self, on: &[usize], container: &str, rows: Vec<ObjectRow>) {
        for n in on {
            let at = self.at(*n, Some(container));
            self.node(*n).put_object_rows(&at, rows.clone()).await.unwrap();
        }
    }

    fn row(&self, name: &str) -> ObjectRow {
        ObjectRow {
            size: 7,
            etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
            content_type: "text/plain".into(),
            deleted: false,
            ..ObjectRow::deletion(name, self.hlc.next())
        }
    }

    async fn info(&self, n: usize, container: &str) -> ContainerInfo {
        let at = self.at(n, Some(container));
        self.node(n).head_container(&at).await.unwrap()
    }

    /// Live names that a device lists.
    async fn names(&self, n: usize, container: &str) -> BTreeSet<String> {
        self.page(n, container).await.unwrap_or_default()
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

    async fn movement(&self, n: usize, ring: RingName) -> Movement {
        let all = self.node(n).movement().await.unwrap();
        all.into_iter().find(|movement| movement.ring == ring).unwrap()
    }

    /// Sums of everything that a device knows of both kinds.
    async fn sums(&self, n: usize) -> Vec<u128> {
        let (node, device) = (self.node(n), Arc::from(format!("d{n}").as_str()));
        let all: Vec<Partition> = (0..1 << POWER).map(Partition).collect();
        let mut sums = Vec::new();
        for kind in [ListingKind::Container, ListingKind::Account] {
            let answer = node.listing_sums(&device, kind, POWER, all.clone()).await;
            sums.extend(answer.unwrap().sums);
        }
        sums
    }

    async fn equal(&self, devices: &[usize]) {
        let what = format!("{devices:?} know the same");
        until(&what, async || {
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
    async fn reconciled(&self, devices: &[usize]) {
        self.clock.advance(Duration::from_secs(1));
        let since = Version::at(self.clock.now());
        let id = self.handle.id();
        for n in devices {
            for ring in [RingName::Account, RingName::Container] {
                until(&format!("d{n} is done with its {ring}s"), async || {
                    let movement = self.movement(*n, ring).await;
                    movement.reconciled == Some(id) && movement.round_started >= since
                })
                .await;
            }
        }
    }

    async fn finish(mut self) {
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

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + LONG;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "waited too long: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn set(names: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    names.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_was_away_hears_of_everything_it_missed_and_nothing_comes_back() {
    let mut cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    for container in ["kept", "dead"] {
        cluster.make(&all, container).await;
        let rows = (0..5).map(|n| cluster.row(&format!("o{n}"))).collect();
        cluster.put_rows(&all, container, rows).await;
    }
    cluster.stop(1).await;
    let others = [0, 2];
    cluster
        .put_rows(
            &others,
            "kept",
            vec![cluster.row("new"), ObjectRow::deletion("o1", cluster.hlc.next())],
        )
        .await;
    let gone = (0..5).map(|n| ObjectRow::deletion(&format!("o{n}"), cluster.hlc.next()));
    cluster.put_rows(&others, "dead", gone.collect()).await;
    let (post, deletion) = (cluster.hlc.next(), cluster.hlc.next());
    for n in others {
        let item = MetaItem {
            name: "x-container-meta-color".into(),
            value: "red".into(),
            version: post,
        };
        let (kept, dead) = (cluster.at(n, Some("kept")), cluster.at(n, Some("dead")));
        cluster
            .node(n)
            .post_container(&kept, post, vec![item])
            .await
            .unwrap();
        cluster.node(n).delete_container(&dead, deletion).await.unwrap();
        cluster.make(&[n], "only here").await;
    }
    // What one device alone has heard of must not be lost either.
    cluster
        .put_rows(&[2], "kept", vec![cluster.row("one replica")])
        .await;
    cluster.restart(1).await;
    cluster.equal(&all).await;
    let kept = set(["o0", "o2", "o3", "o4", "new", "one replica"].map(str::to_owned));
    for n in all {
        assert_eq!(cluster.names(n, "kept").await, kept, "d{n}");
        assert_eq!(cluster.names(n, "dead").await, set([]), "d{n}");
        let (info, dead) = (cluster.info(n, "kept").await, cluster.info(n, "dead").await);
        assert_eq!((info.objects, info.meta[0].value.as_str()), (6, "red"));
        assert_eq!((dead.exists(), dead.deleted), (false, deletion));
        assert!(cluster.info(n, "only here").await.exists());
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_disk_is_filled_again() {
    let mut cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let all = [0, 1, 2];
    cluster.make_account(&all).await;
    for c in 0..12 {
        let container = format!("c{c}");
        cluster.make(&all, &container).await;
        let rows = (0..700).map(|n| cluster.row(&format!("{:03}", n * 31 % 997)));
        cluster.put_rows(&all, &container, rows.collect()).await;
    }
    cluster.equal(&all).await;
    cluster.stop(2).await;
    std::fs::remove_dir_all(cluster.folder(2)).unwrap();
    cluster.restart(2).await;
    cluster.equal(&all).await;
    for c in 0..12 {
        assert_eq!(cluster.names(2, &format!("c{c}")).await.len(), 700);
        assert_eq!(cluster.info(2, &format!("c{c}")).await.objects, 700);
    }
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listings_follow_the_ring_while_they_are_read_and_written() {
    let cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let before = [0, 1, 2];
    cluster.make_account(&before).await;
    let mut names = Vec::new();
    for c in 0..10 {
        cluster.make(&before, &format!("c{c}")).await;
        let rows: Vec<_> = (0..50).map(|n| cluster.row(&format!("o{n}"))).collect();
        names = rows.iter().map(|row| row.name.clone()).collect();
        cluster.put_rows(&before, &format!("c{c}"), rows).await;
    }
    cluster.reconciled(&before).await;
    cluster.use_ring(&[1, 2, 3]);
    // Two of three stay: any two of the new primaries list everything, also
    // what is written meanwhile, whatever has arrived on the third.
    let mut round = 0;
    until("d0 is empty", async || {
        let late = vec![cluster.row(&format!("late{round}"))];
        names.push(format!("late{round}"));
        round += 1;
        cluster.put_rows(&[1, 2], "c0", late).await;
        for c in 0..10 {
            let expected = if c == 0 { names.len() } else { 50 };
            for pair in [[1, 3], [2, 3]] {
                let mut seen = BTreeSet::new();
                for n in pair {
                    seen.extend(cluster.names(n, &format!("c{c}")).await);
                }
                assert_eq!(seen.len(), expected, "c{c} on {pair:?}");
            }
        }
        cluster.sums(0).await.iter().all(|sum| *sum == 0)
    })
    .await;
    cluster.equal(&[1, 2, 3]).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    assert_eq!(cluster.names(3, "c0").await, set(names));
    let left = cluster.movement(0, RingName::Container).await;
    assert_eq!(
        (left.partitions_own, left.partitions_foreign, left.partitions_left),
        (0, 0, 0)
    );
    let to: Vec<&str> = left.pushed.iter().map(|pushed| pushed.device.as_str()).collect();
    assert!(to.contains(&"d3"), "{left:?}");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_while_a_device_was_out_of_the_ring_for_long_does_not_come_back_with_it() {
    let mut cluster = Cluster::start(&[0, 1, 2], settings(50)).await;
    let first = [0, 1, 2];
    cluster.make_account(&first).await;
    for container in ["c", "dead"] {
        cluster.make(&first, container).await;
        cluster
            .put_rows(&first, container, vec![cluster.row("gone"), cluster.row("kept")])
            .await;
    }
    cluster.reconciled(&first).await;
    cluster.stop(1).await;
    cluster.use_ring(&[0, 2, 3]);
    let now = [0, 2, 3];
    cluster.reconciled(&now).await;
    cluster
        .put_rows(&now, "c", vec![ObjectRow::deletion("gone", cluster.hlc.next())])
        .await;
    let dead = ["gone", "kept"].map(|name| ObjectRow::deletion(name, cluster.hlc.next()));
    cluster.put_rows(&now, "dead", dead.to_vec()).await;
    let deletion = cluster.hlc.next();
    for n in now {
        let at = cluster.at(n, Some("dead"));
        cluster.node(n).delete_container(&at, deletion).await.unwrap();
    }
    cluster.clock.advance(WEEK + Duration::from_secs(60));
    cluster.reconciled(&now).await;
    until("the deletions are forgotten", async || {
        let mut forgotten = true;
        for n in now {
            forgotten &= cluster.info(n, "dead").await == ContainerInfo::default();
            let horizon = cluster.movement(n, RingName::Container).await.horizon;
            forgotten &= horizon >= deletion;
        }
        forgotten
    })
    .await;
    cluster.use_ring(&[0, 1, 2]);
    cluster.restart(1).await;
    cluster.reconciled(&[0, 1, 2, 3]).await;
    cluster.equal(&[0, 1, 2]).await;
    for n in [0, 1, 2] {
        assert_eq!(cluster.names(n, "c").await, set(["kept".to_owned()]), "d{n}");
        assert_eq!(cluster.info(n, "dead").await.put, Version(0), "d{n}");
        assert_eq!(cluster.names(n, "dead").await, set([]), "d{n}");
    }
    let aside = cluster.movement(1, RingName::Container).await.set_aside;
    assert!(aside >= 4, "the rows, the head and its metadata: {aside}");
    cluster.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_rows_that_differ_among_many_are_found_with_a_few_kilobytes() {
    let rows = if std::env::var_os("VIRGA_SOAK").is_some() {
        100_000
    } else {
        20_000
    };
    let cluster = Cluster::start(&[0, 1], settings(3_600_000)).await;
    cluster.make(&[0, 1], "c").await;
    let all: Vec<u32> = (0..rows).collect();
    for chunk in all.chunks(5000) {
        let row = |n: &u32| cluster.row(&format!("photos/{:08x}.jpg", n.wrapping_mul(0x9e37_79b9)));
        cluster
            .put_rows(&[0, 1], "c", chunk.iter().map(row).collect())
            .await;
    }
    let passed = || -> u64 {
        let doors = cluster.doors.iter();
        doors.map(|door| door.bytes.load(Ordering::SeqCst)).sum()
    };
    let sums = [cluster.sums(0).await, cluster.sums(1).await];
    assert_eq!(sums[0], sums[1]);
    for (n, name) in [(1, "photos/00"), (0, "photos/77"), (0, "photos/ff")] {
        cluster.put_rows(&[n], "c", vec![cluster.row(name)]).await;
    }
    let before = passed();
    // A ring that only counts further wakes everybody at once.
    cluster.use_ring(&[1, 0]);
    let node = |n: usize| &cluster.servers[n].as_ref().unwrap().progress;
    let done = |n: usize| -> u64 {
        let all = node(n).snapshot();
        let mine = all
            .into_iter()
            .filter(|worker| worker.worker == "reconcile containers");
        mine.map(|worker| worker.done).sum()
    };
    until("both have pushed what the other lacked", async || {
        done(0) >= 2 && done(1) >= 1
    })
    .await;
    let cost = passed() - before;
    cluster.equal(&[0, 1]).await;
    println!("{rows} rows, 3 of them new: {cost} bytes");
    assert!(cost < 64_000, "{cost} bytes");
    assert_eq!(
        (done(0), done(1)),
        (2, 1),
        "nothing but the three rows was pushed"
    );
    cluster.finish().await;
}
