//! The rings a worker needs: where accounts, containers and objects lie.
use std::sync::Arc;

use virga_object_wire::object::At;
use virga_ring::{Device, HashPath, NameHash, RingHandle};

/// The rings of a cluster and the secret its names are hashed with.
#[derive(Clone)]
pub struct Rings {
    /// Hash of names.
    pub hash: HashPath,
    /// Where accounts lie.
    pub account: Arc<RingHandle>,
    /// Where containers lie.
    pub container: Arc<RingHandle>,
    /// Where objects lie, by storage policy index.
    pub object: Vec<(u32, Arc<RingHandle>)>,
}

impl Rings {
    /// The ring of a storage policy's objects.
    pub fn object(&self, policy: u32) -> Option<&Arc<RingHandle>> {
        let known = self.object.iter().find(|(index, _)| *index == policy);
        known.map(|(_, ring)| ring)
    }
}

/// A name's primaries, each with the place of the name on it.
/// `policy`: storage policy of an object, 0 for containers and accounts.
pub(crate) fn primaries(ring: &RingHandle, policy: u32, hash: NameHash) -> Vec<(Device, At)> {
    let ring = ring.current();
    let partition = ring.partition(&hash);
    let place = |device: &Device| At {
        device: Arc::from(device.device.as_str()),
        policy,
        partition,
        hash,
    };
    ring.primaries(partition)
        .map(|(_, device)| (device.clone(), place(device)))
        .collect()
}

/// How many of `replicas` make a quorum.
pub(crate) fn quorum(replicas: usize) -> usize {
    replicas / 2 + 1
}
