//! A simulated cluster: machines, the network between them, proxies' cores and
//! the rings, in one thread.
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use virga_disk::kv::KvCache;
use virga_node::clock::Hlc;
use virga_node::task::Tasks;
use virga_object_server::Rings;
use virga_object_server::config::WorkerSettings;
use virga_object_store::device::DeviceOptions;
use virga_object_wire::node::{DeviceState, ObjectNode};
use virga_proxy::core::{Core, CoreParts, Rings as CoreRings, Settings};
use virga_ring::builder::{Builder, NewDevice};
use virga_ring::{DeviceId, HashPath, Ring, RingHandle};

use super::machine::{CAPACITY, Machine, MachineParts, SEGMENT, address};
use super::network::{Network, PROXIES};
use super::world::{SkewedClock, World};

/// Partitions are two to this power.
const PART_POWER: u8 = 3;

/// What a cluster is like at the beginning.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Machines, one device each.
    pub machines: usize,
    /// How many of them are in the rings from the beginning.
    pub members: usize,
    /// Proxies.
    pub proxies: usize,
    /// Bytes of each disk.
    pub capacity: u64,
    /// Age at which a deletion may be forgotten.
    pub reclaim_age: Duration,
    /// Time in which every record is read from the medium.
    pub scrub_pass: Duration,
    /// Whether sums may differ although everything that lives is equal: while some
    /// replicas still keep deletions that others have forgotten.
    pub sums_may_differ: bool,
}

impl Plan {
    /// So many machines, all members.
    pub fn of(machines: usize) -> Self {
        Self {
            machines,
            members: machines,
            proxies: 2,
            capacity: CAPACITY,
            reclaim_age: Duration::from_secs(7 * 24 * 3600),
            scrub_pass: Duration::from_secs(7 * 24 * 3600),
            sums_may_differ: false,
        }
    }
}

/// A proxy's core.
pub struct Proxy {
    /// It.
    pub core: Core,
    /// Its clock.
    pub clock: Arc<SkewedClock>,
    /// Its rings.
    pub rings: Rings,
    tasks: Tasks,
}

/// See the module.
pub struct Cluster {
    /// What everything shares.
    pub world: Arc<World>,
    /// The network.
    pub network: Arc<Network>,
    /// The machines.
    pub machines: Vec<Arc<Machine>>,
    /// The proxies.
    pub proxies: Vec<Proxy>,
    /// What it began with.
    pub plan: Plan,
    builder: Mutex<Builder>,
}

/// Workers look often: virtual time costs little.
fn settings() -> WorkerSettings {
    WorkerSettings {
        update_listings_ms: 500,
        owed_age_ms: 1500,
        report_containers_ms: 500,
        expire_ms: 5000,
        reconcile_ms: 1500,
        in_flight_ms: 1000,
        reclaim_ms: 5000,
        ..WorkerSettings::default()
    }
}

fn new_device(number: usize) -> NewDevice {
    let address = address(number);
    NewDevice {
        region: 1,
        zone: u32::try_from(number).expect("few machines"),
        ip: address.ip().to_string(),
        port: address.port(),
        replication_ip: None,
        replication_port: None,
        device: format!("d{number}"),
        weight: 1.0,
        meta: String::new(),
    }
}

fn ring_of(builder: &Builder) -> Ring {
    builder.to_ring().expect("it was balanced").expect("a good ring")
}

fn rings_of(builder: &Builder) -> Rings {
    let handle = || Arc::new(RingHandle::new(ring_of(builder)));
    Rings {
        hash: HashPath::new("", "simulated").expect("a suffix"),
        account: handle(),
        container: handle(),
        object: vec![(0, handle())],
        grace: Duration::from_secs(5),
    }
}

impl Cluster {
    /// A cluster whose machines are off. Their databases lie in `root`.
    pub fn new(world: &Arc<World>, plan: &Plan, root: &Path) -> Self {
        let mut builder = Builder::create(PART_POWER, 3.0, 0).expect("good settings");
        for number in 0..plan.members {
            builder.add(new_device(number)).expect("a good device");
        }
        builder.rebalance(world.seed(), 0).expect("it can be balanced");
        let network = Network::new(world);
        let cache = KvCache::new(32 << 20);
        let machines = (0..plan.machines).map(|number| {
            let parts = MachineParts {
                number,
                root: root.to_owned(),
                rings: rings_of(&builder),
                cache: cache.clone(),
                settings: settings(),
                options: DeviceOptions {
                    segment_size: SEGMENT,
                    flush_bytes: 4 << 20,
                    flush_age: Duration::from_secs(10),
                    reclaim_age: plan.reclaim_age,
                    scrub_pass: plan.scrub_pass,
                    index_cache: 32 << 20,
                    ..DeviceOptions::default()
                },
                capacity: plan.capacity,
            };
            let machine = Machine::new(world, parts);
            network.add(&machine);
            machine
        });
        let machines = machines.collect();
        let proxies = (0..plan.proxies).map(|number| proxy(world, &network, &builder, number));
        Self {
            proxies: proxies.collect(),
            machines,
            network,
            plan: plan.clone(),
            builder: Mutex::new(builder),
            world: Arc::clone(world),
        }
    }

    /// Turns a machine on.
    pub async fn start(&self, number: usize) {
        let nodes = self.network.nodes(number);
        self.machines[number].start(nodes).await;
    }

    /// Turns all machines on, one after the other.
    pub async fn start_all(&self) {
        for number in 0..self.machines.len() {
            self.start(number).await;
        }
    }

    /// Everybody that sends messages.
    pub fn everybody(&self) -> Vec<usize> {
        let proxies = (0..self.proxies.len()).map(|number| PROXIES + number);
        (0..self.machines.len()).chain(proxies).collect()
    }

    /// Changes the ring; machines and proxies get it at times of their own,
    /// within `spread`.
    pub async fn change_ring(&self, change: impl FnOnce(&mut Builder), spread: Duration) {
        let rings: Vec<(usize, Rings)> = {
            let mut builder = self.builder.lock().expect("nobody panics here");
            change(&mut builder);
            builder
                .rebalance(self.world.seed() + 1, 1_800_000_000)
                .expect("it can be balanced");
            let machines = self.machines.iter().map(|machine| machine.rings.clone());
            let proxies = self.proxies.iter().map(|proxy| proxy.rings.clone());
            machines.chain(proxies).enumerate().collect()
        };
        let mut order: Vec<(Duration, usize, Rings)> = rings
            .into_iter()
            .map(|(who, rings)| {
                let most = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
                (self.world.millis(0, most), who, rings)
            })
            .collect();
        order.sort_by_key(|(at, who, _)| (*at, *who));
        let mut now = Duration::ZERO;
        for (at, who, rings) in order {
            tokio::time::sleep(at - now).await;
            now = at;
            self.world.note(format_args!("{who} gets the new ring"));
            let builder = self.builder.lock().expect("nobody panics here");
            for handle in [&rings.account, &rings.container, &rings.object[0].1] {
                handle.swap(ring_of(&builder));
            }
        }
    }

    /// Adds the device of a machine to the rings.
    pub fn add(builder: &mut Builder, number: usize) {
        builder.add(new_device(number)).expect("a good device");
    }

    /// Takes the device of a machine out of the rings.
    pub fn remove(builder: &mut Builder, number: usize) {
        let id = builder
            .devices()
            .find(|device| device.device == format!("d{number}"))
            .map(|device| device.id);
        let id: DeviceId = id.expect("a device of the ring");
        builder.remove(id).expect("it can be removed");
    }

    /// The ring as it is meant to be.
    pub fn ring(&self) -> Ring {
        ring_of(&self.builder.lock().expect("nobody panics here"))
    }

    /// Hash of names.
    pub fn hash(&self) -> &HashPath {
        &self.machines[0].rings.hash
    }

    /// Ends all faults: the network heals, disks work, clocks are right, machines
    /// run, and those whose device went out of service are restarted, as an
    /// operator would.
    pub async fn heal(&self) {
        self.network.heal();
        for proxy in &self.proxies {
            proxy.clock.skew(0);
        }
        for machine in &self.machines {
            machine.clock.skew(0);
            machine.disk().heal();
            machine.slow_down(1);
            if let Some(running) = machine.running() {
                let status = running.node.status().await.unwrap_or_default();
                let sick = |state| matches!(state, DeviceState::ReadOnly | DeviceState::Failed);
                if status.iter().any(|device| sick(device.state)) {
                    machine.kill();
                }
            }
            self.start(machine.number).await;
        }
    }

    /// Stops everything, so that folders can go.
    pub fn end(&self) {
        for proxy in &self.proxies {
            proxy.tasks.stopping().cancel();
        }
        for machine in &self.machines {
            machine.kill();
        }
    }
}

fn proxy(world: &Arc<World>, network: &Arc<Network>, builder: &Builder, number: usize) -> Proxy {
    let (clock, tasks, rings) = (SkewedClock::new(world), Tasks::new(), rings_of(builder));
    let core = Core::new(CoreParts {
        rings: CoreRings {
            hash: rings.hash.clone(),
            account: Arc::clone(&rings.account),
            container: Arc::clone(&rings.container),
            object: rings.object.clone(),
        },
        nodes: network.nodes(PROXIES + number),
        hlc: Arc::new(Hlc::new(clock.clone())),
        tasks: tasks.clone(),
        settings: Settings {
            ring_grace: Duration::from_secs(10),
            gone_after: Duration::from_secs(10),
            // No thread but this one.
            hash_inline: usize::MAX,
            ..Settings::default()
        },
    });
    core.watch_rings();
    Proxy {
        core,
        clock,
        rings,
        tasks,
    }
}

/// A folder for databases; in memory if the machine has such. It must outlive
/// the runtime: a database that is closed without its folder waits a second, on
/// the clock of the wall, before it gives up.
pub fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .expect("a temporary folder")
}
