//! What an operator asks of a node's devices: put them under orders, look at
//! what is kept, begin duties at once.
//!
//! One call of the node protocol for all of it
//! ([`crate::node::ObjectNode::admin`]), answered by the object server for
//! `virga admin`. Whoever knows the cluster's secret may ask, as for everything
//! between nodes; who may use the command line is decided by the mode of the
//! data folder.
use serde::{Deserialize, Serialize};

use crate::movement::RingName;

/// What an operator wants a device to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wanted {
    /// Reads and writes; also forgives damaged records.
    Active,
    /// Reads only.
    ReadOnly,
    /// Reads only, and what it holds goes to other devices.
    Draining,
}

/// Files that a device keeps for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// Copies of damaged bytes.
    Quarantine,
    /// Objects whose deletion may have been forgotten.
    Stale,
}

/// What is asked of one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminRequest {
    /// Puts the device under an order, durably.
    Order {
        /// What it is to be.
        wanted: Wanted,
        /// Why, for whoever asks later; may be empty.
        note: String,
    },
    /// Compares the device with its peers at once.
    Reconcile,
    /// Begins a new pass of the scrub at once, a segment a second.
    Scrub,
    /// Lists kept files behind a name, in the order of their names.
    Files {
        /// Which.
        keep: Keep,
        /// The name; empty for the first page.
        after: String,
        /// At most so many; at most [`MOST_FILES`] come.
        limit: u32,
    },
    /// Shows one: what it says of itself and its first bytes.
    Show {
        /// Of which kind.
        keep: Keep,
        /// Its name.
        name: String,
    },
    /// Removes one for good.
    Purge {
        /// Of which kind.
        keep: Keep,
        /// Its name.
        name: String,
    },
    /// Lists rows of listings that the device owes; at most [`MOST_ROWS`].
    Owed,
}

/// Files in one answer.
pub const MOST_FILES: u32 = 1000;
/// Rows in one answer.
pub const MOST_ROWS: usize = 1000;
/// Bytes of a kept file that are shown.
pub const SHOWN: u64 = 4096;

/// What a node answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminAnswer {
    /// It is done.
    Done,
    /// Kept files.
    Files(Vec<KeptFile>),
    /// One of them.
    Shown {
        /// What it is; empty if it does not say.
        line: String,
        /// Its first bytes.
        bytes: Vec<u8>,
    },
    /// Rows that are owed.
    Owed(Vec<OwedRow>),
}

/// A kept file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, seconds since 1970.
    pub written: u64,
    /// What it says of itself; empty if nothing.
    pub line: String,
}

/// A row of a listing that is owed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwedRow {
    /// "account/container/object".
    pub path: String,
    /// The ring of the object.
    pub ring: RingName,
    /// Version of the row, as a Swift timestamp.
    pub timestamp: String,
    /// Whether the row says that the object is deleted.
    pub deleted: bool,
}
