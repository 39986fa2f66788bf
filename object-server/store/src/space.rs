//! Whether a device takes new data, and why not: room, health, and what an
//! operator wants (invariant I8).
//!
//! Room is judged from numbers that the upkeep fetches once a second; health
//! falls when the device fails and rises again only when an operator says that
//! damaged records are dealt with. Asked before every mutation, so each is one
//! atomic load; the reasons are for `virga status`.
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use virga_disk::order::{Order, Standing};
use virga_node::clock::Micros;
use virga_object_wire::error::NodeError;
use virga_object_wire::status::{Cause, DeviceState, Reason};

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

/// Room and health of an open device, and what an operator wants of it.
#[derive(Debug)]
pub struct Condition {
    room: AtomicU8,
    health: AtomicU8,
    /// [`Standing`] as a number.
    standing: AtomicU8,
    free: AtomicU64,
    total: AtomicU64,
    /// By cause, each once.
    reasons: Mutex<BTreeMap<Cause, Reason>>,
}

impl Default for Condition {
    fn default() -> Self {
        Self {
            room: AtomicU8::new(Room::Plenty as u8),
            health: AtomicU8::new(Health::Good as u8),
            standing: AtomicU8::new(number(Standing::Active)),
            free: AtomicU64::new(0),
            total: AtomicU64::new(0),
            reasons: Mutex::default(),
        }
    }
}

fn number(standing: Standing) -> u8 {
    match standing {
        Standing::Active => 0,
        Standing::ReadOnly => 1,
        Standing::Draining => 2,
    }
}

/// Which kind of failure an error of the device is.
pub fn cause_of(error: &str) -> Cause {
    match error {
        error if error.contains("Read-only file system") => Cause::ReadOnlyFilesystem,
        _ => Cause::IoErrors,
    }
}

impl Condition {
    /// Takes note of the room there is at `now`.
    pub fn measure(&self, total: u64, free: u64, segment: u64, now: Micros) {
        self.free.store(free, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        let room = Room::judge(total, free, segment);
        let before = self.room.swap(room as u8, Ordering::Relaxed);
        if before != room as u8 {
            tracing::info!(?room, total, free, "room on the device changed");
            match room {
                Room::Plenty => drop(self.reasons().remove(&Cause::Full)),
                Room::Scarce => self.note(Cause::Full, now, "deletions and repairs go on".to_owned()),
                Room::None => self.note(Cause::Full, now, "deletions are refused too".to_owned()),
            }
        }
    }

    fn reasons(&self) -> MutexGuard<'_, BTreeMap<Cause, Reason>> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the time of a cause that is known already.
    fn note(&self, cause: Cause, now: Micros, detail: String) {
        let mut reasons = self.reasons();
        let reason = reasons.entry(cause).or_insert(Reason {
            cause,
            since: now,
            detail: String::new(),
        });
        reason.detail = detail;
    }

    /// What the device is good for, and why.
    pub fn state(&self) -> (DeviceState, Vec<Reason>) {
        let state = match (self.health(), self.standing()) {
            (Health::Closed, _) => DeviceState::Failed,
            (_, Standing::Draining) => DeviceState::Draining,
            (Health::ReadOnly, _) | (_, Standing::ReadOnly) => DeviceState::ReadOnly,
            (Health::Good, Standing::Active) if self.room() == Room::Plenty => DeviceState::Active,
            (Health::Good, Standing::Active) => DeviceState::ReadOnly,
        };
        let mut reasons: Vec<Reason> = self.reasons().values().cloned().collect();
        // What cannot get better by itself first.
        reasons.sort_by_key(|reason| !reason.cause.is_sickness());
        (state, reasons)
    }

    /// Whether something of the device itself is broken.
    pub fn is_sick(&self) -> bool {
        self.health() == Health::ReadOnly
    }

    /// What an operator wants of the device.
    pub fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            0 => Standing::Active,
            1 => Standing::ReadOnly,
            _ => Standing::Draining,
        }
    }

    /// Does from now on what an operator wants.
    pub fn obey(&self, order: &Order) {
        let mut reasons = self.reasons();
        reasons.remove(&Cause::Operator);
        if order.standing != Standing::Active {
            let reason = Reason {
                cause: Cause::Operator,
                since: Micros(order.since),
                detail: order.note.clone(),
            };
            reasons.insert(Cause::Operator, reason);
        }
        drop(reasons);
        self.standing.store(number(order.standing), Ordering::Relaxed);
    }

    /// Takes the device out of service for writes; says whether it was well
    /// before.
    pub fn fail(&self, cause: Cause, now: Micros, detail: String) -> bool {
        let first = self.lower(Health::ReadOnly);
        if self.health() == Health::ReadOnly {
            self.note(cause, now, detail);
        }
        first
    }

    /// Forgets that too many records were damaged; says whether the device is
    /// well then. Nothing else that failed gets well while it is open: what its
    /// log or index had in hand is lost to them.
    pub fn forgive_bad_records(&self) -> bool {
        let mut reasons = self.reasons();
        reasons.remove(&Cause::BadRecords);
        let broken = reasons.keys().any(|cause| cause.is_sickness());
        if !broken {
            let (bad, good) = (Health::ReadOnly as u8, Health::Good as u8);
            // A device that is closing stays so.
            let _ = self
                .health
                .compare_exchange(bad, good, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.health() == Health::Good
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
        match (self.health(), self.standing()) {
            (Health::Good, Standing::Active) if self.room() <= least => Ok(()),
            (Health::Good, Standing::Active) => Err(NodeError::Full),
            (Health::Good, Standing::ReadOnly) => {
                Err(NodeError::Device("read-only, as an operator wants it".into()))
            }
            (Health::Good, Standing::Draining) => Err(NodeError::Device("being drained".into())),
            (Health::ReadOnly, _) => Err(NodeError::Device("read-only after a failure".into())),
            (Health::Closed, _) => Err(NodeError::Device("closed".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros(1_766_400_000_000_000);

    fn order(standing: Standing) -> Order {
        Order {
            standing,
            since: 7,
            note: "a disk is to be taken out".to_owned(),
        }
    }

    #[test]
    fn i8_data_is_refused_before_deletes_and_deletes_before_compaction() {
        let condition = Condition::default();
        for (free, data, delete) in [(60, true, true), (40, false, true), (15, false, false)] {
            condition.measure(1000, free, 1, NOW);
            assert_eq!(condition.admit_data().is_ok(), data, "{free}");
            assert_eq!(condition.admit_delete().is_ok(), delete, "{free}");
        }
        condition.measure(1000, 100, 30, NOW);
        assert_eq!(
            condition.admit_data(),
            Err(NodeError::Full),
            "four segments are kept"
        );
    }

    #[test]
    fn room_is_judged_by_the_size_of_the_device_and_of_its_segments() {
        for (free, segment, room) in [
            (50, 1, Room::Plenty),
            (49, 1, Room::Scarce),
            (20, 1, Room::Scarce),
            (19, 1, Room::None),
            (120, 30, Room::Plenty),
            (119, 30, Room::Scarce),
            (30, 30, Room::Scarce),
            (29, 30, Room::None),
        ] {
            assert_eq!(
                Room::judge(1000, free, segment),
                room,
                "{free} of segments of {segment}"
            );
        }
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

    #[test]
    fn every_reason_is_told_with_its_time_and_goes_when_it_is_over() {
        let condition = Condition::default();
        assert_eq!(condition.state(), (DeviceState::Active, Vec::new()));
        condition.measure(1000, 40, 1, NOW);
        let (state, reasons) = condition.state();
        assert_eq!((state, reasons[0].cause), (DeviceState::ReadOnly, Cause::Full));
        assert_eq!(reasons[0].since, NOW);
        condition.measure(1000, 60, 1, NOW);
        assert_eq!(condition.state(), (DeviceState::Active, Vec::new()));
        condition.obey(&order(Standing::Draining));
        assert!(condition.fail(Cause::IoErrors, NOW, "no such luck".to_owned()));
        let (state, reasons) = condition.state();
        assert_eq!(state, DeviceState::Draining);
        let causes: Vec<Cause> = reasons.iter().map(|reason| reason.cause).collect();
        assert_eq!(
            causes,
            [Cause::IoErrors, Cause::Operator],
            "what is broken comes first"
        );
        condition.obey(&order(Standing::Active));
        assert_eq!(
            condition.state().0,
            DeviceState::ReadOnly,
            "it is sick all the same"
        );
    }

    #[test]
    fn an_operator_refuses_writes_until_the_order_is_taken_back() {
        let condition = Condition::default();
        for standing in [Standing::ReadOnly, Standing::Draining] {
            condition.obey(&order(standing));
            assert!(condition.admit_data().is_err() && condition.admit_delete().is_err());
            condition.obey(&order(Standing::Active));
            assert!(condition.admit_data().is_ok());
        }
    }

    #[test]
    fn damaged_records_are_forgiven_and_failures_of_the_device_are_not() {
        let condition = Condition::default();
        condition.fail(Cause::BadRecords, NOW, String::new());
        assert!(condition.forgive_bad_records());
        assert!(condition.admit_data().is_ok());
        condition.fail(Cause::BadRecords, NOW, String::new());
        condition.fail(Cause::IoErrors, NOW, String::new());
        assert!(!condition.forgive_bad_records());
        assert!(condition.admit_data().is_err());
    }

    #[test]
    fn a_file_system_that_takes_no_writes_is_told_from_a_disk_that_fails() {
        let error = |code| std::io::Error::from_raw_os_error(code).to_string();
        assert_eq!(cause_of(&error(30)), Cause::ReadOnlyFilesystem);
        assert_eq!(cause_of(&error(5)), Cause::IoErrors);
    }
}
