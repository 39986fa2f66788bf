//! What a round has to do: partitions that differ, and partitions that belong
//! elsewhere.
use std::collections::{BTreeMap, BTreeSet};

use virga_object_wire::error::NodeError;
use virga_object_wire::movement::Sum;
use virga_ring::{DeviceId, Partition, Ring};

use super::OneRing;
use super::job::{Job, Target};
use super::memory::{Difference, Pair};
use super::peers::{Peers, SUMS};
use crate::rings::quorum;

/// Partitions that need work.
#[derive(Default)]
pub(super) struct Found {
    pub(super) jobs: Vec<Job>,
    /// Partitions that cannot be worked on in this round.
    pub(super) left: usize,
    /// Partitions that hold something here of whose primaries no quorum answers.
    pub(super) unheard: usize,
}

/// A partition as this device and its peers see it.
struct Seen {
    ours: Sum,
    /// Sums of the other primaries that answered.
    theirs: Vec<(DeviceId, Sum)>,
    /// Whether all of them did.
    all: bool,
    /// How many other primaries there are.
    others: usize,
    /// Whether the partition belongs elsewhere.
    foreign: bool,
}

/// Compares every partition that the device holds or should hold.
pub(super) async fn find(one: &OneRing<'_>, ring: &Ring, peers: &Peers<'_>) -> Result<Found, NodeError> {
    let own = crate::movement::number_of(one.known, ring, &one.device.name);
    let held = one.device.objects.held(one.policy).await?;
    let mut wanted: BTreeSet<u32> = held.iter().map(|(partition, _)| partition.0).collect();
    let count = u32::try_from(ring.partition_count()).unwrap_or(u32::MAX);
    let is_own = |partition| own.is_some() && ring.primaries(partition).any(|(_, d)| Some(d.id) == own);
    wanted.extend((0..count).filter(|partition| is_own(Partition(*partition))));
    let mut found = Found::default();
    // In pieces, so that memory is bounded however many partitions there are.
    let wanted: Vec<Partition> = wanted.into_iter().map(Partition).collect();
    for piece in wanted.chunks(SUMS) {
        let seen = compare(one, ring, peers, own, piece).await?;
        for (partition, seen) in seen {
            if partition.0 >= count {
                // Of a ring with more partitions than this one.
                found.left += 1;
            } else {
                judge(one, peers, own, partition, seen, &mut found);
            }
        }
        tokio::task::yield_now().await;
    }
    // The more of its replicas lack something, the sooner.
    found
        .jobs
        .sort_by_key(|job| (job.foreign, std::cmp::Reverse(job.targets.len())));
    Ok(found)
}

/// The sums of some partitions here and on their other primaries.
async fn compare(
    one: &OneRing<'_>,
    ring: &Ring,
    peers: &Peers<'_>,
    own: Option<DeviceId>,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, Seen>, NodeError> {
    let mut by_peer: BTreeMap<DeviceId, Vec<Partition>> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let ours = one.device.objects.sums(one.policy, partitions.to_vec()).await?;
    for (partition, ours) in partitions.iter().zip(ours) {
        let primaries: Vec<DeviceId> = ring.primaries(*partition).map(|(_, d)| d.id).collect();
        let foreign = own.is_none_or(|own| !primaries.contains(&own));
        let others: BTreeSet<DeviceId> = primaries.into_iter().filter(|id| Some(*id) != own).collect();
        let count = others.len();
        for id in others {
            by_peer.entry(id).or_default().push(*partition);
        }
        let one = Seen {
            ours,
            theirs: Vec::new(),
            all: true,
            others: count,
            foreign,
        };
        seen.insert(*partition, one);
    }
    for (id, partitions) in by_peer {
        match peers.sums(id, partitions.clone()).await {
            Some(sums) => {
                for (partition, sum) in partitions.iter().zip(sums) {
                    if let Some(seen) = seen.get_mut(partition) {
                        seen.theirs.push((id, sum));
                    }
                }
            }
            None => {
                for partition in partitions {
                    if let Some(seen) = seen.get_mut(&partition) {
                        seen.all = false;
                    }
                }
            }
        }
    }
    Ok(seen)
}

/// Makes a job of a partition if it needs one.
fn judge(
    one: &OneRing<'_>,
    peers: &Peers<'_>,
    own: Option<DeviceId>,
    partition: Partition,
    seen: Seen,
    found: &mut Found,
) {
    let here = usize::from(!seen.foreign);
    let heard = seen.theirs.len() + here >= quorum(seen.others + here);
    found.unheard += usize::from(!heard && seen.ours != Sum::default());
    if seen.ours == Sum::default() || (seen.foreign && seen.theirs.is_empty()) {
        // Nothing here to push, or nobody to push it to. Without an answer
        // nobody knows what an empty device might be asked for: that is theirs.
        found.left += usize::from(!seen.all || seen.ours != Sum::default());
        return;
    }
    let equal = |sum: &Sum| *sum == seen.ours;
    // Those who know the same as this device, in an order all of them agree on.
    let mut knowing: Vec<DeviceId> = seen
        .theirs
        .iter()
        .filter(|(_, s)| equal(s))
        .map(|(id, _)| *id)
        .collect();
    let same = knowing.len();
    knowing.extend(own.filter(|_| !seen.foreign));
    knowing.sort();
    let mine = knowing.get(partition.0 as usize % knowing.len().max(1)).copied() == own;
    let mut targets = Vec::new();
    let mut deferred = false;
    for (id, theirs) in seen.theirs {
        let pair = pair(one, partition, id);
        let difference = Difference {
            ring: peers.ring_id(),
            ours: seen.ours,
            theirs,
        };
        let memory = &one.duty.memory;
        if theirs == seen.ours {
            memory.equal(&pair);
        } else if seen.foreign {
            let patient = memory.defer(pair, difference);
            targets.push(Target {
                id,
                difference,
                patient,
            });
        } else if memory.is_nothing(&pair, difference) {
            // Theirs to bring here.
        } else if !mine && memory.defer(pair, difference) {
            deferred = true;
        } else {
            targets.push(Target {
                id,
                difference,
                patient: false,
            });
        }
    }
    if targets.is_empty() && !seen.foreign {
        found.left += usize::from(deferred || !seen.all);
        return;
    }
    found.jobs.push(Job {
        partition,
        foreign: seen.foreign,
        keep: false,
        targets,
        same,
        all: seen.all,
        deferred,
    });
}

/// The memory's name for a partition on a peer.
pub(super) fn pair(one: &OneRing<'_>, partition: Partition, peer: DeviceId) -> Pair {
    Pair {
        device: one.device.name.clone(),
        policy: one.policy,
        partition,
        peer,
    }
}
