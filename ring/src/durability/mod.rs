//! What failures together may cost: copysets, scatter, chance of loss.
//!
//! A copyset is a set of devices that holds all replicas of some partition.
//! Fewer copysets mean rarer losses (each of more partitions); a device
//! rebuilds from as many others as its scatter. Used by `virga ring`
//! ([`Durability`] for figures of the table, [`joint`] for devices that fail in
//! groups). docs/operations/rings.md states the models.
mod copysets;
pub mod joint;

pub use copysets::CopySets;

use crate::table::Table;

/// Hours of a year of 365.25 days.
pub const HOURS_PER_YEAR: f64 = 8766.0;

/// Measures of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Durability {
    /// Copysets by width, and the chances that follow from them.
    pub model: LossModel,
    /// Fewest other devices that one shares a partition with.
    pub scatter_least: usize,
    /// The same on average.
    pub scatter_mean: f64,
    /// The most.
    pub scatter_most: usize,
    /// The device that is rebuilt from the most others.
    pub widest: Option<FanIn>,
    /// The device that is rebuilt from the fewest others.
    pub narrowest: Option<FanIn>,
}

/// Chances of loss by formula; for the exact chance of a small ring, or an
/// estimate without the formula's assumptions, see [`joint`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossModel {
    /// Devices that hold something.
    pub devices: usize,
    /// Distinct copysets, by number of replicas: (replicas, copysets, partitions).
    pub copysets: Vec<(usize, u64, u64)>,
}

/// From where a failed device is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FanIn {
    /// The device.
    pub device: u32,
    /// Other devices that hold a replica of what it holds: its scatter.
    pub sources: usize,
    /// Partitions that the busiest of them shares with it.
    pub busiest: u64,
}

/// Losses to expect in a year; see [`LossModel::annual_loss`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnualLoss {
    /// Chance that some partition is lost within a year.
    pub chance: f64,
    /// Partitions lost in a year on average.
    pub partitions: f64,
}

impl Durability {
    /// Measures `table`.
    pub fn of(table: &Table) -> Self {
        CopySets::of(table).measure()
    }
}

impl LossModel {
    /// Chance that `failures` random devices failing together hold all
    /// replicas of some partition. Takes the copysets as independent.
    pub fn loss_probability(&self, failures: usize) -> f64 {
        let safe: f64 = self
            .copysets
            .iter()
            .map(|&(width, sets, _)| {
                let share = (sets as f64 / binomial(self.devices, width)).min(1.0);
                // Through logarithms: the exponent may be enormous.
                if width > failures {
                    1.0
                } else {
                    ((-share).ln_1p() * binomial(failures, width)).exp()
                }
            })
            .product();
        1.0 - safe
    }

    /// Partitions lost on average in such a failure; scatter does not change it.
    pub fn expected_lost_partitions(&self, failures: usize) -> f64 {
        let lost = self.copysets.iter().filter(|(width, ..)| *width <= failures);
        lost.map(|&(width, _, parts)| {
            parts as f64 * binomial(failures, width) / binomial(self.devices, width)
        })
        .sum()
    }

    /// Loss in a year when devices fail independently, each with chance `afr`
    /// in a year (0 to 1), and all replicas of a failed one are back after
    /// `rebuild_hours`. A copyset is lost when its last device fails while the
    /// others are being rebuilt.
    pub fn annual_loss(&self, afr: f64, rebuild_hours: f64) -> AnnualLoss {
        // Failures an hour of one device that is up, and its share of time down.
        let rate = -(-afr.clamp(0.0, 1.0 - 1e-12)).ln_1p() / HOURS_PER_YEAR;
        let (busy, span) = (rate * rebuild_hours, rate * HOURS_PER_YEAR);
        let (up, down) = (1.0 / (1.0 + busy), busy / (1.0 + busy));
        let mut it = AnnualLoss {
            chance: 0.0,
            partitions: 0.0,
        };
        let mut events = 0.0;
        for &(width, sets, parts) in &self.copysets {
            let each = width as f64 * span * up * down.powi(width as i32 - 1);
            events += sets as f64 * each;
            it.partitions += parts as f64 * each;
        }
        it.chance = -(-events).exp_m1();
        it
    }
}

/// `n` over `k`.
pub(crate) fn binomial(n: usize, k: usize) -> f64 {
    if k > n {
        return 0.0;
    }
    (0..k).map(|at| (n - at) as f64 / (at + 1) as f64).product()
}

#[cfg(test)]
mod tests;
