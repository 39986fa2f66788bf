//! The subtree values of a large object, read from the descriptors of its
//! extents: what a proof of a range is made of without reading the rest.
use futures_util::{StreamExt, TryStreamExt, stream};
use virga_disk::batch::record::Kind as RecordKind;
use virga_disk::reader::ReadError;
use virga_disk::segment::Locator;
use virga_object_wire::checked::EXTENT;
use virga_object_wire::error::NodeError;
use virga_object_wire::object::{At, SubtreesRequest};

use crate::device::Device;
use crate::entry::{Kind, Winner};
use crate::keys::NameKey;
use crate::pins::Pinned;
use crate::read::{FOLLOW, Miss, unreadable};
use crate::record::{self, CommitHead};

/// Descriptors read at the same time for one request (I10).
const AT_ONCE: usize = 8;

impl Device {
    /// Subtree values of extents of an object that is larger than one.
    ///
    /// # Errors
    /// `NotFound` if the device holds other data, or none; `Invalid` if the
    /// request is out of bounds or the object has no extents; `Damaged` if a
    /// record is (it is set aside); `Device` if the device fails.
    pub async fn subtrees(&self, at: &At, wanted: SubtreesRequest) -> Result<Vec<[u8; 32]>, NodeError> {
        wanted.check()?;
        let name = NameKey::of(at);
        for _ in 0..FOLLOW {
            let Some(entry) = self.entry(&name).await? else {
                return Err(NodeError::NotFound);
            };
            let same = |winner: &&Winner| (winner.version, winner.blake3) == (wanted.version, wanted.blake3);
            let Some(winner) = entry.object().filter(same) else {
                return Err(NodeError::NotFound);
            };
            if winner.kind != Kind::Commit {
                return Err(SubtreesRequest::too_small());
            }
            match self.subtrees_of(&name, winner, wanted).await {
                Ok(values) => return Ok(values),
                Err(Miss::Moved) => {}
                Err(Miss::Failed(error)) => return Err(error),
            }
        }
        Err(NodeError::Busy)
    }

    async fn subtrees_of(
        &self,
        name: &NameKey,
        winner: &Winner,
        wanted: SubtreesRequest,
    ) -> Result<Vec<[u8; 32]>, Miss> {
        let head = self
            .record(
                name,
                winner.place,
                RecordKind::Commit,
                winner.version,
                Some((0, 0)),
            )
            .await?;
        let commit: CommitHead = record::decode(head.meta()).map_err(unreadable)?;
        let mut pinned = Pinned::none(self.pins());
        winner
            .extents
            .iter()
            .for_each(|(segment, _)| pinned.add(*segment));
        // As with reads: pinned first, then looked whether they are still the ones.
        if self.entry(name).await?.and_then(|entry| entry.winner).as_ref() != Some(winner) {
            return Err(Miss::Moved);
        }
        let places: Vec<(u64, Locator)> = (0..)
            .map(|index: u64| index * EXTENT as u64)
            .zip(commit.runs.iter().flat_map(|run| run.places()))
            .skip(wanted.first as usize)
            .take(wanted.count as usize)
            .collect();
        let values = stream::iter(places)
            .map(|(at, place)| self.subtree(name, winner.place, at, place))
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(values)
    }

    /// The value in the descriptor of the extent at offset `at` of the object.
    async fn subtree(
        &self,
        name: &NameKey,
        commit: Locator,
        at: u64,
        place: Locator,
    ) -> Result<[u8; 32], NodeError> {
        let bytes = match self.reader().range(place, 0..0).await {
            Ok(record) => {
                let head = record.head();
                if head.kind == RecordKind::Extent && head.key == name.hash().0 && head.size == at {
                    return Ok(head.blake3);
                }
                record.payload()
            }
            Err(ReadError::Damaged { bytes, .. }) => bytes,
            Err(error) => return Err(self.read_failed(&error)),
        };
        Err(self.set_aside(name, commit, place, bytes).await)
    }
}
