//! Whether a device takes new data: room and health (invariant I8).
//!
//! Room is judged from numbers that the upkeep fetches once a second; health
//! falls when the device fails and never rises while it is open. Asked before
//! every mutation, so both are one atomic load.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use virga_object_wire::error::NodeError;

/// Share of the device, in percent, that new data may not touch.
const KEPT_FOR_DELETES: u64 = 5;
/// Segments that new data may not touch, if that is more.
const SEGMENTS_KEPT: u64 = 4;
/// Share of the device, in percent, that tombstones may not touch either: it
/// belongs to compaction.
const KEPT_FOR_COMPACTION: u64 = 2;

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Room {
    /// Room for everything.
    Plenty,
    /// New data is refused, deletions are not.
    Scarce,
    /// Only compaction goes on.
    None,
}

impl Room {
    /// Judges `free` of `total` bytes on a device of segments of `segment` bytes.
    pub fn judge(total: u64, free: u64, segment: u64) -> Self {
        let scarce = (total / 100 * KEPT_FOR_DELETES).max(SEGMENTS_KEPT * segment);
        let none = (total / 100 * KEPT_FOR_COMPACTION).max(segment);
        match free {
            free if free < none => Self::None,
            free if free < scarce => Self::Scarce,
            _ => Self::Plenty,
        }
    }
}

/// Whether the device can be trusted with writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Health {
    /// Yes.
    Good,
    /// A write, a sync or the index failed: what is there is served, nothing
    /// new is taken.
    ReadOnly,
    /// Closed, or closing.
    Closed,
}

/// Room and health of an open device.
#[derive(Debug)]
pub struct Condition {
    room: AtomicU8,
    health: AtomicU8,
    free: AtomicU64,
    total: AtomicU64,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            room: AtomicU8::new(Room::Plenty as u8),
            health: AtomicU8::new(Health::Good as u8),
            free: AtomicU64::new(0),
            total: AtomicU64::new(0),
        }
    }
}

impl Condition {
    /// Takes note of the room there is now.
    pub fn measure(&self, total: u64, free: u64, segment: u64) {
        self.free.store(free, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        let room = Room::judge(total, free, segment);
        let before = self.room.swap(room as u8, Ordering::Relaxed);
        if before != room as u8 {
            tracing::info!(?room, total, free, "room on the device changed");
        }
    }

    /// Bytes in all and free, as last measured.
    pub fn space(&self) -> (u64, u64) {
        (
            self.total.load(Ordering::Relaxed),
            self.free.load(Ordering::Relaxed),
        )
    }

    /// Room as last measured.
    pub fn room(&self) -> Room {
        match self.room.load(Ordering::Relaxed) {
            0 => Room::Plenty,
            1 => Room::Scarce,
            _ => Room::None,
        }
    }

    /// How much the device can be trusted.
    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Good,
            1 => Health::ReadOnly,
            _ => Health::Closed,
        }
    }

    /// Lowers the health; says whether it was better before.
    pub fn lower(&self, to: Health) -> bool {
        self.health.fetch_max(to as u8, Ordering::Relaxed) < to as u8
    }

    /// Whether new data may come in.
    ///
    /// # Errors
    /// `Full` without room, `Device` after a failure.
    pub fn admit_data(&self) -> Result<(), NodeError> {
        self.admit(Room::Plenty)
    }

    /// Whether a tombstone may come in.
    ///
    /// # Errors
    /// As [`Condition::admit_data`], with less room needed.
    pub fn admit_delete(&self) -> Result<(), NodeError> {
        self.admit(Room::Scarce)
    }

    fn admit(&self, least: Room) -> Result<(), NodeError> {
        match self.health() {
            Health::Good if self.room() <= least => Ok(()),
            Health::Good => Err(NodeError::Full),
            Health::ReadOnly => Err(NodeError::Device("read-only after a failure".into())),
            Health::Closed => Err(NodeError::Device("closed".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i8_data_is_refused_before_deletes_and_deletes_before_compaction() {
        let condition = Condition::default();
        for (free, data, delete) in [(60, true, true), (40, false, true), (15, false, false)] {
            condition.measure(1000, free, 1);
            assert_eq!(condition.admit_data().is_ok(), data, "{free}");
            assert_eq!(condition.admit_delete().is_ok(), delete, "{free}");
        }
        condition.measure(1000, 100, 30);
        assert_eq!(
            condition.admit_data(),
            Err(NodeError::Full),
            "four segments are kept"
        );
    }

    #[test]
    fn health_only_falls() {
        let condition = Condition::default();
        assert!(condition.lower(Health::ReadOnly));
        assert!(!condition.lower(Health::ReadOnly));
        assert!(!condition.lower(Health::Good));
        assert_eq!(condition.health(), Health::ReadOnly);
        assert!(condition.admit_delete().is_err());
    }
}
