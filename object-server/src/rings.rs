//! The rings a worker needs: where accounts, containers and objects lie.
use std::sync::Arc;
use std::time::Duration;

use virga_object_wire::movement::RingName;
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
    /// How long after a change requests placed by an earlier ring are still
    /// served: the longest time between two hosts getting a new ring.
    pub grace: Duration,
}

impl Rings {
    /// All rings by name.
    pub fn by_name(&self) -> impl Iterator<Item = (RingName, Arc<RingHandle>)> + '_ {
        let listings = [
            (RingName::Account, Arc::clone(&self.account)),
            (RingName::Container, Arc::clone(&self.container)),
        ];
        let objects = self.object.iter();
        let objects = objects.map(|(policy, ring)| (RingName::Object(*policy), Arc::clone(ring)));
        listings.into_iter().chain(objects)
    }

    /// The ring of a storage policy's objects.
    pub fn object(&self, policy: u32) -> Option<&Arc<RingHandle>> {
        let known = self.object.iter().find(|(index, _)| *index == policy);
        known.map(|(_, ring)| ring)
    }
}

/// A name's primaries, each with the place of the name on it.
/// `policy`: storage policy of an object, 0 for containers and accounts.
pub(crate) fn primaries(ring: &RingHandle, policy: u32, hash: NameHash) -> Vec<(Device, At)> {
    let in_use = ring.in_use();
    let (epoch, ring) = (in_use.epoch(), &in_use.current.ring);
    let partition = ring.partition(&hash);
    let place = |device: &Device| At {
        device: Arc::from(device.device.as_str()),
        policy,
        partition,
        hash,
        ring: epoch,
    };
    ring.primaries(partition)
        .map(|(_, device)| (device.clone(), place(device)))
        .collect()
}

/// How many of `replicas` make a quorum.
pub(crate) fn quorum(replicas: usize) -> usize {
    replicas / 2 + 1
}
