//! The other devices of a ring as one round sees them: what they answer, and
//! which of them do not.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{NamesPage, NamesRequest, RingName, Sum};
use virga_object_wire::node::{Nodes, ObjectNode};
use virga_ring::{Device, DeviceId, Partition, Ring, RingId};

use super::OneRing;
use crate::movement::Known;
use crate::workers::exchange;
use crate::workers::rest::{self, Effort};

/// Longest wait for an answer about sums and names.
const PATIENCE: Duration = Duration::from_secs(15);
/// Partitions whose sums are asked for at once.
pub(super) const SUMS: usize = 1024;

/// What a round has learned of a device.
#[derive(Clone)]
enum Standing {
    /// It answers, and uses the same ring.
    Well(Version),
    /// It does not, or cannot be dealt with: why.
    Out(String),
}

/// See the module.
pub(super) struct Peers<'a> {
    nodes: &'a dyn Nodes,
    ring: &'a Ring,
    id: RingId,
    policy: u32,
    identity: [u8; 16],
    known: &'a Known,
    effort: Arc<Effort>,
    standing: Mutex<BTreeMap<DeviceId, Standing>>,
    /// Those that are out because they are away.
    away: Mutex<BTreeSet<DeviceId>>,
}

/// A device that was away in a round.
#[derive(Clone)]
pub(super) struct Away {
    pub(super) device: Device,
    pub(super) policy: u32,
}

impl rest::Peer for Away {
    fn device(&self) -> &Device {
        &self.device
    }
}

/// A device of the ring and its node.
#[derive(Clone)]
pub(super) struct Peer {
    pub(super) device: Device,
    pub(super) name: Arc<str>,
    pub(super) node: Arc<dyn ObjectNode>,
    effort: Arc<Effort>,
}

impl Peer {
    /// Waits for a call to it, but not for ever.
    pub(super) async fn in_time<T>(
        &self,
        patience: Duration,
        call: impl Future<Output = Result<T, NodeError>>,
    ) -> Result<T, NodeError> {
        self.effort.wait(patience, call).await
    }
}

impl<'a> Peers<'a> {
    pub(super) fn new(
        nodes: &'a dyn Nodes,
        ring: &'a Ring,
        id: RingId,
        policy: u32,
        one: &OneRing<'a>,
    ) -> Self {
        Self {
            nodes,
            ring,
            id,
            policy,
            identity: one.device.objects.identity(),
            known: one.known,
            effort: Arc::clone(one.effort),
            standing: Mutex::default(),
            away: Mutex::default(),
        }
    }

    fn standing(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device by its number; `None` if it is out for this round.
    pub(super) fn get(&self, id: DeviceId) -> Option<Peer> {
        if matches!(self.standing().get(&id), Some(Standing::Out(_))) {
            return None;
        }
        let device = self.ring.device(id)?.clone();
        Some(Peer {
            name: Arc::from(device.device.as_str()),
            node: self.nodes.node(&device),
            effort: Arc::clone(&self.effort),
            device,
        })
    }

    /// The ring that the round goes by.
    pub(super) fn ring_id(&self) -> RingId {
        self.id
    }

    /// Leaves a device alone for the rest of the round.
    pub(super) fn give_up(&self, id: DeviceId, why: &str) {
        let name = self.ring.device(id).map_or_else(
            || format!("device {id}"),
            |device| format!("{} at {}:{}", device.device, device.ip, device.port),
        );
        let mut standing = self.standing();
        if !matches!(standing.get(&id), Some(Standing::Out(_))) {
            standing.insert(id, Standing::Out(format!("{name}: {why}")));
        }
    }

    /// The same because a call to it failed.
    pub(super) fn give_up_on(&self, id: DeviceId, error: &NodeError) {
        if rest::is_away(error) {
            self.away
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id);
        }
        self.give_up(id, &error.to_string());
    }

    /// Those that are away.
    pub(super) fn away(&self) -> Vec<Away> {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let devices = away.iter().filter_map(|id| self.ring.device(*id));
        let policy = self.policy;
        let one = |device: &Device| Away {
            device: device.clone(),
            policy,
        };
        devices.map(one).collect()
    }

    /// Why the first of those that are out is out.
    pub(super) fn error(&self) -> Option<String> {
        self.standing().values().find_map(|standing| match standing {
            Standing::Out(why) => Some(why.clone()),
            Standing::Well(_) => None,
        })
    }

    /// How many are out.
    pub(super) fn outs(&self) -> usize {
        let standing = self.standing();
        let outs = standing
            .values()
            .filter(|standing| matches!(standing, Standing::Out(_)));
        outs.count()
    }

    /// Highest horizon among those that answered.
    pub(super) fn horizon(&self) -> Version {
        let standing = self.standing();
        let horizons = standing.values().filter_map(|standing| match standing {
            Standing::Well(horizon) => Some(*horizon),
            Standing::Out(_) => None,
        });
        horizons.max().unwrap_or_default()
    }

    /// A device's sums of these partitions, [`SUMS`] at most; `None` if it is
    /// out now.
    pub(super) async fn sums(&self, id: DeviceId, partitions: Vec<Partition>) -> Option<Vec<Sum>> {
        let peer = self.get(id)?;
        let asked = partitions.len();
        let call = peer.node.sums(&peer.name, self.policy, partitions);
        let sums = match peer.in_time(PATIENCE, call).await {
            Ok(sums) => sums,
            Err(error) => {
                self.give_up_on(id, &error);
                return None;
            }
        };
        let answering = sums.answering;
        self.known.clocks.note(&peer.device, answering.now);
        if answering.identity == self.identity {
            self.give_up(
                id,
                "that is this very device: the address in the ring and the one that the node advertises differ",
            );
        } else if answering.using != Some(self.id) {
            let theirs = answering.using.map_or(0, |ring| ring.version);
            let ours = self.id.version;
            self.give_up(
                id,
                &format!("its node uses ring version {theirs}, this one {ours}; they must be the same"),
            );
            let ring = RingName::Object(self.policy);
            exchange::tell(self.known, &peer.device, &peer.node, ring, (ours, theirs)).await;
        } else if sums.sums.len() != asked {
            self.give_up(id, "answered about other partitions than were asked for");
        } else {
            self.standing().insert(id, Standing::Well(answering.horizon));
            return Some(sums.sums);
        }
        None
    }

    /// Takes note of a failed call to a device; whether it was the device's fault
    /// and nothing more should be asked of it in this round.
    pub(super) fn failed(&self, id: DeviceId, error: &NodeError) -> bool {
        let out = matches!(
            error,
            NodeError::Unreachable(_)
                | NodeError::NoDevice(_)
                | NodeError::Device(_)
                | NodeError::Full
                | NodeError::Busy
                | NodeError::Ahead(_)
        );
        if out {
            self.give_up_on(id, error);
        }
        out
    }
}

/// The names of a partition on another device, walked in order of their hash.
pub(super) struct Names {
    peer: Peer,
    wanted: NamesRequest,
    page: NamesPage,
    next: usize,
    begun: bool,
}

impl Names {
    pub(super) fn new(peer: Peer, wanted: NamesRequest) -> Self {
        Self {
            peer,
            wanted,
            page: NamesPage::default(),
            next: 0,
            begun: false,
        }
    }

    /// What the device knows of a name; to be asked in order.
    pub(super) async fn of(
        &mut self,
        hash: virga_ring::NameHash,
    ) -> Result<Option<virga_object_wire::movement::NameState>, NodeError> {
        loop {
            while let Some(state) = self.page.names.get(self.next) {
                if state.hash >= hash {
                    return Ok(Some(*state).filter(|state| state.hash == hash));
                }
                self.next += 1;
            }
            match self.page.upto {
                _ if !self.begun => {}
                None => return Ok(None),
                Some(upto) if upto >= hash => return Ok(None),
                upto => self.wanted.after = upto,
            }
            self.begun = true;
            let call = self.peer.node.names(&self.peer.name, self.wanted.clone());
            let page = self.peer.in_time(PATIENCE, call).await?;
            if page.upto.is_some() && page.upto <= self.wanted.after {
                return Err(NodeError::Invalid("a page of names that does not go on".into()));
            }
            (self.page, self.next) = (page, 0);
        }
    }
}
