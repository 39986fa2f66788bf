//! How much of each segment is still alive: what compaction chooses by.
//!
//! The truth stands in the index (`seg`, by merge operator, in the same write
//! as the change that causes it); a copy in memory answers without a read.
//! Changed by [`crate::apply`] only.
use std::collections::HashMap;

/// Live bytes and records of a segment, or a change of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Live {
    /// Bytes of records the index still names.
    pub bytes: i64,
    /// How many references the index holds into the segment: one per record of
    /// an entry, one per object with extents there.
    pub refs: i64,
}

impl Live {
    /// Stored length in bytes.
    pub const LEN: usize = 16;

    /// Both together. Wraps around, as the merge of the database must neither
    /// panic nor depend on the order.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.wrapping_add(other.bytes),
            refs: self.refs.wrapping_add(other.refs),
        }
    }

    /// Bytes as stored.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..8].copy_from_slice(&self.bytes.to_le_bytes());
        out[8..].copy_from_slice(&self.refs.to_le_bytes());
        out
    }

    /// Reads stored bytes; `None` if they have another length.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (bytes, refs) = bytes.split_at_checked(8)?;
        Some(Self {
            bytes: i64::from_le_bytes(bytes.try_into().ok()?),
            refs: i64::from_le_bytes(refs.try_into().ok()?),
        })
    }
}

/// Changes of live bytes gathered while one write of the index is made.
#[derive(Debug, Default)]
pub struct LiveDelta(Vec<(u64, Live)>);

impl LiveDelta {
    /// Counts records in (`sign` 1) or out (-1).
    pub fn count(&mut self, keeps: impl Iterator<Item = (u64, u64)>, sign: i64) {
        for (segment, bytes) in keeps {
            let change = Live {
                bytes: sign.wrapping_mul(bytes as i64),
                refs: sign,
            };
            // A batch touches few segments, mostly the one being written.
            match self.0.iter_mut().find(|(id, _)| *id == segment) {
                Some((_, live)) => *live = live.plus(change),
                None => self.0.push((segment, change)),
            }
        }
    }

    /// The changes, one per segment.
    pub fn drain(&mut self) -> impl Iterator<Item = (u64, Live)> + '_ {
        self.0.drain(..)
    }
}

/// Live bytes of all segments, in memory.
#[derive(Debug, Default)]
pub struct LiveMap(HashMap<u64, Live>);

impl LiveMap {
    /// Starts from what the index says.
    pub fn load(rows: impl Iterator<Item = (u64, Live)>) -> Self {
        Self(rows.collect())
    }

    /// Applies a change.
    pub fn add(&mut self, segment: u64, change: Live) {
        let live = self.0.entry(segment).or_default();
        *live = live.plus(change);
        if *live == Live::default() {
            self.0.remove(&segment);
        }
    }

    /// The segments in which something lives.
    pub fn segments(&self) -> impl Iterator<Item = &u64> {
        self.0
            .iter()
            .filter(|(_, live)| live.refs > 0)
            .map(|(segment, _)| segment)
    }

    /// What lives in a segment.
    pub fn of(&self, segment: u64) -> Live {
        self.0.get(&segment).copied().unwrap_or_default()
    }
}
