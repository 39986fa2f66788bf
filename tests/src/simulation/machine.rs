//! A simulated machine: one object server with one device, that can be stopped,
//! killed, lose power, or get another disk.
//!
//! The node is the real one; its loops are tasks ([`Life`] drives them). What
//! outlives a crash is the [`FaultDisk`] and, of the databases, a copy of their
//! folders from that very moment: `RocksDB` writes memtables out when it is
//! closed, which a crash does not.
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::AbortHandle;
use virga_disk::io::Disk;
use virga_disk::io::fault::FaultDisk;
use virga_disk::kv::KvCache;
use virga_disk::segment::header::Identity;
use virga_disk::threads::{Driver, Job, Threads, Work};
use virga_node::clock::Clock;
use virga_node::task::Tasks;
use virga_object_server::config::WorkerSettings;
use virga_object_server::local::{DeviceParts, LocalNode};
use virga_object_server::workers::Progress;
use virga_object_server::{Rings, Standing, start_duties};
use virga_object_store::device::{DeviceConfig, DeviceOptions, Storage};
use virga_object_wire::node::Nodes;

use super::disk::TracedDisk;
use super::world::{SkewedClock, World};

/// Size of segments, bytes.
pub const SEGMENT: u64 = 4 << 20;
/// Capacity of a disk unless a scenario says otherwise, bytes.
pub const CAPACITY: u64 = 256 << 20;

/// One life of a machine, from start to stop: drives the loops of its device.
pub struct Life {
    world: Arc<World>,
    tasks: Tasks,
    started: Mutex<Vec<AbortHandle>>,
    /// How many times slower than usual the disk is.
    slowness: Arc<AtomicU64>,
}

impl Life {
    /// Starts a task that ends with this life.
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task = self.tasks.spawn(work);
        let mut started = self.started.lock().expect("nobody panics here");
        started.retain(|task| !task.is_finished());
        started.push(task.abort_handle());
        task
    }

    fn end(&self) {
        self.tasks.stopping().cancel();
        for task in self.started.lock().expect("nobody panics here").drain(..) {
            task.abort();
        }
    }
}

impl Driver for Life {
    fn takes(&self, work: Work) -> Duration {
        let longest = match work {
            Work::Write => 2,
            Work::Sync => 6,
            Work::Rows => 6,
            Work::Block => 3,
        };
        self.world
            .millis(0, longest)
            .saturating_mul(u32::try_from(self.slowness.load(Ordering::Relaxed)).unwrap_or(u32::MAX))
    }

    fn spawn(&self, job: Job) {
        drop(Life::spawn(self, job));
    }
}

/// A node that runs.
#[derive(Clone)]
pub struct Running {
    /// It.
    pub node: Arc<LocalNode>,
    /// Its life.
    pub life: Arc<Life>,
}

struct State {
    running: Option<Running>,
    disk: FaultDisk,
    /// Which of the folders below the machine's is in use.
    folder: u32,
    identity: Identity,
    options: DeviceOptions,
}

/// A machine. See the module.
pub struct Machine {
    /// Its number; its address follows from it.
    pub number: usize,
    /// Its clock.
    pub clock: Arc<SkewedClock>,
    /// Its rings, as its files say: they outlive its process.
    pub rings: Rings,
    /// What its workers show.
    pub progress: Progress,
    world: Arc<World>,
    root: PathBuf,
    cache: KvCache,
    settings: WorkerSettings,
    slowness: Arc<AtomicU64>,
    state: Mutex<State>,
}

/// Address of a machine.
pub fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(number + 1).expect("few machines")], 6200))
}

/// What a machine is made of.
pub struct MachineParts {
    /// Its number.
    pub number: usize,
    /// Where folders may be made.
    pub root: PathBuf,
    /// Its rings.
    pub rings: Rings,
    /// Block cache, shared by all machines.
    pub cache: KvCache,
    /// How often its workers look.
    pub settings: WorkerSettings,
    /// How its device is.
    pub options: DeviceOptions,
    /// Bytes of its disk.
    pub capacity: u64,
}

impl Machine {
    /// A machine with an empty disk, off.
    pub fn new(world: &Arc<World>, parts: MachineParts) -> Arc<Self> {
        Arc::new(Self {
            number: parts.number,
            clock: SkewedClock::new(world),
            rings: parts.rings,
            progress: Progress::default(),
            root: parts.root.join(format!("n{}", parts.number)),
            cache: parts.cache,
            settings: parts.settings,
            slowness: Arc::new(AtomicU64::new(1)),
            state: Mutex::new(State {
                running: None,
                disk: FaultDisk::new(parts.capacity, world.bits()),
                folder: 0,
                identity: identity(world, parts.number),
                options: parts.options,
            }),
            world: Arc::clone(world),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics here")
    }

    /// The node, if it runs.
    pub fn running(&self) -> Option<Running> {
        self.state().running.clone()
    }

    /// The disk that is in it.
    pub fn disk(&self) -> FaultDisk {
        self.state().disk.clone()
    }

    /// Makes its disk this many times slower than usual.
    pub fn slow_down(&self, times: u64) {
        self.world
            .note(format_args!("n{} disk slow x{times}", self.number));
        self.slowness.store(times, Ordering::Relaxed);
    }

    /// Turns it on and waits until its node answers. Nothing if it is on.
    pub async fn start(&self, nodes: Arc<dyn Nodes>) {
        if self.state().running.is_some() {
            return;
        }
        let tasks = Tasks::new();
        let life = Arc::new(Life {
            world: Arc::clone(&self.world),
            tasks: tasks.clone(),
            started: Mutex::default(),
            slowness: Arc::clone(&self.slowness),
        });
        let parts = self.device(&life);
        let clock: Arc<dyn Clock> = self.clock.clone();
        let node = Arc::new(LocalNode::open_parts(vec![parts], &clock).await);
        let failed = node.failed();
        self.world.note(format_args!(
            "n{} starts, {} devices failed",
            self.number,
            failed.len()
        ));
        for (device, why) in failed {
            // Paths of temporary folders must not get into the trace.
            eprintln!("n{}: {device} cannot be opened: {why}", self.number);
        }
        let standing = Standing {
            nodes,
            rings: self.rings.clone(),
            clock,
            settings: self.settings.clone(),
            progress: self.progress.clone(),
            address: address(self.number),
        };
        start_duties(&node, standing, &tasks);
        self.state().running = Some(Running { node, life });
    }

    fn device(&self, life: &Arc<Life>) -> DeviceParts {
        let state = self.state();
        let folder = self.folder(state.folder);
        std::fs::create_dir_all(&folder).expect("a folder for databases");
        let disk: Arc<dyn Disk> = Arc::new(TracedDisk::new(state.disk.clone(), &self.world, self.number));
        DeviceParts {
            objects: DeviceConfig {
                name: format!("d{}", self.number).into(),
                storage: Storage::Disk {
                    disk,
                    identity: state.identity,
                    index: folder.join("index"),
                },
                cache: self.cache.clone(),
                options: DeviceOptions {
                    threads: Threads::Tasks(Arc::clone(life) as Arc<dyn Driver>),
                    ..state.options.clone()
                },
            },
            listings: folder.join("list"),
        }
    }

    fn folder(&self, number: u32) -> PathBuf {
        self.root.join(number.to_string())
    }

    /// Stops it in peace. Nothing if it is off.
    pub async fn stop(&self) {
        let Some(running) = self.running() else { return };
        running.life.tasks.stopping().cancel();
        running.node.close().await;
        self.world.note(format_args!("n{} stopped", self.number));
        self.leave(|disk, _| disk.kill());
    }

    /// Its process dies; what it wrote stays written. Nothing if it is off.
    pub fn kill(&self) {
        if self.leave(|disk, _| disk.kill()) {
            self.world.note(format_args!("n{} killed", self.number));
        }
    }

    /// Its power fails: of what was not synced anything may be gone. Nothing if
    /// it is off.
    pub fn cut_power(&self) {
        if self.leave(|disk, seed| disk.crash(seed)) {
            self.world.note(format_args!("n{} lost power", self.number));
        }
    }

    fn leave(&self, how: impl FnOnce(&FaultDisk, u64)) -> bool {
        let mut state = self.state();
        let Some(running) = state.running.take() else {
            return false;
        };
        running.life.end();
        how(&state.disk, self.world.bits());
        let old = self.folder(state.folder);
        state.folder += 1;
        let new = self.folder(state.folder);
        for database in ["index", "list"] {
            copy(&old.join(database), &new.join(database));
        }
        // Nobody reads the old folder again. It stays until the run is over: a
        // database that is closed without its folder waits a second, on the
        // clock of the wall, before it gives up.
        true
    }

    /// Puts an empty disk in place of the one it has. It must be off.
    pub fn swap_disk(&self, capacity: u64) {
        let mut state = self.state();
        assert!(
            state.running.is_none(),
            "a disk is swapped in a machine that is off"
        );
        state.folder += 1;
        state.disk = FaultDisk::new(capacity, self.world.bits());
        state.identity = identity(&self.world, self.number);
        self.world
            .note(format_args!("n{} has an empty disk", self.number));
    }

    /// Exchanges the disks of two machines, databases included. Both must be off.
    pub fn exchange_disks(&self, other: &Self) {
        let (mut one, mut two) = (self.state(), other.state());
        assert!(one.running.is_none() && two.running.is_none(), "both are off");
        std::mem::swap(&mut one.disk, &mut two.disk);
        std::mem::swap(&mut one.identity, &mut two.identity);
        let (first, second) = (self.folder(one.folder), other.folder(two.folder));
        one.folder += 1;
        two.folder += 1;
        for database in ["index", "list"] {
            copy(&second.join(database), &self.folder(one.folder).join(database));
            copy(&first.join(database), &other.folder(two.folder).join(database));
        }
        self.world.note(format_args!(
            "n{} and n{} exchange their disks",
            self.number, other.number
        ));
    }
}

fn identity(world: &World, number: usize) -> Identity {
    let mut device = [0; 16];
    device[..8].copy_from_slice(&world.bits().to_le_bytes());
    device[8] = u8::try_from(number).expect("few machines");
    Identity {
        device,
        secret: world.bits(),
    }
}

/// Copies a folder of a database as of one moment: anew until nothing changed
/// meanwhile, as `RocksDB` compacts in the background. Tables never change and
/// are linked.
fn copy(from: &Path, to: &Path) {
    loop {
        std::fs::create_dir_all(to).expect("a folder");
        let before = sizes(from);
        let copied = before.iter().all(|(name, _)| {
            let (from, to) = (from.join(name), to.join(name));
            if name.ends_with(".sst") {
                std::fs::hard_link(from, to).is_ok()
            } else {
                std::fs::copy(from, to).is_ok()
            }
        });
        if copied && sizes(from) == before {
            return;
        }
        std::fs::remove_dir_all(to).expect("a folder that was just made");
    }
}

fn sizes(folder: &Path) -> Vec<(String, u64)> {
    let Ok(files) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut all: Vec<(String, u64)> = files
        .filter_map(Result::ok)
        .map(|file| {
            // A file that goes away meanwhile shows as one that changed.
            let size = file.metadata().map_or(0, |meta| meta.len());
            (file.file_name().to_string_lossy().into_owned(), size)
        })
        .collect();
    all.sort();
    all
}
