//! Drain: copies everything that a device holds to others, so that each
//! partition has all its copies without it.
//!
//! Part of a round of [`super::Reconcile`] on a device that an operator drains,
//! or that is broken and still readable. To its peers such a device counts as
//! away (it refuses to compare itself), so what it stood for is kept where it is
//! brought: on the other primaries and, in its place, on the first handoffs.
//! Nothing is forgotten here: the device may be used again, or taken out of the
//! rings. Resumable without a cursor: partitions that others have whole are
//! equal by their sums, and one call tells a thousand of them.
use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt};
use virga_node::clock::Version;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::{RingName, Sum};
use virga_ring::{Device, DeviceId, Partition, Ring, RingId};

use super::job::{Done, Job, Target};
use super::jobs::pair;
use super::judge::Rules;
use super::memory::Difference;
use super::peers::{Peers, SUMS};
use super::{OneRing, PARTITIONS};

/// How often others are chosen in place of devices that turned out not to take
/// anything, in one round.
const TRIES: usize = 4;

/// A partition that is to be elsewhere.
struct Held {
    partition: Partition,
    ours: Sum,
}

impl OneRing<'_> {
    /// Brings what the device holds to others, as far as that goes in a round.
    pub(super) async fn drain(&self) -> Result<Done, NodeError> {
        let name = RingName::Object(self.policy);
        let movements = self.duty.all.node.movements();
        let rings = self.handle.in_use();
        let (id, ring) = (rings.current.id, &*rings.current.ring);
        let peers = Peers::new(self.duty.all.nodes.as_ref(), ring, id, self.policy, self);
        let held = self.device.objects.held(self.policy).await?;
        let mut waiting: Vec<Held> = held
            .into_iter()
            .map(|(partition, ours)| Held { partition, ours })
            .collect();
        let all = waiting.len() as u64;
        let objects = &self.device.objects;
        let rules = Rules {
            now: self.duty.all.clock.now(),
            // It takes no writes: nothing is on its way here.
            settled: Version(u64::MAX),
            reclaim_age: objects.reclaim_age(),
            horizon: objects.horizon(self.policy)?,
            last_round: objects.last_round(self.policy)?.unwrap_or_default().started,
        };
        let mut done = Done::default();
        let mut short = None;
        for _ in 0..TRIES {
            let draining = Draining {
                one: self,
                ring,
                id,
                own: crate::movement::number_of(self.known, ring, &self.device.name),
                peers: &peers,
                rules: &rules,
                all,
            };
            let outs = peers.outs();
            (waiting, short) = draining.pass(waiting, &mut done).await?;
            if waiting.is_empty() || peers.outs() == outs {
                break;
            }
        }
        let left = waiting.len() as u64;
        let trouble = match left {
            0 => short,
            _ => done.error.clone().or_else(|| peers.error()).or(short),
        };
        movements.drained(&self.device.name, name, (all, left), trouble);
        done.complete = left == 0;
        Ok(done)
    }
}

struct Draining<'a> {
    one: &'a OneRing<'a>,
    ring: &'a Ring,
    id: RingId,
    own: Option<DeviceId>,
    peers: &'a Peers<'a>,
    rules: &'a Rules,
    /// Partitions that the drain began with.
    all: u64,
}

impl Draining<'_> {
    /// Looks at partitions; those that are not where they should be yet, and why
    /// there are too few devices, if so.
    async fn pass(
        &self,
        waiting: Vec<Held>,
        done: &mut Done,
    ) -> Result<(Vec<Held>, Option<String>), NodeError> {
        let mut rest = Vec::new();
        let mut short = None;
        let mut left = waiting.len() as u64;
        let mut waiting = waiting.into_iter().peekable();
        while waiting.peek().is_some() {
            let piece: Vec<Held> = waiting.by_ref().take(SUMS).collect();
            let sums = self.sums(&piece).await;
            let mut jobs = Vec::new();
            for held in piece {
                match self.job(&held, &sums, &mut short) {
                    Some(job) if job.targets.is_empty() && job.all => left -= 1,
                    Some(job) => jobs.push((held, job)),
                    None => rest.push(held),
                }
            }
            let mut working = stream::iter(jobs)
                .map(|(held, job)| async move {
                    let partition = job.partition;
                    let differing: Vec<_> = job
                        .targets
                        .iter()
                        .map(|target| (target.id, target.difference))
                        .collect();
                    let outcome = self.one.work(job, self.peers, self.rules, self.id).await;
                    if outcome.complete && outcome.names == 0 {
                        for (id, difference) in differing {
                            self.one
                                .duty
                                .memory
                                .nothing(pair(self.one, partition, id), difference);
                        }
                    }
                    (held, outcome)
                })
                .buffer_unordered(PARTITIONS);
            while let Some((held, outcome)) = working.next().await {
                match outcome.complete {
                    true => left -= 1,
                    false => rest.push(held),
                }
                done.add(outcome);
                self.note(left);
            }
        }
        self.note(left);
        Ok((rest, short))
    }

    fn note(&self, left: u64) {
        let movements = self.one.duty.all.node.movements();
        let name = RingName::Object(self.one.policy);
        movements.drain_left(&self.one.device.name, name, (self.all, left));
    }

    /// The devices that are to have a partition when this one is gone: as many as
    /// it has replicas, primaries first, without those that are out. And how
    /// many there should be.
    fn targets(&self, partition: Partition) -> (Vec<DeviceId>, usize) {
        let wanted = self.ring.primaries(partition).count();
        let primaries = self.ring.primaries(partition).map(|(_, device)| device);
        let mut targets: Vec<DeviceId> = Vec::new();
        let usable = |device: &&Device| Some(device.id) != self.own && self.peers.get(device.id).is_some();
        let handoffs = self.ring.handoffs(partition).map(|(_, device)| device);
        for device in primaries.chain(handoffs).filter(usable) {
            if targets.len() == wanted {
                break;
            }
            if !targets.contains(&device.id) {
                targets.push(device.id);
            }
        }
        (targets, wanted)
    }

    /// Asks everybody who is to have one of the partitions; those that do not
    /// answer are out, and others are asked in their place.
    async fn sums(&self, piece: &[Held]) -> BTreeMap<(DeviceId, Partition), Sum> {
        let mut known = BTreeMap::new();
        let mut asked: BTreeSet<(DeviceId, Partition)> = BTreeSet::new();
        let count = self.ring.partition_count();
        loop {
            let mut by_peer: BTreeMap<DeviceId, Vec<Partition>> = BTreeMap::new();
            let here = piece.iter().filter(|held| u64::from(held.partition.0) < count);
            for held in here {
                for id in self.targets(held.partition).0 {
                    if asked.insert((id, held.partition)) {
                        by_peer.entry(id).or_default().push(held.partition);
                    }
                }
            }
            // Each turn asks something that was not asked before.
            if by_peer.is_empty() {
                return known;
            }
            for (id, partitions) in by_peer {
                let sums = self.peers.sums(id, partitions.clone()).await;
                let sums = sums.into_iter().flatten();
                known.extend(partitions.into_iter().zip(sums).map(|(at, sum)| ((id, at), sum)));
            }
        }
    }

    /// What there is to do for a partition; `None` if it cannot be placed.
    fn job(
        &self,
        held: &Held,
        sums: &BTreeMap<(DeviceId, Partition), Sum>,
        short: &mut Option<String>,
    ) -> Option<Job> {
        if u64::from(held.partition.0) >= self.ring.partition_count() {
            return None;
        }
        let (ids, wanted) = self.targets(held.partition);
        if ids.is_empty() {
            short.get_or_insert_with(|| "no other device answers".to_owned());
            return None;
        }
        if ids.len() < wanted {
            short.get_or_insert_with(|| {
                format!(
                    "only {} other devices answer, and {wanted} copies are wanted: add devices before this one is taken out",
                    ids.len()
                )
            });
        }
        let (mut targets, mut same, mut all) = (Vec::new(), 0, true);
        for id in ids {
            match sums.get(&(id, held.partition)) {
                Some(sum) if *sum == held.ours => same += 1,
                Some(sum) => {
                    let difference = Difference {
                        ring: self.id,
                        ours: held.ours,
                        theirs: *sum,
                    };
                    // It knows more, and all that is here: there was nothing to bring.
                    let pair = pair(self.one, held.partition, id);
                    match self.one.duty.memory.is_nothing(&pair, difference) {
                        true => same += 1,
                        false => targets.push(Target {
                            id,
                            difference,
                            patient: false,
                        }),
                    }
                }
                None => all = false,
            }
        }
        Some(Job {
            partition: held.partition,
            foreign: true,
            keep: true,
            targets,
            same,
            all,
            deferred: false,
        })
    }
}
