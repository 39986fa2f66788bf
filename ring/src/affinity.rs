//! Affinity: which regions and zones a proxy prefers, for reads and writes.
//!
//! The values are Swift's (`read_affinity`, `write_affinity` and the counts
//! beside them), so that a configuration can be taken over. The proxy applies
//! them; the ring itself treats all places alike.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::device::Device;

/// Priority of a device that no piece of a [`ReadAffinity`] names: Swift's
/// 2^32, after all that an operator is likely to write.
pub const UNNAMED_PRIORITY: u64 = 1 << 32;

/// Why an affinity value cannot be used.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum AffinityError {
    /// A piece between commas is not what it should be.
    #[error("affinity {value:?}: piece {place} ({piece:?}) {problem}; write it as {form}")]
    Piece {
        /// The whole value.
        value: String,
        /// Which piece, from 1.
        place: usize,
        /// The piece.
        piece: String,
        /// What is wrong with it.
        problem: &'static str,
        /// How it should look.
        form: &'static str,
    },
    /// A number of nodes that is not one.
    #[error("{value:?} is not a number of nodes; write it as {form}")]
    Count {
        /// The value.
        value: String,
        /// How it should look.
        form: &'static str,
    },
}

/// A region, or one zone of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    region: u32,
    zone: Option<u32>,
}

impl Area {
    fn has(self, device: &Device) -> bool {
        self.region == device.region && self.zone.is_none_or(|zone| zone == device.zone)
    }

    /// Reads `r1` or `r1z2`; the error says what is wrong.
    fn parse(text: &str) -> Result<Self, &'static str> {
        let numbers = text
            .strip_prefix('r')
            .ok_or("does not start with r and the number of a region")?;
        let (region, zone) = match numbers.split_once('z') {
            Some((region, zone)) => (region, Some(zone)),
            None => (numbers, None),
        };
        Ok(Self {
            region: number(region).ok_or("has no number of a region after the r")?,
            zone: match zone {
                Some(zone) => Some(number(zone).ok_or("has no number of a zone after the z")?),
                None => None,
            },
        })
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.region)?;
        self.zone.map_or(Ok(()), |zone| write!(f, "z{zone}"))
    }
}

/// Digits only: `FromStr` of the integers would let a plus sign pass.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
    text.parse().ok()
}

/// Reads the pieces between commas; a blank value has none.
fn pieces<T>(
    value: &str,
    form: &'static str,
    read: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, AffinityError> {
    if value.trim().is_empty() {
        return Ok(Vec::new());
    }
    let read_at = |(at, piece): (usize, &str)| {
        let piece = piece.trim();
        let problem = |problem| AffinityError::Piece {
            value: value.to_owned(),
            place: at + 1,
            piece: piece.to_owned(),
            problem,
            form,
        };
        if piece.is_empty() {
            return Err(problem("is empty"));
        }
        read(piece).map_err(problem)
    };
    value.split(',').enumerate().map(read_at).collect()
}

/// Where reads should go first: `r1=100, r1z2=50`, the lowest number first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReadAffinity {
    pieces: Vec<(Area, u64)>,
}

impl ReadAffinity {
    /// Reads a value; a blank one prefers nothing.
    ///
    /// # Errors
    /// The first piece that is not `rN=PRIORITY` or `rNzM=PRIORITY`.
    pub fn parse(value: &str) -> Result<Self, AffinityError> {
        let pieces = pieces(value, "r1=100 or r1z2=50", |piece| {
            let (area, priority) = piece
                .split_once('=')
                .ok_or("has no =PRIORITY after the region or zone")?;
            let priority = number(priority).ok_or("has no whole number after the =")?;
            Ok((Area::parse(area)?, priority))
        })?;
        Ok(Self { pieces })
    }

    /// Whether it prefers nothing.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The lowest number of the pieces that match, [`UNNAMED_PRIORITY`] if none
    /// does. A stable sort by it puts devices in the order to read from;
    /// shuffle them before, so that equals share the load.
    pub fn priority(&self, device: &Device) -> u64 {
        let matching = self.pieces.iter().filter(|(area, _)| area.has(device));
        matching
            .map(|&(_, priority)| priority)
            .min()
            .unwrap_or(UNNAMED_PRIORITY)
    }
}

impl fmt::Display for ReadAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (area, priority)) in self.pieces.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{area}={priority}")?;
        }
        Ok(())
    }
}

/// Where writes should go first: `r1, r2z2` are local, all else is far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WriteAffinity {
    pieces: Vec<Area>,
}

impl WriteAffinity {
    /// Reads a value; a blank one prefers nothing.
    ///
    /// # Errors
    /// The first piece that is not `rN` or `rNzM`.
    pub fn parse(value: &str) -> Result<Self, AffinityError> {
        let pieces = pieces(value, "r1 or r1z2", Area::parse)?;
        Ok(Self { pieces })
    }

    /// Whether it prefers nothing: then the order of nodes stays as it is.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Whether a device is local. Everything is when nothing is preferred.
    pub fn is_local(&self, device: &Device) -> bool {
        self.pieces.is_empty() || self.pieces.iter().any(|area| area.has(device))
    }

    /// The nodes in the order to write to: the first `count` local ones, then
    /// all the others as they came; none is left out. `nodes` are primaries,
    /// then handoffs; only as many handoffs are looked for as it takes to find
    /// `count` local ones (all of them when there are fewer).
    pub fn local_first<'a, I>(&self, nodes: I, count: usize) -> impl Iterator<Item = &'a Device> + use<'a, I>
    where
        I: Iterator<Item = &'a Device> + Clone,
    {
        let mut first = Vec::new();
        if !self.is_empty() {
            first.extend(nodes.clone().filter(|device| self.is_local(device)).take(count));
        }
        let taken: Vec<_> = first.iter().map(|device| device.id).collect();
        let others = nodes.filter(move |device| !taken.contains(&device.id));
        first.into_iter().chain(others)
    }
}

impl fmt::Display for WriteAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, area) in self.pieces.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{area}")?;
        }
        Ok(())
    }
}

/// How many nodes to use, as `write_affinity_node_count` and
/// `request_node_count` say it: `5` or `2 * replicas`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum NodeCount {
    /// As many, whatever the ring has.
    Fixed(usize),
    /// As many for each replica of the ring.
    PerReplica(usize),
}

impl Default for NodeCount {
    fn default() -> Self {
        Self::PerReplica(2)
    }
}

impl NodeCount {
    /// Reads a value; case does not matter.
    ///
    /// # Errors
    /// Anything but `N` and `N * replicas`.
    pub fn parse(value: &str) -> Result<Self, AffinityError> {
        let lower = value.to_ascii_lowercase();
        let words: Vec<&str> = lower.split_whitespace().collect();
        let read = match words[..] {
            [count] => number(count).map(Self::Fixed),
            [count, "*", "replicas"] => number(count).map(Self::PerReplica),
            _ => None,
        };
        read.ok_or_else(|| AffinityError::Count {
            value: value.to_owned(),
            form: "a number, or as in \"2 * replicas\"",
        })
    }

    /// The number for a partition with so many primaries.
    pub fn of(self, replicas: usize) -> usize {
        match self {
            Self::Fixed(count) => count,
            Self::PerReplica(count) => count.saturating_mul(replicas),
        }
    }
}

impl fmt::Display for NodeCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(count) => write!(f, "{count}"),
            Self::PerReplica(count) => write!(f, "{count} * replicas"),
        }
    }
}

/// How many local handoffs a deletion asks beside the primaries, as
/// `write_affinity_handoff_delete_count` says it: `auto` or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HandoffDeleteCount {
    /// As many as there are primaries that are not local.
    #[default]
    Auto,
    /// As many.
    Fixed(usize),
}

impl HandoffDeleteCount {
    /// Reads a value; case does not matter.
    ///
    /// # Errors
    /// Anything but `auto` and a number.
    pub fn parse(value: &str) -> Result<Self, AffinityError> {
        let value = value.trim();
        if value.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto);
        }
        number(value)
            .map(Self::Fixed)
            .ok_or_else(|| AffinityError::Count {
                value: value.to_owned(),
                form: "a number or \"auto\"",
            })
    }

    /// The number for a partition with so many primaries, so many of them local.
    pub fn of(self, primaries: usize, local: usize) -> usize {
        match self {
            Self::Auto => primaries.saturating_sub(local),
            Self::Fixed(count) => count,
        }
    }
}

impl fmt::Display for HandoffDeleteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Fixed(count) => write!(f, "{count}"),
        }
    }
}

/// What serde and `str::parse` need, the same for all of them.
macro_rules! reads_from_text {
    ($($name:ty),*) => {$(
        impl FromStr for $name {
            type Err = AffinityError;
            fn from_str(value: &str) -> Result<Self, Self::Err> {
                Self::parse(value)
            }
        }
        impl TryFrom<String> for $name {
            type Error = AffinityError;
            fn try_from(value: String) -> Result<Self, Self::Error> {
                Self::parse(&value)
            }
        }
        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}
reads_from_text!(ReadAffinity, WriteAffinity, NodeCount, HandoffDeleteCount);

#[cfg(test)]
mod tests;
