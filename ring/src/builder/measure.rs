//! Measures of a table: balance, dispersion, validity. Swift's definitions,
//! so that its tool and ours report the same figures for the same ring.
use std::collections::BTreeMap;

use super::Builder;
use super::plan;
use super::tree::{LEVELS, ROOT, Tree};
use crate::device::DeviceId;
use crate::table::Table;

/// Balance of a device that should hold nothing and holds something.
pub const WORST_BALANCE: f64 = 999.99;

/// What is wrong with a table.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ValidateError {
    /// No table yet.
    #[error("the ring has never been rebalanced")]
    NeverRebalanced,
    /// A slot without a live device.
    #[error("partition {part}, replica {row} is not assigned to a device")]
    Unassigned {
        /// Partition.
        part: usize,
        /// Row.
        row: usize,
    },
    /// One device twice.
    #[error("partition {part} is assigned to device {id} more than once")]
    Repeated {
        /// Partition.
        part: usize,
        /// Device.
        id: u32,
    },
    /// The table is not the shape that part power and replicas make.
    #[error("the table has {found} slots, part power and replica count make {want}")]
    Shape {
        /// Slots found.
        found: usize,
        /// Slots wanted.
        want: usize,
    },
}

/// What [`Builder::validate`] measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidateReport {
    /// Slots held, per device number.
    pub held: Vec<u64>,
    /// Largest deviation from a device's share by weight, in percent.
    pub worst: f64,
}

/// One tier in a dispersion report.
#[derive(Clone, Debug, PartialEq)]
pub struct TierRisk {
    /// `r1z2-10.0.0.1/sdb`-like name: as deep as the tier.
    pub tier: String,
    /// 1 region, 2 zone, 3 server, 4 device.
    pub depth: usize,
    /// Slots held in the tier.
    pub held: u64,
    /// Most replicas of one partition the tier should have.
    pub max: u32,
    /// Slots above that, in percent of the partitions the tier has a part in.
    pub at_risk: f64,
    /// Number of partitions with 0, 1, 2, ... replicas in the tier.
    pub counts: Vec<u64>,
}

/// Dispersion over all tiers.
#[derive(Clone, Debug, PartialEq)]
pub struct DispersionReport {
    /// Swift's figure: with a fractional replica count it sees only the
    /// partitions that have the extra replica. Percent.
    pub dispersion: f64,
    /// The same over all partitions. Percent.
    pub exact: f64,
    /// Every tier that holds something.
    pub tiers: Vec<TierRisk>,
}

impl Builder {
    /// Slots of one unit of weight.
    pub fn slots_per_weight(&self) -> f64 {
        let total: f64 = self.devices().map(|device| device.weight).sum();
        if total > 0.0 {
            self.partition_count() as f64 * self.replicas() / total
        } else {
            0.0
        }
    }

    /// Slots per device number.
    pub fn held(&self) -> Vec<u64> {
        match &self.table {
            Some(table) => table.count_by_device(self.devices.len()),
            None => vec![0; self.devices.len()],
        }
    }

    /// A device's deviation from its share by weight, in percent (signed).
    pub fn device_balance(&self, id: DeviceId, held: u64) -> f64 {
        let weight = self.device(id).map_or(0.0, |device| device.weight);
        let share = weight * self.slots_per_weight();
        if share > 0.0 {
            100.0 * held as f64 / share - 100.0
        } else if held > 0 {
            WORST_BALANCE
        } else {
            0.0
        }
    }

    /// The largest deviation of any device, in percent. Ignores overload, as
    /// Swift's does.
    pub fn balance(&self) -> f64 {
        let held = self.held();
        let of = |id: DeviceId| self.device_balance(id, held[id.0 as usize]).abs();
        self.devices().map(|device| of(device.id)).fold(0.0, f64::max)
    }

    /// Swift's dispersion as of the last rebalance, in percent.
    pub fn dispersion(&self) -> f64 {
        self.settings.dispersion
    }

    /// Overload that full dispersion would take (0.1 is 10 %).
    pub fn required_overload(&self) -> Result<f64, super::PlanError> {
        let tree = Tree::new(&self.devices, &[]);
        Ok(plan::Plan::new(&tree, self.replicas(), 0.0)?.required_overload)
    }

    /// Slots each device should hold, per device number (not whole).
    pub fn targets(&self) -> Result<Vec<f64>, super::PlanError> {
        let tree = Tree::new(&self.devices, &self.removed);
        // A fraction of a replica is cut to whole slots.
        let parts = usize::try_from(self.partition_count()).unwrap_or(usize::MAX);
        let slots = Table::slots_for(parts, self.replicas()).unwrap_or(0);
        let plan = plan::Plan::new(&tree, slots as f64 / parts as f64, self.overload())?;
        let mut targets = vec![0.0; self.devices.len()];
        for leaf in 0..tree.live {
            let id = tree.device_of_leaf[leaf];
            targets[id.0 as usize] = plan.target[tree.node_of_leaf[leaf]] * self.partition_count() as f64;
        }
        Ok(targets)
    }

    /// Measures dispersion over partitions as Swift does, with the exact
    /// figure and the distribution per tier.
    pub fn dispersion_report(&self) -> Option<DispersionReport> {
        let table = self.table.as_ref()?;
        let names = TierNames::new(self);
        let width = table.rows() + 1;
        let mut counts = vec![0u64; names.tiers.len() * width];
        let (mut swift, mut exact) = (0.0, 0.0);
        let full = if table.rows() > 0 { table.last_row() } else { 0 };
        for part in 0..table.parts() {
            let risk = names.risk_of(table.of(part), |tier, count| {
                counts[tier * width + count as usize] += 1;
            });
            exact += risk;
            if part < full {
                swift += risk;
            }
        }
        let slots = self.partition_count() as f64 * self.replicas();
        let tiers = names.tiers.iter().enumerate().map(|(at, tier)| {
            let mut counts = counts[at * width..(at + 1) * width].to_vec();
            counts[0] = table.parts() as u64 - counts[1..].iter().sum::<u64>();
            tier.risk(counts)
        });
        Some(DispersionReport {
            dispersion: 100.0 * swift / slots,
            exact: 100.0 * exact / slots,
            tiers: tiers.filter(|tier| tier.held > 0).collect(),
        })
    }

    /// Swift's dispersion figure of the table as it is.
    pub(super) fn measure_dispersion(&self) -> f64 {
        self.dispersion_report().map_or(0.0, |report| report.dispersion)
    }

    /// Measures dispersion again and keeps the figure.
    pub fn recalculate_dispersion(&mut self) -> f64 {
        self.settings.dispersion = self.measure_dispersion();
        self.settings.version += 1;
        self.settings.dispersion
    }

    /// Checks every slot.
    pub fn validate(&self) -> Result<ValidateReport, ValidateError> {
        let table = self.table.as_ref().ok_or(ValidateError::NeverRebalanced)?;
        let want = Table::slots_for(table.parts(), self.replicas()).unwrap_or(0);
        if table.parts() as u64 != self.partition_count() || (!self.settings.changed && want != table.slots())
        {
            return Err(ValidateError::Shape {
                found: table.slots(),
                want,
            });
        }
        for part in 0..table.parts() {
            let devices = table.of(part);
            for (row, &id) in devices.iter().enumerate() {
                if self.device(DeviceId(id)).is_none() {
                    return Err(ValidateError::Unassigned { part, row });
                }
                if devices[..row].contains(&id) {
                    return Err(ValidateError::Repeated { part, id });
                }
            }
        }
        Ok(ValidateReport {
            held: self.held(),
            worst: self.balance(),
        })
    }
}

struct TierName {
    name: String,
    depth: usize,
    max: f64,
}

impl TierName {
    fn risk(&self, counts: Vec<u64>) -> TierRisk {
        let weighed = |from: usize| -> f64 {
            let over = counts.iter().enumerate().skip(from + 1);
            over.map(|(count, parts)| (count - from) as f64 * *parts as f64)
                .sum()
        };
        let (held, over) = (weighed(0), weighed(self.max as usize));
        TierRisk {
            tier: self.name.clone(),
            depth: self.depth,
            held: held as u64,
            max: self.max as u32,
            at_risk: if held > 0.0 { 100.0 * over / held } else { 0.0 },
            counts,
        }
    }
}

/// Depth, region, zone, address, device; 0 or empty below the depth.
type TierKey<'a> = (usize, u32, u32, &'a str, u32);

/// Tiers of all devices, drained ones in their place, as Swift counts them.
struct TierNames {
    tiers: Vec<TierName>,
    /// Device number -> its four tiers.
    of: Vec<[usize; LEVELS]>,
}

impl TierNames {
    fn new(builder: &Builder) -> Self {
        let tree = Tree::new(&builder.devices, &[]);
        let allowed = plan::max_allowed(&tree, builder.replicas());
        let mut numbers: BTreeMap<TierKey<'_>, usize> = BTreeMap::new();
        let mut it = Self {
            tiers: Vec::new(),
            of: vec![[0; LEVELS]; builder.devices.len()],
        };
        // Weighted devices first: their tiers have a maximum; others have 0.
        let mut devices: Vec<_> = builder.devices().collect();
        devices.sort_by(|a, b| {
            (a.weight <= 0.0)
                .cmp(&(b.weight <= 0.0))
                .then_with(|| a.cmp_by_tier(b))
        });
        for device in devices {
            let ip = device.ip.as_str();
            let keys = [
                (1, device.region, 0, "", 0),
                (2, device.region, device.zone, "", 0),
                (3, device.region, device.zone, ip, 0),
                (4, device.region, device.zone, ip, device.id.0),
            ];
            let mut node = tree.node_of_leaf[tree.leaf_of_device[device.id.0 as usize] as usize];
            let mut path = [ROOT; LEVELS];
            if device.weight > 0.0 {
                for slot in path.iter_mut().rev() {
                    *slot = node;
                    node = tree.nodes[node].parent;
                }
            }
            let names = [
                format!("r{}", device.region),
                format!("r{}z{}", device.region, device.zone),
                format!("r{}z{}-{}", device.region, device.zone, ip),
                format!("r{}z{}-{}/{}", device.region, device.zone, ip, device.device),
            ];
            for (level, (key, name)) in keys.into_iter().zip(names).enumerate() {
                let tiers = &mut it.tiers;
                let number = *numbers.entry(key).or_insert_with(|| {
                    let max = if device.weight > 0.0 {
                        allowed[path[level]]
                    } else {
                        0.0
                    };
                    tiers.push(TierName {
                        name,
                        depth: level + 1,
                        max,
                    });
                    tiers.len() - 1
                });
                it.of[device.id.0 as usize][level] = number;
            }
        }
        it
    }

    /// How many replicas of one partition are too many, on the worst level;
    /// tells `each` tier's number of replicas.
    fn risk_of(&self, row: &[u32], mut each: impl FnMut(usize, u32)) -> f64 {
        let mut worst = 0.0_f64;
        for level in 0..LEVELS {
            let tier_of = |id: &u32| self.of.get(*id as usize).map(|tiers| tiers[level]);
            let mut over = 0.0;
            for (at, id) in row.iter().enumerate() {
                let Some(tier) = tier_of(id) else { continue };
                // Each tier once, at its first device.
                if row[..at].iter().any(|other| tier_of(other) == Some(tier)) {
                    continue;
                }
                let more = row[at + 1..].iter().filter(|other| tier_of(other) == Some(tier));
                let count = 1 + more.count() as u32;
                each(tier, count);
                over += (f64::from(count) - self.tiers[tier].max).max(0.0);
            }
            worst = worst.max(over);
        }
        worst
    }
}
