//! The daemon and its workers over several nodes: what is owed gets paid, what
//! expires goes, what was kept for another arrives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a test fails by panicking; the steps of the behaviour module are not all used here"
)]
mod behaviour;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use behaviour::bytes;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;
use virga_node::clock::{Clock, Hlc, SystemClock};
use virga_node::health::Health;
use virga_node::task::Tasks;
use virga_object_server::config::{DeviceEntry, WorkerSettings};
use virga_object_server::workers::Progress;
use virga_object_server::{Config, Parts, Rings, RunError, run};
use virga_object_wire::checked::{Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{Entry, ListRequest, PutAccount, PutContainer};
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::object::{At, Found, ObjectMeta, PutObject, Source};
use virga_object_wire::table::NodeTable;
use virga_ring::builder::{Builder, NewDevice};
use virga_ring::{Device, HashPath, NameHash, RingHandle};
use virga_rpc::Secret;

const SECRET: &str = "the secret of these tests";
const LONG: Duration = Duration::from_secs(60);

/// Three servers with one device each, three replicas.
struct Cluster {
    root: tempfile::TempDir,
    rings: Rings,
    servers: Vec<Option<Server>>,
    nodes: Arc<NodeTable>,
    hlc: Hlc,
}

struct Server {
    tasks: Tasks,
    progress: Progress,
    running: JoinHandle<Result<(), RunError>>,
    port: u16,
}

fn fast() -> WorkerSettings {
    WorkerSettings {
        update_listings_ms: 20,
        owed_age_ms: 0,
        report_containers_ms: 20,
        expire_ms: 20,
        delay_reaping_ms: 0,
        reconcile_ms: 20,
        in_flight_ms: 0,
        move_bytes_per_s: 0,
        reclaim_ms: 1000,
    }
}

fn config(root: &Path, n: usize) -> Config {
    let entry = DeviceEntry {
        name: format!("d{n}"),
        path: root.join(format!("d{n}")),
    };
    Config {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        advertise: None,
        cluster: Uuid::from_u128(7),
        secret: SECRET.into(),
        devices: vec![entry],
        cache_bytes: 8 << 20,
        segment_bytes: Some(8 << 20),
        workers: fast(),
    }
}

fn ring(ports: &[u16]) -> Arc<RingHandle> {
    let mut builder = Builder::create(4, 3.0, 0).unwrap();
    for (n, port) in ports.iter().enumerate() {
        let device = NewDevice {
            region: 1,
            zone: n as u32,
            ip: "127.0.0.1".into(),
            port: *port,
            replication_ip: None,
            replication_port: None,
            device: format!("d{n}"),
            weight: 1.0,
            meta: String::new(),
        };
        builder.add(device).unwrap();
    }
    builder.rebalance(1, 0).unwrap();
    Arc::new(RingHandle::new(builder.to_ring().unwrap().unwrap()))
}

impl Cluster {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let ring = ring(&ports);
        let rings = Rings {
            grace: Duration::ZERO,
            hash: HashPath::new("prefix", "").unwrap(),
            account: ring.clone(),
            container: ring.clone(),
            object: vec![(0, ring)],
        };
        let nodes = Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), Tasks::new()));
        let hlc = Hlc::new(Arc::new(SystemClock));
        let mut cluster = Self {
            root,
            rings,
            servers: Vec::new(),
            nodes,
            hlc,
        };
        for (n, listener) in listeners.into_iter().enumerate() {
            let server = cluster.server(n, listener).await;
            cluster.servers.push(Some(server));
        }
        cluster
    }

    /// A server as in a process of its own: it reaches the others by network.
    async fn server(&self, n: usize, listener: TcpListener) -> Server {
        let (tasks, progress, health) = (Tasks::new(), Progress::default(), Health::new());
        let port = listener.local_addr().unwrap().port();
        let parts = Parts {
            tasks: tasks.clone(),
            clock: Arc::new(SystemClock),
            health: health.clone(),
            nodes: Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), tasks.clone())),
            rings: self.rings.clone(),
            listener: Some(listener),
            progress: progress.clone(),
        };
        let running = tasks.spawn(run(config(self.root.path(), n), parts));
        until("the server is up", async || {
            !health.snapshot().is_empty() && health.serving()
        })
        .await;
        Server {
            tasks,
            progress,
            running,
            port,
        }
    }

    async fn stop(&mut self, n: usize) -> u16 {
        let server = self.servers[n].take().unwrap();
        assert!(server.tasks.drain(LONG).await, "every task ended");
        server.running.await.unwrap().unwrap();
        server.port
    }

    async fn restart(&mut self, n: usize, port: u16) {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        self.servers[n] = Some(self.server(n, listener).await);
    }

    fn progress(&self, n: usize) -> &Progress {
        &self.servers[n].as_ref().unwrap().progress
    }

    fn device(&self, n: usize) -> Device {
        let ring = self.rings.container.current();
        ring.devices()
            .find(|device| device.device == format!("d{n}"))
            .unwrap()
            .clone()
    }

    fn node(&self, n: usize) -> Arc<dyn ObjectNode> {
        self.nodes.node(&self.device(n))
    }

    fn at(&self, n: usize, hash: NameHash) -> At {
        let partition = self.rings.container.current().partition(&hash);
        At {
            device: format!("d{n}").into(),
            policy: 0,
            partition,
            hash,
            ring: virga_ring::RingEpoch::NONE,
        }
    }

    fn hash(&self, container: Option<&str>, object: Option<&str>) -> NameHash {
        self.rings.hash.hash("a", container, object)
    }

    /// An account and a container on every server.
    async fn container(&self) {
        for n in 0..3 {
            let version = self.hlc.next();
            let account = PutAccount {
                account: "a".into(),
                version,
                meta: Vec::new(),
            };
            self.node(n)
                .put_account(&self.at(n, self.hash(None, None)), account)
                .await
                .unwrap();
            let (account, container) = ("a".into(), "c".into());
            let made = PutContainer {
                account,
                container,
                version,
                deleted: virga_node::clock::Version(0),
                policy: 0,
                meta: Vec::new(),
            };
            self.node(n)
                .put_container(&self.at(n, self.hash(Some("c"), None)), made)
                .await
                .unwrap();
        }
    }

    fn object(&self, body: &[u8]) -> PutObject {
        let meta = ObjectMeta {
            path: "a/c/o".into(),
            ..ObjectMeta::default()
        };
        let (version, blake3) = (self.hlc.next(), *blake3::hash(body).as_bytes());
        PutObject {
            version,
            size: body.len() as u64,
            blake3,
            meta,
            handoff_for: None,
            source: Source::Client,
        }
    }

    /// Live and deleted names that server `n` lists.
    async fn listed(&self, n: usize) -> Result<(Vec<String>, Vec<String>), NodeError> {
        let list = ListRequest {
            limit: 100,
            ..ListRequest::default()
        };
        let page = self
            .node(n)
            .list_container(&self.at(n, self.hash(Some("c"), None)), list)
            .await?;
        let rows = page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) => Some(row),
            Entry::Subdir(_) => None,
        });
        let (dead, live): (Vec<_>, Vec<_>) = rows.partition(|row| row.deleted);
        let names =
            |rows: Vec<virga_object_wire::listing::ObjectRow>| rows.into_iter().map(|r| r.name).collect();
        Ok((names(live), names(dead)))
    }
}

/// Waits for something that the workers bring about.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, wait)
        .await
        .unwrap_or_else(|_| panic!("waited too long: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_owed_while_container_nodes_were_down_are_paid_when_they_are_back() {
    let mut cluster = Cluster::start().await;
    cluster.container().await;
    let ports = [cluster.stop(1).await, cluster.stop(2).await];
    let object = cluster.at(0, cluster.hash(Some("c"), Some("o")));
    let body = bytes(100, 0);
    cluster
        .node(0)
        .put(&object, cluster.object(&body), Checked::seal(body.into()))
        .await
        .unwrap();
    until("the worker has tried and failed", async || {
        let all = cluster.progress(0).snapshot();
        all.iter()
            .any(|w| w.worker == "update listings" && w.left == 1 && w.last_error.is_some())
    })
    .await;
    cluster.restart(1, ports[0]).await;
    cluster.restart(2, ports[1]).await;
    // a reader asks two of three, so two are enough
    until("a quorum lists the row", async || {
        let mut listing = 0;
        for n in 0..3 {
            listing += usize::from(cluster.listed(n).await.is_ok_and(|(live, _)| live == ["o"]));
        }
        listing >= 2
    })
    .await;
    until("nothing is owed any more", async || {
        let all = cluster.progress(0).snapshot();
        all.iter()
            .any(|w| w.worker == "update listings" && w.done >= 1 && w.left == 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_hear_what_their_containers_hold() {
    let mut cluster = Cluster::start().await;
    cluster.container().await;
    for n in 0..3 {
        let object = cluster.at(n, cluster.hash(Some("c"), Some("o")));
        let body = bytes(1000, 0);
        let put = PutObject {
            version: virga_node::clock::Version::at(SystemClock.now()),
            ..cluster.object(&body)
        };
        cluster
            .node(n)
            .put(&object, put, Checked::seal(body.into()))
            .await
            .unwrap();
    }
    for n in 0..3 {
        let account = cluster.at(n, cluster.hash(None, None));
        until("the account counts the object", async || {
            let info = cluster.node(n).head_account(&account).await;
            info.is_ok_and(|info| (info.containers, info.objects, info.bytes) == (1, 1, 1000))
        })
        .await;
    }
    for n in 0..3 {
        cluster.stop(n).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_object_is_deleted_everywhere_and_leaves_the_listing() {
    let cluster = Cluster::start().await;
    cluster.container().await;
    let body = bytes(10, 0);
    let mut put = cluster.object(&body);
    put.meta.delete_at = Some(SystemClock.now().as_secs());
    let deletion = virga_node::clock::Version(put.version.0 + 1);
    for n in 0..3 {
        let object = cluster.at(n, cluster.hash(Some("c"), Some("o")));
        cluster
            .node(n)
            .put(&object, put.clone(), Checked::seal(body.clone().into()))
            .await
            .unwrap();
    }
    for n in 0..3 {
        let object = cluster.at(n, cluster.hash(Some("c"), Some("o")));
        until("the object is deleted", async || {
            cluster.node(n).head(&object).await == Ok(Found::Deleted(deletion))
        })
        .await;
        until("the deletion is listed", async || {
            cluster
                .listed(n)
                .await
                .is_ok_and(|(live, dead)| live.is_empty() && dead == ["o"])
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_kept_for_a_device_that_was_away_are_brought_to_it() {
    let mut cluster = Cluster::start().await;
    let port = cluster.stop(1).await;
    let object = cluster.hash(Some("c"), Some("o"));
    let body = bytes(2 * EXTENT + 77, 0);
    let put = PutObject {
        handoff_for: Some(cluster.device(1).id.0),
        ..cluster.object(&body)
    };
    let mut stream = cluster.node(0).begin_put(&cluster.at(0, object)).await.unwrap();
    for piece in body.chunks(EXTENT) {
        stream.send(Checked::seal(piece.to_vec().into())).await.unwrap();
    }
    stream.commit(put.clone()).await.unwrap();
    cluster.restart(1, port).await;
    until("the record has arrived", async || {
        let found = cluster.node(1).head(&cluster.at(1, object)).await;
        matches!(found, Ok(Found::Object(stat)) if (stat.version, stat.blake3) == (put.version, put.blake3))
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let root = tempfile::tempdir().unwrap();
    let parts = || {
        let ring = ring(&[1, 2, 3]);
        let tasks = Tasks::new();
        Parts {
            tasks: tasks.clone(),
            clock: Arc::new(SystemClock),
            health: Health::new(),
            nodes: Arc::new(NodeTable::new(Secret::new(SECRET).unwrap(), tasks)),
            rings: Rings {
                grace: Duration::ZERO,
                hash: HashPath::new("p", "").unwrap(),
                account: ring.clone(),
                container: ring.clone(),
                object: vec![(0, ring)],
            },
            listener: None,
            progress: Progress::default(),
        }
    };
    let good = config(root.path(), 0);
    let none = Config {
        devices: Vec::new(),
        ..good.clone()
    };
    assert!(matches!(run(none, parts()).await, Err(RunError::NoDevices)));
    let twice = Config {
        devices: [good.devices.clone(), good.devices.clone()].concat(),
        ..good.clone()
    };
    assert!(matches!(run(twice, parts()).await, Err(RunError::SameName(name)) if name == "d0"));
    let weak = Config {
        secret: "short".into(),
        ..good.clone()
    };
    assert!(matches!(run(weak, parts()).await, Err(RunError::Secret(_))));
    std::fs::write(root.path().join("d0"), b"no folder").unwrap();
    let parts = parts();
    let health = parts.health.clone();
    assert!(matches!(run(good, parts).await, Err(RunError::NothingOpens { device, .. }) if device == "d0"));
    assert!(!health.serving());
}
