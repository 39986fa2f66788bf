//! The distinct sets of devices that hold partitions, and how many each holds.
use std::collections::HashMap;

use super::{Durability, FanIn, LossModel};
use crate::table::Table;

/// Sets of devices, with the number of partitions on each.
#[derive(Clone, Debug, Default)]
pub struct CopySets {
    /// Members of all sets, set after set, sorted within a set.
    members: Vec<u32>,
    /// Where each set ends in `members`.
    ends: Vec<usize>,
    /// Partitions on each set.
    partitions: Vec<u64>,
}

impl CopySets {
    /// The sets of a table.
    pub fn of(table: &Table) -> Self {
        Self::of_rows(table.parts(), |part, row| row.extend_from_slice(table.of(part)))
    }

    /// The sets of `parts` partitions; `row` puts the devices that hold one into the list.
    pub fn of_rows(parts: usize, mut row: impl FnMut(usize, &mut Vec<u32>)) -> Self {
        let mut it = Self::default();
        let mut known: HashMap<u64, u32> = HashMap::new();
        let mut set = Vec::new();
        for part in 0..parts {
            set.clear();
            row(part, &mut set);
            set.sort_unstable();
            set.dedup();
            match known.get(&name_of(&set)) {
                // Two sets of one name would only be counted as two.
                Some(&at) if it.set(at as usize) == set => it.partitions[at as usize] += 1,
                _ => {
                    known.insert(name_of(&set), it.ends.len() as u32);
                    it.members.extend_from_slice(&set);
                    it.ends.push(it.members.len());
                    it.partitions.push(1);
                }
            }
        }
        it
    }

    /// Number of sets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No set at all?
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The members of one set.
    pub fn set(&self, at: usize) -> &[u32] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.members[start..self.ends[at]]
    }

    /// Partitions on one set.
    pub fn partitions(&self, at: usize) -> u64 {
        self.partitions[at]
    }

    /// One more than the largest device number.
    pub(super) fn device_limit(&self) -> usize {
        self.members.iter().max().map_or(0, |&id| id as usize + 1)
    }

    /// Per device, the sets in which `wanted` picks it.
    pub(super) fn index(&self, wanted: impl Fn(&[u32], u32) -> bool) -> Vec<Vec<u32>> {
        let mut index = vec![Vec::new(); self.device_limit()];
        for at in 0..self.len() {
            let set = self.set(at);
            for &id in set.iter().filter(|&&id| wanted(set, id)) {
                index[id as usize].push(at as u32);
            }
        }
        index
    }

    /// Copysets and partitions by width.
    pub fn model(&self) -> LossModel {
        let width = (0..self.len()).map(|at| self.set(at).len()).max().unwrap_or(0);
        let mut copysets = vec![(0u64, 0u64); width + 1];
        for at in 0..self.len() {
            let slot = &mut copysets[self.set(at).len()];
            slot.0 += 1;
            slot.1 += self.partitions[at];
        }
        let mut holds = vec![false; self.device_limit()];
        self.members.iter().for_each(|&id| holds[id as usize] = true);
        let filled = copysets
            .into_iter()
            .enumerate()
            .filter(|(_, (sets, _))| *sets > 0);
        LossModel {
            devices: holds.into_iter().filter(|holds| *holds).count(),
            copysets: filled
                .map(|(width, (sets, parts))| (width, sets, parts))
                .collect(),
        }
    }

    /// All figures of these sets.
    pub fn measure(&self) -> Durability {
        let fans = self.fan_ins();
        let total: usize = fans.iter().map(|fan| fan.sources).sum();
        let widest = fans
            .iter()
            .copied()
            .reduce(|a, b| if b.sources > a.sources { b } else { a });
        let narrowest = fans
            .iter()
            .copied()
            .reduce(|a, b| if b.sources < a.sources { b } else { a });
        Durability {
            model: self.model(),
            scatter_least: narrowest.map_or(0, |fan| fan.sources),
            scatter_mean: total as f64 / fans.len().max(1) as f64,
            scatter_most: widest.map_or(0, |fan| fan.sources),
            widest,
            narrowest,
        }
    }

    /// Who each device shares partitions with, summed up.
    fn fan_ins(&self) -> Vec<FanIn> {
        let index = self.index(|_, _| true);
        let mut shared = vec![0u64; index.len()];
        let mut fans = Vec::new();
        for (device, sets) in index.iter().enumerate().filter(|(_, sets)| !sets.is_empty()) {
            let mut fan = FanIn {
                device: device as u32,
                sources: 0,
                busiest: 0,
            };
            let others = |at: &u32| self.set(*at as usize).iter().filter(|&&id| id as usize != device);
            for at in sets {
                for &other in others(at) {
                    let count = &mut shared[other as usize];
                    fan.sources += usize::from(*count == 0);
                    *count += self.partitions[*at as usize];
                    fan.busiest = fan.busiest.max(*count);
                }
            }
            // Only what was touched: wiping the whole list is quadratic.
            sets.iter()
                .flat_map(others)
                .for_each(|&id| shared[id as usize] = 0);
            fans.push(fan);
        }
        fans
    }
}

/// A number that stands for a sorted set.
fn name_of(set: &[u32]) -> u64 {
    set.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &id| {
        let mixed = (hash ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    })
}
