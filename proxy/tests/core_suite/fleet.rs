//! Several proxies before the same nodes, each with its own idea of the rings;
//! nodes that move data as object servers do; a clock for each.
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use virga_node::clock::{Clock, Hlc, Micros, SystemClock};
use virga_node::task::Tasks;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::Push;
use virga_object_wire::node::{ObjectNode, Read};
use virga_object_wire::object::{At, Found, ObjectStat, PostMeta, PutObject, Source};
use virga_object_wire::posted::Posted;
use virga_object_wire::twin::{MemoryNode, TwinNodes};
use virga_proxy::core::{Core, CoreParts, ObjectName, Rings, Settings};
use virga_ring::{HashPath, Ring, RingHandle, RingInfo, Table};

use super::nodes::{PART_POWER, device};

const REPLICAS: usize = 3;

/// Chance that comes from a seed, shared by all who draw.
pub struct Chance(AtomicU64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1))
    }

    /// A number below `limit`.
    pub fn below(&self, limit: u64) -> u64 {
        let step = |state: u64| {
            Some(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407),
            )
        };
        let state = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, step)
            .unwrap();
        (state >> 33) % limit.max(1)
    }

    pub fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }

    pub async fn sleep(&self, most: Duration) {
        tokio::time::sleep(Duration::from_micros(self.below(most.as_micros() as u64))).await;
    }
}

/// A clock that is off by some seconds.
#[derive(Debug)]
struct Off(i64);

impl Clock for Off {
    fn now(&self) -> Micros {
        let now = SystemClock.now().0;
        Micros(now.wrapping_add_signed(self.0 * 1_000_000))
    }
}

/// Which devices hold each partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    version: u64,
    devices: u32,
    parts: Vec<Vec<u32>>,
}

impl Plan {
    pub fn first(devices: u32) -> Self {
        let parts = 0..1u32 << PART_POWER;
        Self {
            version: 1,
            devices,
            parts: parts
                .map(|part| (0..REPLICAS as u32).map(|row| (part + row) % devices).collect())
                .collect(),
        }
    }

    /// Another ring: a device leaves, or some partitions get one new device each.
    pub fn next(&self, chance: &Chance) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let leaving = chance.below(3) == 0;
        let leaver = chance.below(self.devices.into()) as u32;
        for part in &mut next.parts {
            let row = match leaving {
                true => part.iter().position(|id| *id == leaver),
                false => (chance.below(2) == 0).then(|| chance.below(REPLICAS as u64) as usize),
            };
            let others: Vec<u32> = (0..self.devices)
                .filter(|id| !(part.contains(id) || leaving && *id == leaver))
                .collect();
            if let Some(row) = row {
                part[row] = *chance.pick(&others);
            }
        }
        next
    }

    /// Another ring: this device has left.
    pub fn without(&self, leaver: u32) -> Self {
        let mut next = self.clone();
        next.version += 1;
        for part in &mut next.parts {
            let other = (0..self.devices).rev().find(|id| !part.contains(id));
            if let Some(row) = part.iter().position(|id| *id == leaver) {
                part[row] = other.unwrap();
            }
        }
        next
    }

    pub fn ring(&self) -> Ring {
        let slots: Vec<u32> = (0..REPLICAS)
            .flat_map(|row| self.parts.iter().map(move |part| part[row]))
            .collect();
        let table = Table::from_row_major(self.parts.len(), &slots).unwrap();
        let info = RingInfo {
            part_power: PART_POWER,
            version: Some(self.version),
            ..RingInfo::default()
        };
        Ring::new(
            info,
            (0..self.devices).map(|id| Some(device(id))).collect(),
            table,
        )
        .unwrap()
    }
}

/// Waits that fit the latencies of these tests.
pub fn settings() -> Settings {
    Settings {
        node_timeout: Duration::from_secs(4),
        ..Settings::default()
    }
}

/// A proxy.
pub struct Door {
    pub core: Core,
    /// The ring of objects, containers and accounts.
    pub ring: Arc<RingHandle>,
}

pub struct Fleet {
    pub twins: Arc<TwinNodes>,
    pub doors: Vec<Door>,
    pub hash: HashPath,
    pub devices: u32,
    pub tasks: Tasks,
    /// The node that is away, if any (number + 1).
    away: AtomicUsize,
    /// Counts comings and goings.
    pub failures: AtomicU64,
    /// Names whose movement is under way, one at a time each.
    pub plan: Mutex<Plan>,
}

impl Fleet {
    /// Proxies with clocks off by these seconds, all on the first ring. With
    /// `fixed`, containers and accounts have a ring of their own.
    pub fn new(devices: u32, clocks: &[i64], fixed: bool, settings: &Settings) -> Self {
        let plan = Plan::first(devices);
        let hash = HashPath::new("", "test").unwrap();
        let twins = Arc::new(TwinNodes::for_devices(plan.ring().devices()));
        let tasks = Tasks::new();
        let door = |off: &i64| {
            let ring = Arc::new(RingHandle::new(plan.ring()));
            let listings = match fixed {
                true => Arc::new(RingHandle::new(plan.ring())),
                false => Arc::clone(&ring),
            };
            let core = Core::new(CoreParts {
                rings: Rings {
                    hash: hash.clone(),
                    account: Arc::clone(&listings),
                    container: listings,
                    object: vec![(0, Arc::clone(&ring))],
                },
                nodes: Arc::clone(&twins) as _,
                hlc: Arc::new(Hlc::new(Arc::new(Off(*off)))),
                tasks: tasks.clone(),
                settings: settings.clone(),
            });
            Door { core, ring }
        };
        Self {
            doors: clocks.iter().map(door).collect(),
            twins: Arc::clone(&twins),
            hash: hash.clone(),
            devices,
            tasks: tasks.clone(),
            away: AtomicUsize::new(0),
            failures: AtomicU64::new(0),
            plan: Mutex::new(plan),
        }
    }

    pub fn twin(&self, id: u32) -> &Arc<MemoryNode> {
        self.twins.twin(&device(id)).unwrap()
    }

    /// Lets every call take a random time.
    pub fn slow_down(&self, chance: &Arc<Chance>, usual: Duration, sometimes: Duration) {
        for id in 0..self.devices {
            let chance = Arc::clone(chance);
            let latency = move || {
                let most = if chance.below(20) == 0 { sometimes } else { usual };
                Duration::from_micros(chance.below(most.as_micros() as u64))
            };
            self.twin(id).set(|s| s.latency = Some(Arc::new(latency)));
        }
    }

    /// One node goes away; whoever was away is back.
    pub fn fail(&self, id: Option<u32>) {
        self.failures.fetch_add(1, Ordering::SeqCst);
        let now = id.map_or(0, |id| id as usize + 1);
        let before = self.away.swap(now, Ordering::SeqCst);
        if before > 0 {
            self.twin(before as u32 - 1).set_down(false);
        }
        if let Some(id) = id {
            self.twin(id).set_down(true);
        }
    }

    fn at(&self, id: u32, ring: &Ring, name: &ObjectName) -> At {
        let hash = self
            .hash
            .hash(name.account(), Some(name.container()), Some(name.object()));
        At {
            device: format!("d{id}").into(),
            policy: 0,
            partition: ring.partition(&hash),
            hash,
            ring: virga_ring::RingEpoch::NONE,
        }
    }

    /// What a device knows of an object.
    pub async fn knows(&self, id: u32, ring: &Ring, name: &ObjectName) -> Result<Found, NodeError> {
        self.twin(id).head(&self.at(id, ring, name)).await
    }

    /// The devices of an object.
    pub fn primaries(&self, ring: &Ring, name: &ObjectName) -> Vec<u32> {
        let part = self.at(0, ring, name).partition;
        ring.primaries(part).map(|(_, device)| device.id.0).collect()
    }

    /// A round of movement on every device, as nodes do it: what a device has
    /// goes to all that the ring names; it is forgotten where it does not
    /// belong once all have it. Whether everything arrived.
    pub async fn round(&self, ring: &Ring, names: &[ObjectName]) -> bool {
        let mut complete = true;
        for name in names {
            for id in 0..self.devices {
                complete &= self.bring_on(id, ring, name).await.is_ok();
            }
        }
        complete
    }

    async fn bring_on(&self, id: u32, ring: &Ring, name: &ObjectName) -> Result<(), NodeError> {
        let at = self.at(id, ring, name);
        let found = self.twin(id).head(&at).await?;
        if found == Found::Absent {
            return Ok(());
        }
        let targets = self.primaries(ring, name);
        for target in targets.iter().filter(|target| **target != id) {
            self.push(
                &found,
                self.twin(id),
                &at,
                *target,
                &self.at(*target, ring, name),
                name,
            )
            .await?;
        }
        if !targets.contains(&id) {
            // Between looking and forgetting nothing else can happen.
            let twin = self.twin(id);
            let mut latency = None;
            twin.set(|s| latency = s.latency.take());
            let same = futures_util::FutureExt::now_or_never(twin.head(&at)) == Some(Ok(found));
            if same {
                twin.forget(&at);
            }
            twin.set(|s| s.latency = latency);
        }
        Ok(())
    }

    async fn push(
        &self,
        found: &Found,
        from: &MemoryNode,
        at: &At,
        target: u32,
        to: &At,
        name: &ObjectName,
    ) -> Result<(), NodeError> {
        let node = self.twin(target);
        match found {
            Found::Absent => Ok(()),
            Found::Deleted(version) => {
                let path = name.path().to_owned();
                let version = *version;
                node.push(
                    to,
                    Push::Deletion {
                        version,
                        path,
                        row_owed: false,
                    },
                )
                .await
            }
            Found::Object(stat) => {
                match from.get(at, None).await? {
                    Read::Object(read) => {
                        let mut body = read.body;
                        let put = put_of(&read.stat);
                        let mut stream = node.begin_put(to).await?;
                        while let Some(piece) = body.next().await {
                            stream.send(piece?).await?;
                        }
                        stream.commit(put).await?;
                    }
                    // Newer by now: another round brings that.
                    Read::Gone(_) => return Err(NodeError::NotFound),
                }
                if stat.meta_version > stat.version {
                    let meta = PostMeta {
                        content_type: Some(stat.meta.content_type.clone()),
                        delete_at: stat.meta.delete_at,
                        headers: stat.meta.headers.clone(),
                    };
                    let update = Posted::asked(stat.meta_version, meta, stat.version, None);
                    let row_owed = false;
                    node.push(to, Push::Post { update, row_owed }).await?;
                }
                Ok(())
            }
        }
    }
}

fn put_of(stat: &ObjectStat) -> PutObject {
    assert!(stat.size <= 64 * EXTENT as u64);
    PutObject {
        version: stat.version,
        size: stat.size,
        blake3: stat.blake3,
        meta: stat.meta.clone(),
        handoff_for: None,
        source: Source::Replica { row_owed: false },
    }
}
