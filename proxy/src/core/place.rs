//! Where a name lies: the devices of its partition, in the ring's order, and
//! how each of them is doing.
//!
//! Every operation starts with a [`Place`]. It stays valid while rings are
//! swapped: it holds the ring it was made from.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use virga_object_wire::error::NodeError;
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::object::At;
use virga_ring::{Device, NameHash, Partition, Ring, RingHandle};

use super::health::{Health, Outstanding};

/// A device of a ring as the core deals with it.
pub(super) struct Peer {
    /// The device.
    device: Device,
    /// Its name, as nodes are told it.
    pub(super) name: Arc<str>,
    /// Of the node behind it, shared by all its devices.
    node: Arc<Health>,
    /// Of the device alone.
    own: Health,
}

impl Peer {
    /// The device's number in its ring.
    pub(super) fn id(&self) -> u32 {
        self.device.id.0
    }

    /// Whether to bother it with a request now. After failures only one
    /// request in a while gets through, as a trial.
    pub(super) fn admit(&self, now: Instant) -> bool {
        self.node.admit(now) && self.own.admit(now)
    }

    /// Requests under way at the node.
    pub(super) fn outstanding(&self) -> usize {
        self.node.outstanding()
    }

    /// Counts a request as under way until the guard is dropped.
    pub(super) fn begin(&self) -> Outstanding {
        Outstanding::of(&self.node)
    }

    /// Takes note of how a call went.
    pub(super) fn note<T>(&self, result: &Result<T, NodeError>, now: Instant) {
        match result {
            Err(NodeError::Unreachable(_)) => self.node.failed(now),
            Err(NodeError::NoDevice(_) | NodeError::Device(_)) => {
                self.node.worked();
                self.own.failed(now);
            }
            _ => {
                self.node.worked();
                self.own.worked();
            }
        }
    }

    /// Takes note that the node stayed silent for too long.
    pub(super) fn silent(&self, now: Instant) {
        self.node.failed(now);
    }
}

/// A ring with a [`Peer`] for each of its devices.
struct Directory {
    ring: Arc<Ring>,
    peers: Vec<Option<Arc<Peer>>>,
}

/// Health of nodes by address: it outlives rings and is shared between them.
#[derive(Default)]
pub(super) struct NodeHealth(Mutex<HashMap<(String, u16), Arc<Health>>>);

impl NodeHealth {
    fn of(&self, device: &Device) -> Arc<Health> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry((device.ip.clone(), device.port)).or_default())
    }
}

/// One ring of the cluster, ready for lookups.
pub(super) struct Placement {
    handle: Arc<RingHandle>,
    directory: ArcSwapOption<Directory>,
}

impl Placement {
    pub(super) fn new(handle: Arc<RingHandle>) -> Self {
        Self {
            handle,
            directory: ArcSwapOption::empty(),
        }
    }

    fn directory(&self, health: &NodeHealth) -> Arc<Directory> {
        let ring = self.handle.current();
        if let Some(known) = &*self.directory.load()
            && Arc::ptr_eq(&known.ring, &ring)
        {
            return Arc::clone(known);
        }
        let peer = |device: &Device| {
            Arc::new(Peer {
                device: device.clone(),
                name: device.device.as_str().into(),
                node: health.of(device),
                own: Health::default(),
            })
        };
        let peers = ring
            .device_list()
            .iter()
            .map(|device| device.as_ref().map(peer))
            .collect();
        let made = Arc::new(Directory { ring, peers });
        self.directory.store(Some(Arc::clone(&made)));
        made
    }

    /// The place of a name with this hash.
    pub(super) fn place(&self, health: &NodeHealth, hash: NameHash) -> Place {
        let directory = self.directory(health);
        let partition = directory.ring.partition(&hash);
        let peer = |(_, device): (usize, &Device)| directory.peers.get(device.id.0 as usize)?.clone();
        let primaries = directory.ring.primaries(partition).filter_map(peer).collect();
        Place {
            directory,
            partition,
            hash,
            primaries,
        }
    }
}

/// Where one name lies.
#[derive(Clone)]
pub(super) struct Place {
    directory: Arc<Directory>,
    /// Its partition.
    pub(super) partition: Partition,
    /// Its hash.
    pub(super) hash: NameHash,
    primaries: Vec<Arc<Peer>>,
}

impl Place {
    /// The devices that own the name.
    pub(super) fn primaries(&self) -> &[Arc<Peer>] {
        &self.primaries
    }

    /// The devices that stand in, best first: as many as there are primaries,
    /// so that a request tries at most twice its replicas.
    pub(super) fn handoffs(&self) -> Vec<Arc<Peer>> {
        let ids = self
            .directory
            .ring
            .handoffs(self.partition)
            .take(self.primaries.len());
        ids.filter_map(|(_, device)| self.directory.peers.get(device.id.0 as usize)?.clone())
            .collect()
    }

    /// Replicas that must have a write before it is acknowledged.
    pub(super) fn write_quorum(&self) -> usize {
        self.primaries.len() / 2 + 1
    }

    /// Replicas that must be asked so that one of them has any acknowledged write.
    pub(super) fn read_quorum(&self) -> usize {
        (self.primaries.len() + 1 - self.write_quorum()).max(1)
    }

    /// The name's place on one device.
    pub(super) fn at(&self, peer: &Peer) -> At {
        At {
            device: Arc::clone(&peer.name),
            partition: self.partition,
            hash: self.hash,
        }
    }

    /// Primaries in the order to read from: those that are well first, then
    /// the less busy, then the ring's order (so that a name is usually read
    /// from, and cached by, the same device).
    /// One that failed gets a read as a trial when its rest is over.
    pub(super) fn read_order(&self, now: Instant) -> Vec<Arc<Peer>> {
        let mut order = self.primaries.clone();
        order.sort_by_cached_key(|peer| (!peer.admit(now), peer.outstanding() / BUSY_STEP));
        order
    }
}

/// Differences in outstanding requests below this do not change the order.
const BUSY_STEP: usize = 16;

/// The node behind a device.
pub(super) fn node_of(nodes: &dyn Nodes, peer: &Peer) -> Arc<dyn ObjectNode> {
    nodes.node(&peer.device)
}
