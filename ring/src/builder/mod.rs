//! The builder: decides which device holds which partition, moving the least.
//!
//! Driven by `virga ring` and by `virga up`. Changes are collected (devices
//! added, removed, reweighed), then one [`Builder::rebalance`] places every
//! slot. Time and chance come in as arguments, so equal calls give equal rings.
pub mod address;
mod arrange;
mod bound;
mod change;
mod field;
mod fill;
mod flow;
pub mod format;
mod greedy;
mod measure;
mod options;
mod partition_set;
mod plan;
mod power;
mod quota;
mod random;
mod rebalance;
mod repair;
mod scatter;
mod survey;
pub mod swift;
mod tree;

use serde::{Deserialize, Serialize};

use crate::device::{Device, DeviceId};
use crate::ring::{Ring, RingError, RingInfo};
use crate::table::Table;

pub use change::{ChangeError, DeviceInfo, NewDevice};
pub use format::{LoadBuilderError, SaveBuilderError};
pub use measure::{DispersionReport, TierRisk, ValidateError, ValidateReport};
pub use options::{Movement, RebalanceOptions, Rebalanced};
pub use partition_set::PartitionSet;
pub use plan::PlanError;
pub use power::PowerError;
pub use rebalance::RebalanceError;
pub use scatter::Scatter;

/// Largest part power: 2^32 partitions is all a digest's first word can tell apart.
pub const MAX_PART_POWER: u8 = 32;
/// Most hours a partition can be locked after a move: the count is one byte.
pub const MAX_MIN_PART_HOURS: u32 = 255;
/// Most replicas; Swift sets no limit, but its rings stay far below this.
pub const MAX_REPLICAS: f64 = 256.0;
/// Largest device number: a list that long takes a hostile file or a slip.
pub const MAX_DEVICES: usize = 1 << 20;

/// Why a builder cannot be created.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum CreateError {
    /// Out of `0..=32`.
    #[error("part power must be between 0 and {MAX_PART_POWER} (was {0})")]
    PartPower(i64),
    /// Below 1, or absurd.
    #[error("replicas must be at least 1 and at most {MAX_REPLICAS} (was {0})")]
    Replicas(f64),
    /// More hours than a builder can count.
    #[error("min_part_hours must be between 0 and {MAX_MIN_PART_HOURS} (was {0})")]
    MinPartHours(i64),
}

/// When partitions last moved, in whole hours.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct MoveTimes {
    /// Hours since the last move, per partition; stays at 255.
    hours: Vec<u8>,
    /// Unix seconds the hours count from; 0 before the first rebalance.
    epoch: u64,
}

impl MoveTimes {
    /// Adds the whole hours that passed. A clock that went back adds none.
    fn advance(&mut self, now: u64) {
        let hours = now.saturating_sub(self.epoch) / 3600;
        if hours > 0 {
            let hours_byte = u8::try_from(hours).unwrap_or(u8::MAX);
            self.hours
                .iter_mut()
                .for_each(|hour| *hour = hour.saturating_add(hours_byte));
            // The part of an hour that is left counts next time.
            self.epoch += hours * 3600;
        }
    }
}

/// The scalar state of a builder, as its file stores it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    part_power: u8,
    next_part_power: Option<u8>,
    replicas: f64,
    min_part_hours: u32,
    overload: f64,
    version: u64,
    /// Devices changed since the last rebalance.
    changed: bool,
    /// Swift's dispersion figure after the last rebalance, in percent.
    dispersion: f64,
    /// Stable name of this builder, given at its first save (32 hex digits).
    id: Option<String>,
    /// Most other devices one may share partitions with; absent in old files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scatter_limit: Option<u32>,
}

/// A ring in the making. See the module's documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Builder {
    settings: Settings,
    devices: Vec<Option<Device>>,
    /// Marked for removal at the next rebalance.
    removed: Vec<DeviceId>,
    table: Option<Table>,
    times: MoveTimes,
}

impl Builder {
    /// A builder without devices. `replicas` may be fractional;
    /// `min_part_hours` is how long a partition rests after a move.
    pub fn create(part_power: u8, replicas: f64, min_part_hours: u32) -> Result<Self, CreateError> {
        if part_power > MAX_PART_POWER {
            return Err(CreateError::PartPower(part_power.into()));
        }
        check_replicas(replicas)?;
        check_min_part_hours(min_part_hours)?;
        let settings = Settings {
            part_power,
            next_part_power: None,
            replicas,
            min_part_hours,
            overload: 0.0,
            version: 0,
            changed: false,
            dispersion: 0.0,
            id: None,
            scatter_limit: None,
        };
        Ok(Self {
            settings,
            devices: Vec::new(),
            removed: Vec::new(),
            table: None,
            times: MoveTimes::default(),
        })
    }

    /// log2 of the number of partitions.
    pub fn part_power(&self) -> u8 {
        self.settings.part_power
    }

    /// The part power being prepared or just reached; see [`Builder::prepare_power_increase`].
    pub fn next_part_power(&self) -> Option<u8> {
        self.settings.next_part_power
    }

    /// Number of partitions.
    pub fn partition_count(&self) -> u64 {
        1 << self.settings.part_power
    }

    /// Replicas wanted (may be fractional).
    pub fn replicas(&self) -> f64 {
        self.settings.replicas
    }

    /// Hours a partition rests after a move.
    pub fn min_part_hours(&self) -> u32 {
        self.settings.min_part_hours
    }

    /// Overload allowed for the sake of dispersion (0.1 is 10 %).
    pub fn overload(&self) -> f64 {
        self.settings.overload
    }

    /// Counts the changes.
    pub fn version(&self) -> u64 {
        self.settings.version
    }

    /// Changed since the last rebalance?
    pub fn is_changed(&self) -> bool {
        self.settings.changed
    }

    /// Stable name, once saved.
    pub fn id(&self) -> Option<&str> {
        self.settings.id.as_deref()
    }

    /// Gives the builder its stable name, unless it has one.
    pub fn give_id(&mut self, id: impl Into<String>) {
        self.settings.id.get_or_insert_with(|| id.into());
    }

    /// The device list, with holes.
    pub fn device_list(&self) -> &[Option<Device>] {
        &self.devices
    }

    /// All devices, those marked for removal too.
    pub fn devices(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().flatten()
    }

    /// One device.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(id.0 as usize)?.as_ref()
    }

    /// Is the device marked for removal?
    pub fn is_removed(&self, id: DeviceId) -> bool {
        self.removed.contains(&id)
    }

    /// The assignments, once rebalanced.
    pub fn table(&self) -> Option<&Table> {
        self.table.as_ref()
    }

    /// Hours since `part` last moved, as of the last rebalance.
    pub fn hours_since_move(&self, part: crate::Partition) -> Option<u8> {
        self.times.hours.get(part.0 as usize).copied()
    }

    /// Partitions that min_part_hours keeps from moving at `now` (Unix
    /// seconds). Empty before the first rebalance.
    pub fn resting(&self, now: u64) -> PartitionSet {
        let passed = now.saturating_sub(self.times.epoch) / 3600;
        let rests = |&(_, &hours): &(usize, &u8)| {
            u64::from(hours).saturating_add(passed) < u64::from(self.settings.min_part_hours)
        };
        let resting = self.times.hours.iter().enumerate().filter(rests);
        resting.map(|(part, _)| crate::Partition(part as u32)).collect()
    }

    /// Seconds until partitions that just moved may move again, 0 if they may now.
    pub fn seconds_until_movable(&self, now: u64) -> u64 {
        if self.times.epoch == 0 {
            return 0;
        }
        let since = now.saturating_sub(self.times.epoch);
        (u64::from(self.settings.min_part_hours) * 3600).saturating_sub(since)
    }

    /// The ring as of the last rebalance; `None` before the first one.
    pub fn to_ring(&self) -> Option<Result<Ring, RingError>> {
        let table = self.table.clone()?;
        let info = RingInfo {
            part_power: self.settings.part_power,
            version: Some(self.settings.version),
            next_part_power: self.settings.next_part_power,
            extra: Default::default(),
        };
        Some(Ring::new(info, self.devices.clone(), table))
    }

    /// Makes a builder from a ring. Lossy: move times, overload and removal
    /// marks are not in a ring file.
    pub fn from_ring(ring: &Ring, min_part_hours: u32) -> Result<Self, CreateError> {
        let table = ring.table().clone();
        let mut builder = Self::create(ring.part_power(), table.replica_count(), min_part_hours)?;
        builder.settings.version = ring.version();
        builder.settings.next_part_power = ring.info().next_part_power;
        builder.devices = ring.device_list().to_vec();
        builder.times.hours = vec![0; table.parts()];
        builder.table = Some(table);
        builder.settings.dispersion = builder.measure_dispersion();
        Ok(builder)
    }
}

fn check_replicas(replicas: f64) -> Result<(), CreateError> {
    match replicas {
        _ if (1.0..=MAX_REPLICAS).contains(&replicas) => Ok(()),
        _ => Err(CreateError::Replicas(replicas)),
    }
}

fn check_min_part_hours(hours: u32) -> Result<(), CreateError> {
    if hours > MAX_MIN_PART_HOURS {
        Err(CreateError::MinPartHours(hours.into()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod exact;
#[cfg(test)]
mod optimum_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod verb_tests;
