//! Is the cloud well, why not, what is being done, when will it end, and what is
//! an operator to do: judged from what every host says of itself.
//!
//! Pure: [`crate::control`] gathers the facts, [`crate::status`] shows the
//! report. The JSON of a [`HealthReport`] is described in
//! `docs/operations/health.md` and does not change its meaning.
mod causes;
mod copies;
mod work;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use virga_node::clock::Micros;
use virga_node::health::State;
use virga_proxy::core::RingChange;
use virga_ring::Ring;

use crate::control::NodeStatus;

/// Version of the report's JSON: fields are added under the same number, never
/// taken away or given another meaning.
pub const VERSION: u32 = 1;

/// How well the cloud is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Everything has as many copies as wanted, where the rings want them.
    #[default]
    Ok,
    /// The same, but data is on its way to where a new ring wants it.
    Moving,
    /// Something has fewer copies than wanted, or may soon.
    Degraded,
    /// Some partitions have fewer copies than a quorum: requests may fail.
    Critical,
}

impl Health {
    /// As shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Moving => "moving",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

/// How weighty a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// Worth knowing; nothing lacks copies because of it.
    Notice,
    /// The cloud is degraded because of it.
    Degraded,
}

/// What is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An object server does not answer.
    HostAway,
    /// A host does not have a device that a ring names.
    DeviceMissing,
    /// A device could not be opened, or is closed.
    DeviceFailed,
    /// A device takes no new data.
    DeviceReadOnly,
    /// A device was away and is not in step yet.
    DeviceReturning,
    /// A device is being emptied.
    DeviceDraining,
    /// A host was away and has not been brought everything yet.
    CatchingUp,
    /// A host goes by an older ring than others.
    RingOld,
    /// A device cannot compare itself with its peers.
    NotReconciled,
    /// Rows of listings are owed and cannot be paid.
    RowsOwed,
    /// A part of this process is not well.
    Part,
    /// Objects whose deletion may have been forgotten are set aside.
    StaleCopies,
    /// Copies of damaged records are kept.
    DamagedRecords,
}

/// What has fewer copies than wanted because of a finding. Partitions are exact;
/// the rest is as last told by the device, or about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacking {
    /// Partitions, of all rings.
    pub partitions: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes of objects.
    pub bytes: u64,
    /// Whether objects and bytes are a guess from what the other devices hold.
    pub guessed: bool,
}

impl Lacking {
    fn add(&mut self, other: Self) {
        self.partitions += other.partitions;
        self.objects += other.objects;
        self.bytes += other.bytes;
        self.guessed |= other.guessed;
    }
}

/// What is being done, and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doing {
    /// In words: "compare and fill", "drain", "scrub".
    pub what: String,
    /// The ring, if it is for one.
    pub ring: Option<String>,
    /// What is counted: "partitions".
    pub unit: String,
    /// Of those that it began with, how many are done.
    pub done: u64,
    /// How many are left.
    pub left: u64,
    /// Devices that work on it.
    pub devices: u64,
    /// Bytes that went since it began.
    pub bytes: u64,
    /// Bytes a second, lately.
    pub bytes_per_s: u64,
    /// Seconds until it is done at the pace so far, if that can be told.
    pub seconds_left: Option<u64>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which.
    pub kind: Kind,
    /// How weighty.
    pub weight: Weight,
    /// What it is about: a host ("ip:port"), a device ("ip:port/name"), a part.
    pub subject: String,
    /// Since when, microseconds since 1970, if that is known.
    pub since: Option<Micros>,
    /// What is the matter, in a sentence.
    pub what: String,
    /// What lacks copies because of it.
    pub lacking: Option<Lacking>,
    /// What is being done about it, in a sentence; empty if nothing is.
    pub meanwhile: String,
    /// How far that is.
    pub doing: Option<Doing>,
    /// What ends it, in words, if it ends by itself.
    pub ends: Option<String>,
    /// What an operator has to do, one step a line: commands as they are typed.
    /// Empty if it ends by itself.
    pub todo: Vec<String>,
}

/// Copies of one ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingCopies {
    /// The ring.
    pub ring: String,
    /// Its partitions.
    pub partitions: u64,
    /// By how many copies of a partition can be had: the number of partitions.
    pub by_copies: BTreeMap<u64, u64>,
    /// Partitions with fewer copies than wanted.
    pub short: u64,
    /// Partitions with fewer copies than a quorum.
    pub below_quorum: u64,
    /// Objects set aside as their deletion may have been forgotten.
    pub set_aside: u64,
}

/// Whether the cloud is well, and what there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Version of this document.
    pub version: u32,
    /// In one word.
    pub health: Health,
    /// In one line.
    pub summary: String,
    /// Whether this process knows of devices at all: one that only serves
    /// identity cannot tell how data is.
    pub sees_data: bool,
    /// What is the matter, the weightiest first.
    pub findings: Vec<Finding>,
    /// How many copies there are.
    pub copies: Vec<RingCopies>,
    /// What is going on, whether something is the matter or not.
    pub doing: Vec<Doing>,
}

/// A ring and its name.
pub type NamedRing = (String, Arc<Ring>);

/// What the report is made of.
pub struct Facts<'a> {
    /// Every object server of the rings.
    pub hosts: &'a [NodeStatus],
    /// Every ring.
    pub rings: Vec<NamedRing>,
    /// Ring changes under way.
    pub changes: &'a [RingChange],
    /// Parts of this process.
    pub parts: &'a BTreeMap<String, State>,
}

/// Judges.
pub fn judge(facts: &Facts<'_>) -> HealthReport {
    let copies = copies::survey(facts);
    let mut findings = causes::find(facts, &copies);
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.weight));
    let rings: Vec<RingCopies> = copies.rings.into_iter().map(|ring| ring.copies).collect();
    let doing = work::of_all(facts);
    let below = rings.iter().any(|ring| ring.below_quorum > 0);
    let ill = findings.iter().any(|finding| finding.weight == Weight::Degraded);
    let moving = !facts.changes.is_empty();
    let health = match (below, ill, moving) {
        (true, _, _) => Health::Critical,
        (false, true, _) => Health::Degraded,
        (false, false, true) => Health::Moving,
        (false, false, false) => Health::Ok,
    };
    HealthReport {
        version: VERSION,
        health,
        summary: summary(health, &findings, &rings, facts),
        sees_data: !facts.hosts.is_empty(),
        findings,
        copies: rings,
        doing,
    }
}

fn summary(health: Health, findings: &[Finding], rings: &[RingCopies], facts: &Facts<'_>) -> String {
    let (mut short, mut below) = (0, 0);
    for ring in rings {
        short += ring.short;
        below += ring.below_quorum;
    }
    let weighty = findings.iter().filter(|f| f.weight == Weight::Degraded).count();
    match health {
        Health::Ok if facts.hosts.is_empty() => "every part of this process is ready".to_owned(),
        Health::Ok => "every partition has all its copies".to_owned(),
        Health::Moving => format!(
            "every partition has all its copies; {} to where the new ring wants them",
            count(
                facts.changes.len() as u64,
                "ring's data moves",
                "rings' data move"
            )
        ),
        Health::Critical => format!(
            "{} fewer copies than a quorum: requests for what is in them may fail",
            count(below, "partition has", "partitions have")
        ),
        Health::Degraded if short > 0 => format!(
            "{} fewer copies than wanted, and everything can be read and written",
            count(short, "partition has", "partitions have")
        ),
        Health::Degraded => format!(
            "{} the matter; every partition has all its copies on devices that answer",
            count(weighty as u64, "thing is", "things are")
        ),
    }
}

/// A number with the word that fits: "1 device", "3 devices".
pub fn count(n: u64, one: &str, more: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {more}"),
    }
}
