//! A device as the core deals with it: its name, its node, and how both have
//! been doing.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use virga_object_wire::error::NodeError;
use virga_ring::Device;

use super::health::{Health, Outstanding};

/// A device of a ring as the core deals with it.
pub(super) struct Peer {
    device: Device,
    /// Its name, as nodes are told it.
    pub(super) name: Arc<str>,
    /// Of the node behind it, shared by all its devices.
    node: Arc<Health>,
    /// Of the device alone.
    own: Health,
}

impl Peer {
    /// The device as its ring describes it.
    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// The device's number in its ring.
    pub(super) fn id(&self) -> u32 {
        self.device.id.0
    }

    /// Whether both are the same disk, whatever rings say of it beside.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        key(&self.device) == key(&other.device)
    }

    /// What names the disk, whatever rings say of it beside: address and name.
    pub(super) fn disk(&self) -> (String, u16, Arc<str>) {
        (self.device.ip.clone(), self.device.port, Arc::clone(&self.name))
    }

    /// Whether to bother it with a request now. After failures only one
    /// request in a while gets through, as a trial.
    pub(super) fn admit(&self, now: Instant) -> bool {
        self.node.admit(now) && self.own.admit(now)
    }

    /// Whether it is left alone for a while after failures.
    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.node.is_resting(now) || self.own.is_resting(now)
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

/// What makes a disk the same one in all rings: numbers are given again.
fn key(device: &Device) -> (&str, u16, &str) {
    (&device.ip, device.port, &device.device)
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

/// Peers while a directory of rings is made: one for each disk.
pub(super) struct Known {
    peers: HashMap<(String, u16, String), Arc<Peer>>,
    /// Those of the new directory: what their current ring says stands.
    taken: HashMap<(String, u16, String), Arc<Peer>>,
}

impl Known {
    /// Starts with the peers of an earlier directory.
    pub(super) fn new(peers: impl IntoIterator<Item = Arc<Peer>>) -> Self {
        let named = |peer: Arc<Peer>| (owned(peer.device()), peer);
        Self {
            peers: peers.into_iter().map(named).collect(),
            taken: HashMap::new(),
        }
    }

    /// The peer of a device. The current ring must be asked for first.
    pub(super) fn take(&mut self, device: &Device, health: &NodeHealth) -> Arc<Peer> {
        let key = owned(device);
        if let Some(peer) = self.taken.get(&key) {
            return Arc::clone(peer);
        }
        let before = self.peers.get(&key).filter(|peer| peer.device == *device);
        let peer = before.cloned().unwrap_or_else(|| {
            Arc::new(Peer {
                device: device.clone(),
                name: device.device.as_str().into(),
                node: health.of(device),
                own: Health::default(),
            })
        });
        self.taken.insert(key, Arc::clone(&peer));
        peer
    }
}

fn owned(device: &Device) -> (String, u16, String) {
    let (ip, port, name) = key(device);
    (ip.to_owned(), port, name.to_owned())
}
