//! Proofs that bytes of an object lie under its BLAKE3 root, made without
//! reading the object: nodes tell the subtree values they stored with its
//! extents, and only the extents that the range cuts, and the last one, are
//! read. A proof leaves here only if it gives the root.
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, timeout};
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::object::{MAX_SUBTREES, ObjectStat, SubtreesRequest};

use super::Core;
use super::error::{ProveError, ReadObjectError, Unavailable};
use super::names::ObjectName;
use super::peer::Peer;
use super::place::{Place, node_of};
use super::sealing::Sealed;
use super::shared::Shared;
use crate::proof::{CHUNK, ChainingValue, Leaf, Proof, Shape, tree};

/// Proofs made at the same time: each holds up to three extents and the values
/// of all.
pub(super) const AT_ONCE: usize = 16;

/// Chunks of an extent.
const CHUNKS: u64 = EXTENT as u64 / CHUNK;

impl From<ReadObjectError> for ProveError {
    fn from(error: ReadObjectError) -> Self {
        match error {
            ReadObjectError::NotFound { .. } => Self::Lost,
            ReadObjectError::Unavailable(error) => error.into(),
            ReadObjectError::Sealed { .. } => Self::Sealed,
        }
    }
}

/// What a proof is made of.
struct Material {
    shape: Shape,
    /// Extents whose bytes are needed, by number.
    bytes: BTreeMap<u64, Bytes>,
    /// Subtree values of the others, by number.
    values: BTreeMap<u64, ChainingValue>,
}

/// The extents that chunks lie in.
fn extents_of(chunks: &Range<u64>) -> Range<u64> {
    chunks.start / CHUNKS..chunks.end.div_ceil(CHUNKS)
}

/// Whether a subtree is one of whole extents. The object's last chunk is in no
/// subtree, so no extent that a subtree ends in is short.
fn is_of_extents(chunks: &Range<u64>) -> bool {
    chunks.start.is_multiple_of(CHUNKS) && chunks.end.is_multiple_of(CHUNKS)
}

impl Material {
    /// The extents whose bytes are needed: the wanted chunks lie in them, or
    /// subtrees smaller than an extent.
    fn extents_to_read(shape: &Shape) -> Vec<u64> {
        let mut extents: Vec<u64> = Vec::new();
        for leaf in shape.leaves() {
            let extent = match leaf {
                Leaf::Chunk(number) => number / CHUNKS,
                Leaf::Subtree(chunks) if is_of_extents(&chunks) => continue,
                Leaf::Subtree(chunks) => chunks.start / CHUNKS,
            };
            extents.push(extent);
        }
        extents.dedup();
        extents
    }

    /// The extents whose values are needed, in runs of at most what one answer
    /// holds.
    fn runs_to_ask(shape: &Shape) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for leaf in shape.leaves() {
            let Leaf::Subtree(chunks) = leaf else { continue };
            if !is_of_extents(&chunks) {
                continue;
            }
            let mut extents = extents_of(&chunks);
            if let Some(last) = runs.last_mut().filter(|last| last.end == extents.start) {
                extents.start = last.start;
                runs.pop();
            }
            while extents.end - extents.start > u64::from(MAX_SUBTREES) {
                let end = extents.start + u64::from(MAX_SUBTREES);
                runs.push(extents.start..end);
                extents.start = end;
            }
            runs.push(extents);
        }
        runs
    }

    /// The bytes of chunks that lie in one extent, with their offset.
    fn slice(&self, chunks: &Range<u64>) -> Option<&[u8]> {
        let extent = chunks.start / CHUNKS;
        let bytes = self.bytes.get(&extent)?;
        let at = |chunk: u64| {
            let offset = (chunk - extent * CHUNKS) * CHUNK;
            usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len())
        };
        bytes.get(at(chunks.start)..at(chunks.end))
    }

    fn proof(&self) -> Option<Proof> {
        let chunk = |number: u64| Some(self.slice(&(number..number + 1))?.to_vec());
        let value = |chunks: Range<u64>| {
            if !is_of_extents(&chunks) {
                return Some(tree::value(chunks.start * CHUNK, self.slice(&chunks)?));
            }
            let values: Option<Vec<_>> = extents_of(&chunks)
                .map(|extent| self.values.get(&extent).copied())
                .collect();
            tree::joined(&values?)
        };
        Proof::build(self.shape.clone(), chunk, value)
    }
}

impl Core {
    /// Proves that bytes `range` of the object whose head is `stat` are what
    /// its root says. Reads at most three of its extents.
    ///
    /// # Errors
    /// See [`ProveError`].
    pub async fn prove(
        &self,
        name: &ObjectName,
        stat: &ObjectStat,
        range: Range<u64>,
    ) -> Result<Proof, ProveError> {
        if Sealed::of(stat).is_some() {
            return Err(ProveError::Sealed);
        }
        let shape = Shape::new(stat.size, range)?;
        let shared = &self.shared;
        let permit = timeout(shared.settings.node_timeout, shared.proofs.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(ProveError::Busy);
        };
        let (_, place) = self.place_for_reading(name).await?;
        let mut material = Material {
            bytes: BTreeMap::new(),
            values: BTreeMap::new(),
            shape,
        };
        for extent in Material::extents_to_read(&material.shape) {
            let start = extent * EXTENT as u64;
            let end = stat.size.min(start + EXTENT as u64);
            let body = self.read_range(name, stat, start..end);
            let bytes = body.collect(EXTENT).await.map_err(|_| ProveError::Lost)?;
            material.bytes.insert(extent, bytes);
        }
        let runs = Material::runs_to_ask(&material.shape);
        let mut last = ProveError::Lost;
        for peer in replicas(&place) {
            match values_from(shared, &place, &peer, stat, &runs).await {
                Ok(values) => material.values = values,
                Err(error) => {
                    tracing::debug!(device = %peer.name, %error, "subtree values are asked for elsewhere");
                    if !matches!(error, NodeError::NotFound | NodeError::Damaged) {
                        last = ProveError::Unavailable(Unavailable::NoQuorum {
                            reached: 0,
                            needed: 1,
                            why: error.to_string(),
                        });
                    }
                    continue;
                }
            }
            let (back, proof) = made(material).await.ok_or(ProveError::Lost)?;
            match proof {
                Some(proof) if proof.root() == stat.blake3 => return Ok(proof),
                _ => {
                    tracing::warn!(device = %peer.name, "stored subtree values do not give the object's root");
                    material = back;
                }
            }
        }
        Err(last)
    }
}

/// Everybody who may have the object, best first.
fn replicas(place: &Place) -> impl Iterator<Item = Arc<Peer>> {
    let order = place.read_order(Instant::now());
    let members: Vec<_> = order
        .into_iter()
        .filter_map(|member| place.members().get(member).cloned())
        .collect();
    members.into_iter().chain(place.handoffs())
}

/// Subtree values of runs of extents, all from one replica.
async fn values_from(
    shared: &Shared,
    place: &Place,
    peer: &Arc<Peer>,
    stat: &ObjectStat,
    runs: &[Range<u64>],
) -> Result<BTreeMap<u64, ChainingValue>, NodeError> {
    let (node, at) = (node_of(&*shared.nodes, peer), place.at(peer));
    let mut all = BTreeMap::new();
    for run in runs {
        let number = |n: u64| u32::try_from(n).map_err(|_| NodeError::Invalid("too large an object".into()));
        let wanted = SubtreesRequest {
            version: stat.version,
            blake3: stat.blake3,
            first: number(run.start)?,
            count: number(run.end - run.start)?,
        };
        let under_way = peer.begin();
        let asked = timeout(shared.settings.node_timeout, node.subtrees(&at, wanted)).await;
        drop(under_way);
        let answer = asked.unwrap_or_else(|_| Err(NodeError::Unreachable("no answer in time".into())));
        peer.note(&answer, Instant::now());
        all.extend(run.clone().zip(answer?));
    }
    Ok(all)
}

/// Hashes on a thread that may take its time: up to three extents.
async fn made(material: Material) -> Option<(Material, Option<Proof>)> {
    let hashing = tokio::task::spawn_blocking(move || {
        let proof = material.proof();
        (material, proof)
    });
    hashing.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(size: u64, range: Range<u64>) -> Shape {
        Shape::new(size, range).unwrap()
    }

    #[test]
    fn only_the_extents_that_the_range_cuts_and_the_last_are_read() {
        let mib = EXTENT as u64;
        let read = |size, range| Material::extents_to_read(&shape(size, range));
        assert_eq!(read(5000 * mib + 5, 0..5000 * mib + 5), [5000]);
        assert_eq!(read(5000 * mib, 3 * mib..9 * mib), [4999]);
        assert_eq!(read(5000 * mib, 3 * mib + 1..9 * mib - 1), [3, 8, 4999]);
        assert_eq!(read(7, 1..2), [0]);
    }

    #[test]
    fn values_are_asked_for_in_bounded_runs_that_leave_out_what_is_read() {
        let mib = EXTENT as u64;
        let runs = |size, range| Material::runs_to_ask(&shape(size, range));
        assert_eq!(runs(4 * mib, mib + 1..mib + 2), [0..1, 2..3]);
        assert_eq!(
            runs(2500 * mib + 1, 0..2500 * mib + 1),
            [0..1024, 1024..2048, 2048..2500]
        );
        assert!(runs(mib, 0..mib).is_empty());
    }
}
