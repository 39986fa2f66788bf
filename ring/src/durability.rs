//! What failures together may cost: copysets, scatter, chance of loss.
//!
//! A copyset is a set of devices that holds all replicas of some partition.
//! Fewer copysets mean rarer losses (each of more partitions); a device
//! rebuilds from as many others as its scatter. Used by `virga ring`.
use std::collections::HashSet;

use crate::table::Table;

/// Measures of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Durability {
    /// Devices that hold something.
    pub devices: usize,
    /// Distinct copysets, by number of replicas: (replicas, copysets, partitions).
    pub copysets: Vec<(usize, u64, u64)>,
    /// Fewest other devices that one shares a partition with.
    pub scatter_least: usize,
    /// The same on average.
    pub scatter_mean: f64,
    /// The most.
    pub scatter_most: usize,
}

impl Durability {
    /// Measures `table`.
    pub fn of(table: &Table) -> Self {
        let mut sets: HashSet<Vec<u32>> = HashSet::new();
        let mut pairs: HashSet<(u32, u32)> = HashSet::new();
        let mut parts = vec![0u64; table.rows() + 1];
        for part in 0..table.parts() {
            let mut set = table.of(part).to_vec();
            set.sort_unstable();
            set.dedup();
            parts[set.len()] += 1;
            if sets.contains(&set) {
                continue;
            }
            for (at, &a) in set.iter().enumerate() {
                pairs.extend(set[at + 1..].iter().map(|&b| (a, b)));
            }
            sets.insert(set);
        }
        let mut by_width = vec![0u64; table.rows() + 1];
        let mut devices: HashSet<u32> = HashSet::new();
        for set in &sets {
            by_width[set.len()] += 1;
            devices.extend(set);
        }
        let mut scatter: std::collections::HashMap<u32, usize> = devices.iter().map(|&id| (id, 0)).collect();
        for id in pairs.iter().flat_map(|&(a, b)| [a, b]) {
            *scatter.entry(id).or_default() += 1;
        }
        let total: usize = scatter.values().sum();
        Self {
            devices: devices.len(),
            copysets: (0..=table.rows())
                .filter(|&width| parts[width] > 0)
                .map(|width| (width, by_width[width], parts[width]))
                .collect(),
            scatter_least: scatter.values().copied().min().unwrap_or(0),
            scatter_mean: total as f64 / devices.len().max(1) as f64,
            scatter_most: scatter.values().copied().max().unwrap_or(0),
        }
    }

    /// Chance that `failures` random devices failing together hold all
    /// replicas of some partition.
    pub fn loss_probability(&self, failures: usize) -> f64 {
        let safe: f64 = self
            .copysets
            .iter()
            .map(|&(width, sets, _)| {
                let share = (sets as f64 / binomial(self.devices, width)).min(1.0);
                // Through logarithms: the exponent may be enormous.
                if width == 0 || width > failures {
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
        let lost = self
            .copysets
            .iter()
            .filter(|(width, ..)| (1..=failures).contains(width));
        lost.map(|&(width, _, parts)| {
            parts as f64 * binomial(failures, width) / binomial(self.devices, width)
        })
        .sum()
    }
}

fn binomial(n: usize, k: usize) -> f64 {
    if k > n {
        return 0.0;
    }
    (0..k).map(|at| (n - at) as f64 / (at + 1) as f64).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_copyset_of_four_devices_is_lost_in_one_of_four_triple_failures() {
        let table = Table::from_row_major(2, &[0, 0, 1, 1, 2, 2]).unwrap();
        let mut measured = Durability::of(&table);
        assert_eq!((measured.devices, measured.scatter_least), (3, 2));
        assert_eq!(measured.copysets, [(3, 1, 2)]);
        measured.devices = 4;
        assert!((measured.loss_probability(3) - 0.25).abs() < 1e-9);
        assert!((measured.expected_lost_partitions(3) - 0.5).abs() < 1e-9);
        assert_eq!(measured.loss_probability(2), 0.0);
    }
}
