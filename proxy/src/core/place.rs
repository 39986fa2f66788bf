//! Where a name lies: the devices of its partition, in the ring's order, and
//! who must hear of it.
//!
//! Every operation starts with a [`Place`]. It stays valid while rings are
//! swapped: it holds the rings it was made from. Its members are the targets,
//! which are asked first and hold the name when all is well, and after them
//! those that only an earlier ring names, asked when a quorum needs them.
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::time::Instant;
use virga_object_wire::movement::RingName;
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_object_wire::object::At;
use virga_ring::{Device, NameHash, Partition, Ring, RingEpoch, RingHandle, RingsInUse};

use super::peer::{Known, NodeHealth, Peer};
use super::quorum::{Members, Quorums, Set};
use super::settings::Affinity;

/// Peers of one ring by device number.
type ByNumber = Vec<Option<Arc<Peer>>>;

/// The rings in use with a [`Peer`] for each of their devices.
struct Directory {
    rings: Arc<RingsInUse>,
    epoch: RingEpoch,
    current: ByNumber,
    /// Of the rings before, in their order. A device that the current ring has
    /// too is the same peer.
    previous: Vec<ByNumber>,
}

impl Directory {
    /// Peers that `old` has already are taken over with what is known of them.
    fn new(rings: Arc<RingsInUse>, old: Option<&Self>, health: &NodeHealth) -> Self {
        let before = old
            .into_iter()
            .flat_map(|old| std::iter::once(&old.current).chain(&old.previous));
        let mut known = Known::new(before.flatten().flatten().cloned());
        let mut by_number = |ring: &Ring| -> ByNumber {
            let devices = ring.device_list().iter();
            devices
                .map(|device| device.as_ref().map(|device| known.take(device, health)))
                .collect()
        };
        let current = by_number(&rings.current.ring);
        let previous = rings.previous.iter();
        let previous = previous.map(|known| by_number(&known.ring)).collect();
        Self {
            epoch: rings.epoch(),
            rings,
            current,
            previous,
        }
    }
}

fn peer_of(peers: &ByNumber, device: &Device) -> Option<Arc<Peer>> {
    peers.get(device.id.0 as usize)?.clone()
}

/// One ring of the cluster, ready for lookups.
pub(super) struct Placement {
    handle: Arc<RingHandle>,
    ring: RingName,
    affinity: Arc<Affinity>,
    directory: ArcSwapOption<Directory>,
}

impl Placement {
    pub(super) fn new(handle: Arc<RingHandle>, ring: RingName, affinity: Affinity) -> Self {
        Self {
            handle,
            ring,
            affinity: Arc::new(affinity),
            directory: ArcSwapOption::empty(),
        }
    }

    /// The rings and their changes.
    pub(super) fn handle(&self) -> &Arc<RingHandle> {
        &self.handle
    }

    fn directory(&self, health: &NodeHealth) -> Arc<Directory> {
        let rings = self.handle.in_use();
        let known = self.directory.load();
        if let Some(known) = &*known
            && Arc::ptr_eq(&known.rings, &rings)
        {
            return Arc::clone(known);
        }
        let made = Arc::new(Directory::new(rings, known.as_deref(), health));
        self.directory.store(Some(Arc::clone(&made)));
        made
    }

    /// The place of a name with this hash.
    pub(super) fn place(&self, health: &NodeHealth, hash: NameHash) -> Place {
        let directory = self.directory(health);
        let ring = &directory.rings.current.ring;
        let partition = ring.partition(&hash);
        let mut members: Vec<Arc<Peer>> = ring
            .primaries(partition)
            .filter_map(|(_, device)| peer_of(&directory.current, device))
            .collect();
        let targets = members.len();
        let mut earlier = Vec::new();
        for (known, peers) in directory.rings.previous.iter().zip(&directory.previous) {
            let primaries = known.ring.primaries(known.ring.partition(&hash));
            let primaries = primaries.filter_map(|(_, device)| peer_of(peers, device));
            let numbers: Vec<usize> = primaries.map(|peer| number_of(&mut members, peer)).collect();
            earlier.push(Set::of(numbers));
        }
        Place {
            quorums: Quorums::new(Set::of(0..targets), earlier),
            ring: self.ring,
            policy: match self.ring {
                RingName::Object(policy) => policy,
                RingName::Account | RingName::Container => 0,
            },
            affinity: Arc::clone(&self.affinity),
            epoch: directory.epoch,
            directory,
            partition,
            hash,
            members,
            targets,
        }
    }
}

/// The number of a member, which it gets if it has none.
fn number_of(members: &mut Vec<Arc<Peer>>, peer: Arc<Peer>) -> usize {
    let known = members.iter().position(|member| Arc::ptr_eq(member, &peer));
    known.unwrap_or_else(|| {
        members.push(peer);
        members.len() - 1
    })
}

/// Where one name lies.
#[derive(Clone)]
pub(super) struct Place {
    directory: Arc<Directory>,
    /// Which ring placed it.
    pub(super) ring: RingName,
    /// Storage policy of an object; 0 for containers and accounts.
    pub(super) policy: u32,
    /// Its partition.
    pub(super) partition: Partition,
    /// Its hash.
    pub(super) hash: NameHash,
    members: Vec<Arc<Peer>>,
    targets: usize,
    quorums: Quorums,
    /// What nodes are told that it was made from.
    epoch: RingEpoch,
    affinity: Arc<Affinity>,
}

impl Place {
    /// Everybody who counts, targets first. A member's number is its place here.
    pub(super) fn members(&self) -> &[Arc<Peer>] {
        &self.members
    }

    /// How many of the members are to hold the name.
    pub(super) fn targets(&self) -> usize {
        self.targets
    }

    /// All members.
    pub(super) fn everybody(&self) -> Members {
        Members::first(self.members.len())
    }

    /// Who must have a write or be heard by a read.
    pub(super) fn quorums(&self) -> &Quorums {
        &self.quorums
    }

    /// The devices that stand in, best first: as many as a ring has replicas,
    /// so that a request tries at most twice its replicas. Requests that know
    /// only an earlier ring look for its handoffs: they come after the current
    /// ring's.
    pub(super) fn handoffs(&self) -> Vec<Arc<Peer>> {
        let mut found: Vec<Arc<Peer>> = Vec::with_capacity(self.targets);
        let rings = &self.directory.rings;
        let current = std::iter::once((&rings.current, &self.directory.current));
        for (known, peers) in current.chain(rings.previous.iter().zip(&self.directory.previous)) {
            let handoffs = known.ring.handoffs(known.ring.partition(&self.hash));
            let new = handoffs
                .filter_map(|(_, device)| peer_of(peers, device))
                .filter(|peer| !is_among(&self.members, peer));
            for peer in self.local_first(new).into_iter().take(self.targets) {
                if !is_among(&found, &peer) {
                    found.push(peer);
                }
            }
        }
        found
    }

    /// Handoffs as they come, or with write affinity the local ones first.
    fn local_first(&self, handoffs: impl Iterator<Item = Arc<Peer>>) -> Vec<Arc<Peer>> {
        let Affinity {
            write_affinity: affinity,
            write_affinity_node_count: count,
            ..
        } = &*self.affinity;
        if affinity.is_empty() {
            return handoffs.take(self.targets).collect();
        }
        let (mut local, mut others) = (Vec::new(), Vec::new());
        let most = count.of(self.targets);
        for peer in handoffs {
            match affinity.is_local(peer.device()) && local.len() < most {
                true => local.push(peer),
                false => others.push(peer),
            }
            if local.len() >= self.targets.min(most) && local.len() + others.len() >= self.targets {
                break;
            }
        }
        local.extend(others);
        local
    }

    /// What a device is told that stands in for a member: the number, in the
    /// current ring, of the primary that its copy is to be brought to.
    pub(super) fn stands_in_for(&self, member: usize) -> Option<u32> {
        if member < self.targets {
            return Some(self.members.get(member)?.id());
        }
        // It has left the ring: its copy belongs to whoever came instead.
        let targets = || self.members.iter().take(self.targets);
        let came = targets()
            .enumerate()
            .find(|(number, _)| self.quorums.misses(*number) > 0);
        came.map(|(_, peer)| peer)
            .or_else(|| targets().next())
            .map(|peer| peer.id())
    }

    /// The name's place on one device.
    pub(super) fn at(&self, peer: &Peer) -> At {
        At {
            device: Arc::clone(&peer.name),
            policy: self.policy,
            partition: self.partition,
            hash: self.hash,
            ring: self.epoch,
        }
    }

    /// Numbers of all members in the order to read from: those that are well
    /// first, then those that all rings in use name (new ones may hold nothing
    /// yet), then those that read affinity prefers, then the less busy, then
    /// the ring's order (so that a name is usually read from, and cached by,
    /// the same device).
    /// One that failed gets a read as a trial when its rest is over.
    pub(super) fn read_order(&self, now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_cached_key(|number| {
            let peer = &self.members[*number];
            (
                !peer.admit(now),
                self.quorums.misses(*number),
                self.affinity.read_affinity.priority(peer.device()),
                peer.outstanding() / BUSY_STEP,
            )
        });
        order
    }

    /// Whether a member is one that only earlier rings name. Once it has
    /// brought everything along it forgets: that it knows nothing is no news.
    pub(super) fn is_leaving(&self, member: usize) -> bool {
        member >= self.targets
    }

    /// The numbers here of devices that another place names.
    pub(super) fn numbers_of<'a>(&self, peers: impl IntoIterator<Item = &'a Arc<Peer>>) -> Members {
        let number = |peer: &Arc<Peer>| self.members.iter().position(|member| member.is_same(peer));
        let numbers = peers.into_iter().filter_map(number);
        numbers.fold(Members::NONE, |all, number| all | Members::one(number))
    }

    /// Whether both places were made from the same rings.
    pub(super) fn is_of_same_rings(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.directory.rings, &other.directory.rings)
    }
}

fn is_among(peers: &[Arc<Peer>], peer: &Arc<Peer>) -> bool {
    peers.iter().any(|known| Arc::ptr_eq(known, peer))
}

/// Differences in outstanding requests below this do not change the order.
const BUSY_STEP: usize = 16;

/// The node behind a device.
pub(super) fn node_of(nodes: &dyn Nodes, peer: &Peer) -> Arc<dyn ObjectNode> {
    nodes.node(peer.device())
}
