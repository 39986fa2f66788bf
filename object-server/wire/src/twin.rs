//! The node in memory: what every [`ObjectNode`] must do, in the plainest words.
//!
//! [`MemoryNode`] is the reference that real nodes are compared with, and the
//! twin that layers above are tested against: maps under a mutex, and switches
//! for what goes wrong in life ([`Switches`]). Nothing here is durable, fast or
//! used outside tests.
mod compare;
mod listings;
mod node;
mod objects;
mod page;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use virga_node::clock::{Clock, SystemClock, Version};
use virga_ring::{Device, RingHandle};

use crate::error::NodeError;
use crate::fence::RingFence;
use crate::hold::Holds;
use crate::listing::ObjectRow;
use crate::movement::{Movement, RingName};
use crate::node::{Nodes, ObjectNode};
use crate::object::At;

/// Storage policy, partition and hash of a name.
type Key = (u32, u32, [u8; 16]);

/// How far ahead of the node's clock a version may lie.
const AHEAD: Duration = Duration::from_secs(60);

/// What a test can make go wrong. All off at first.
#[derive(Clone, Default)]
pub struct Switches {
    /// Every call fails with this and does nothing; `Unreachable` is a dead node.
    pub answer: Option<NodeError>,
    /// New data is refused with [`NodeError::Full`].
    pub full: bool,
    /// Calls are carried out, then answered as if the connection had broken.
    pub drop_acks: bool,
    /// Every call first waits here for one notification.
    pub delay_calls: Option<Arc<Notify>>,
    /// Every piece of a body first waits here for one notification.
    pub delay_bodies: Option<Arc<Notify>>,
    /// Every call takes as long as this says before it is carried out.
    pub latency: Option<Latency>,
}

/// How long the next call takes.
pub type Latency = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Switches and counters, shared with the bodies that are being read.
#[derive(Default)]
struct Control {
    switches: std::sync::Mutex<Switches>,
    waiting: AtomicUsize,
    calls: std::sync::Mutex<BTreeMap<&'static str, u64>>,
}

impl Control {
    fn switches(&self) -> Switches {
        locked(&self.switches).clone()
    }

    fn count(&self, method: &'static str) {
        *locked(&self.calls).entry(method).or_default() += 1;
    }

    async fn wait(&self, gate: Option<Arc<Notify>>) {
        if let Some(gate) = gate {
            let waiting = Waiting::one(&self.waiting);
            gate.notified().await;
            drop(waiting);
        }
    }
}

/// Counts a waiting call, given up ones not.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn one(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Everything on one device.
#[derive(Default)]
struct Contents {
    down: bool,
    objects: BTreeMap<Key, objects::Slot>,
    owed: BTreeMap<Key, Owed>,
    containers: HashMap<Key, listings::Container>,
    accounts: HashMap<Key, listings::Account>,
    quarantined: u64,
}

/// A container row that a node owes until it is settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owed {
    /// "account/container/object".
    pub path: String,
    /// The row.
    pub row: ObjectRow,
    /// Version to settle: of the data, of the deletion, or of the metadata.
    pub version: Version,
}

/// An object server in memory.
pub struct MemoryNode {
    clock: Arc<dyn Clock>,
    devices: BTreeMap<Arc<str>, Arc<std::sync::Mutex<Contents>>>,
    control: Arc<Control>,
    holds: Holds,
    movement: std::sync::Mutex<Vec<Movement>>,
    rings: std::sync::Mutex<Option<TwinRings>>,
    ring_file: std::sync::Mutex<Option<Vec<u8>>>,
}

/// The rings that a twin goes by.
struct TwinRings {
    fence: RingFence,
    handles: BTreeMap<RingName, Arc<RingHandle>>,
}

fn locked<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn key(at: &At) -> Key {
    (at.policy, at.partition.0, at.hash.0)
}

impl MemoryNode {
    /// A node with these devices, empty, on the machine's clock.
    pub fn new<'a>(devices: impl IntoIterator<Item = &'a str>) -> Self {
        Self::with_clock(devices, Arc::new(SystemClock))
    }

    /// A node that judges versions from the future by `clock`.
    pub fn with_clock<'a>(devices: impl IntoIterator<Item = &'a str>, clock: Arc<dyn Clock>) -> Self {
        let devices = devices
            .into_iter()
            .map(|name| (Arc::from(name), Arc::default()))
            .collect();
        Self {
            clock,
            devices,
            control: Arc::default(),
            holds: Holds::default(),
            movement: std::sync::Mutex::default(),
            rings: std::sync::Mutex::default(),
            ring_file: std::sync::Mutex::default(),
        }
    }

    /// Changes the switches.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut locked(&self.control.switches));
    }

    /// What the node says about its movement from now on.
    pub fn set_movement(&self, movement: Vec<Movement>) {
        *locked(&self.movement) = movement;
    }

    /// From now on the node goes by these rings: it gives them away, and what
    /// the fence refuses it refuses.
    pub fn set_fence(
        &self,
        fence: RingFence,
        handles: impl IntoIterator<Item = (RingName, Arc<RingHandle>)>,
    ) {
        let handles = handles.into_iter().collect();
        *locked(&self.rings) = Some(TwinRings { fence, handles });
    }

    /// Gives this away in place of its rings.
    pub fn set_ring_file(&self, bytes: Vec<u8>) {
        *locked(&self.ring_file) = Some(bytes);
    }

    /// Makes the node unreachable, or reachable again with all it held.
    pub fn set_down(&self, down: bool) {
        self.set(|s| s.answer = down.then(|| NodeError::Unreachable("switched off".into())));
    }

    /// Makes one device unavailable, or available again with all it held.
    pub fn set_device_down(&self, device: &str, down: bool) {
        if let Some(contents) = self.devices.get(device) {
            locked(contents).down = down;
        }
    }

    /// Calls and bodies that wait for a notification right now.
    pub fn waiting(&self) -> usize {
        self.control.waiting.load(Ordering::SeqCst)
    }

    /// How often the method of this name was called ("put", "list_account"), or an
    /// upload's "commit", refused calls included.
    pub fn calls(&self, method: &str) -> u64 {
        locked(&self.control.calls).get(method).copied().unwrap_or(0)
    }

    /// Flips a bit in the given block of a stored object. Returns whether
    /// there is such a block.
    pub fn corrupt(&self, at: &At, block: usize) -> bool {
        self.devices.get(&at.device).is_some_and(|contents| {
            locked(contents)
                .objects
                .get_mut(&key(at))
                .is_some_and(|slot| slot.corrupt(block))
        })
    }

    /// Forgets all about an object, as a replica that never heard of it.
    pub fn forget(&self, at: &At) {
        if let Some(contents) = self.devices.get(&at.device) {
            let mut contents = locked(contents);
            contents.objects.remove(&key(at));
            contents.owed.remove(&key(at));
        }
    }

    /// The ring id of the device that a stored object stands in for.
    pub fn handoff_for(&self, at: &At) -> Option<u32> {
        let contents = self.devices.get(&at.device)?;
        locked(contents)
            .objects
            .get(&key(at))
            .and_then(objects::Slot::handoff_for)
    }

    /// Rows that the device owes.
    pub fn owed(&self, device: &str) -> Vec<Owed> {
        self.devices
            .get(device)
            .map_or_else(Vec::new, |c| locked(c).owed.values().cloned().collect())
    }

    /// Counts the call, waits where the switches say so, and refuses if they do.
    async fn enter(&self, method: &'static str) -> Result<(), NodeError> {
        self.control.count(method);
        self.control.wait(self.control.switches().delay_calls).await;
        if let Some(latency) = self.control.switches().latency {
            tokio::time::sleep(latency()).await;
        }
        self.control.switches().answer.map_or(Ok(()), Err)
    }

    /// The same for a request that a ring placed.
    async fn enter_at(&self, method: &'static str, ring: RingName, at: &At) -> Result<(), NodeError> {
        self.enter(method).await?;
        let rings = locked(&self.rings);
        let fenced = rings.as_ref().map(|rings| rings.fence.check(ring, at.ring));
        fenced.unwrap_or(Ok(()))
    }

    /// Carries `work` out on a device.
    fn on<T>(
        &self,
        device: &str,
        work: impl FnOnce(&mut Contents) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        let contents = self
            .devices
            .get(device)
            .ok_or_else(|| NodeError::NoDevice(device.to_owned()))?;
        let mut contents = locked(contents);
        if contents.down {
            return Err(NodeError::NoDevice(device.to_owned()));
        }
        let done = work(&mut contents);
        if locked(&self.control.switches).drop_acks {
            return Err(NodeError::Unreachable("answer lost".into()));
        }
        done
    }

    /// Unix time in seconds.
    fn now(&self) -> u64 {
        self.clock.now().as_secs()
    }

    fn check_ahead(&self, version: Version) -> Result<(), NodeError> {
        check_ahead(&*self.clock, version)
    }
}

fn check_ahead(clock: &dyn Clock, version: Version) -> Result<(), NodeError> {
    let ahead = version.time().since(clock.now());
    if ahead > AHEAD {
        Err(NodeError::Ahead(ahead.as_secs()))
    } else {
        Ok(())
    }
}

/// The nodes of a ring in memory, by address.
#[derive(Default)]
pub struct TwinNodes {
    by_address: BTreeMap<(String, u16), Arc<MemoryNode>>,
}

impl TwinNodes {
    /// One [`MemoryNode`] for every address among `devices`, with all devices
    /// of that address.
    pub fn for_devices<'a>(devices: impl IntoIterator<Item = &'a Device>) -> Self {
        let mut names: BTreeMap<(String, u16), Vec<&str>> = BTreeMap::new();
        for device in devices {
            names
                .entry((device.ip.clone(), device.port))
                .or_default()
                .push(&device.device);
        }
        let by_address = names
            .into_iter()
            .map(|(address, names)| (address, Arc::new(MemoryNode::new(names))))
            .collect();
        Self { by_address }
    }

    /// The node behind a device, for its switches; `None` if the address is
    /// unknown.
    pub fn twin(&self, device: &Device) -> Option<&Arc<MemoryNode>> {
        self.by_address.get(&(device.ip.clone(), device.port))
    }

    /// All nodes, in the order of their addresses.
    pub fn all(&self) -> impl Iterator<Item = &Arc<MemoryNode>> {
        self.by_address.values()
    }
}

impl Nodes for TwinNodes {
    fn node(&self, device: &Device) -> Arc<dyn ObjectNode> {
        self.twin(device).cloned().unwrap_or_else(|| {
            let nobody = MemoryNode::new([]);
            nobody.set(|s| s.answer = Some(NodeError::Unreachable(format!("{}:{}", device.ip, device.port))));
            Arc::new(nobody)
        })
    }
}
