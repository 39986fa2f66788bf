//! How a device is doing, why, and what is being done about it.
//!
//! Made by the object server of what the engine and the workers know, asked
//! through [`crate::node::ObjectNode::status`], shown by `virga status` and
//! `virga admin`. Whether a whole cluster is well is judged there; a node only
//! speaks of its own devices.
use std::fmt;

use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;

use crate::movement::RingName;

/// What a device is good for. The later of two states is the worse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceState {
    /// It takes writes and answers reads.
    Active,
    /// It was away, and does not count as a replica until it has heard of
    /// everything that was deleted meanwhile.
    Returning,
    /// It takes no writes and gives what it holds to other devices.
    Draining,
    /// It answers reads and takes no new data.
    ReadOnly,
    /// It does nothing: it could not be opened, or is closed.
    Failed,
}

impl DeviceState {
    /// As `virga status` and the JSON name it: "read-only".
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Returning => "returning",
            Self::Draining => "draining",
            Self::ReadOnly => "read-only",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a device is not [`DeviceState::Active`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// An operator wants it so.
    Operator,
    /// It has no room for new data.
    Full,
    /// A read, a write or a sync of it failed.
    IoErrors,
    /// Its index failed.
    IndexFailed,
    /// Too many of its records were damaged within an hour.
    BadRecords,
    /// Its file system does not take writes.
    ReadOnlyFilesystem,
    /// It was away for longer than deletions are remembered for sure.
    WasAway,
    /// It cannot be opened.
    CannotOpen,
    /// Its process is stopping.
    Closing,
    /// The clock of its node differs from the others'.
    Clock,
}

impl Cause {
    /// Whether the device itself is broken: it will not get better by itself.
    pub fn is_sickness(self) -> bool {
        matches!(
            self,
            Self::IoErrors
                | Self::IndexFailed
                | Self::BadRecords
                | Self::ReadOnlyFilesystem
                | Self::CannotOpen
        )
    }
}

/// For people: "too many damaged records".
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Operator => "an operator wants it so",
            Self::Full => "full",
            Self::IoErrors => "I/O errors",
            Self::IndexFailed => "its index failed",
            Self::BadRecords => "too many damaged records",
            Self::ReadOnlyFilesystem => "its file system is read-only",
            Self::WasAway => "it was away",
            Self::CannotOpen => "it cannot be opened",
            Self::Closing => "its process is stopping",
            Self::Clock => "its clock is off",
        })
    }
}

/// One reason for a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which.
    pub cause: Cause,
    /// Since when.
    pub since: Micros,
    /// What exactly, in words; may be empty.
    pub detail: String,
}

/// How a device of a node is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// Name as in the ring.
    pub device: String,
    /// What it is good for.
    pub state: DeviceState,
    /// Why, the weightiest first; empty for an active device.
    pub reasons: Vec<Reason>,
    /// Bytes that are free for it: of its file system, and of segments that it
    /// can use again.
    pub free: u64,
    /// Bytes of the filesystem.
    pub total: u64,
    /// Live objects.
    pub objects: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Records set aside as damaged since the start.
    pub quarantined: u64,
    /// Files in the folder `bad`: copies of damaged records.
    pub bad_files: u64,
    /// Files in the folder `stale`: copies of objects whose deletion may have
    /// been forgotten.
    pub stale_files: u64,
    /// How far the look for rot is.
    pub scrub: ScrubStatus,
    /// What is being done on the device, duty by duty.
    pub work: Vec<Work>,
}

impl DeviceStatus {
    /// A device that answers nothing, and why.
    pub fn failed(device: &str, reason: Reason) -> Self {
        Self {
            device: device.to_owned(),
            state: DeviceState::Failed,
            reasons: vec![reason],
            free: 0,
            total: 0,
            objects: 0,
            bytes: 0,
            quarantined: 0,
            bad_files: 0,
            stale_files: 0,
            scrub: ScrubStatus::default(),
            work: Vec::new(),
        }
    }
}

/// How far a device's scrub is: every record is read from the medium once a pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStatus {
    /// Segments of the device.
    pub segments: u64,
    /// Those that this pass has still to read.
    pub left: u64,
    /// Records read in this pass.
    pub records: u64,
    /// Live records found damaged in this pass.
    pub damaged: u64,
    /// When this pass began, if one has.
    pub began: Option<Micros>,
    /// When the last whole pass ended, if one has.
    pub pass_ended: Option<Micros>,
    /// Live records that the last whole pass found damaged.
    pub last_damaged: u64,
    /// Seconds until this pass ends, at the pace it is meant to go.
    pub seconds_left: u64,
    /// Whether it goes as fast as it can because an operator asked for it.
    pub hurried: bool,
}

/// What one duty is doing on one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Name of the duty: "reconcile", "drain", "update listings".
    pub duty: String,
    /// The ring it works for, if it is for one.
    pub ring: Option<RingName>,
    /// What it counts: "partitions", "rows".
    pub unit: String,
    /// How many of them it has dealt with, of those it began with.
    pub done: u64,
    /// How many are left.
    pub left: u64,
    /// Bytes moved to other devices since it began.
    pub bytes: u64,
    /// Bytes moved in a second, lately.
    pub bytes_per_s: u64,
    /// Seconds until it is done at the pace so far, if that can be told.
    pub seconds_left: Option<u64>,
    /// Why something is left although it was tried, in words.
    pub trouble: Option<String>,
}
