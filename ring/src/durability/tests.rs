//! The figures against brute force on small tables.
use super::joint::{Failure, JointLoss, joint_loss};
use super::*;

/// Chance for the tests: their own, so that a fault in the other one shows.
struct Lot(u64);

impl Lot {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn unit(&mut self) -> f64 {
        (self.below(1 << 30) as f64 + 0.5) / (1u64 << 30) as f64
    }

    /// A table of different devices in every partition.
    fn table(&mut self, parts: usize, devices: u32, replicas: usize) -> Table {
        let mut rows = vec![0; parts * replicas];
        for part in 0..parts {
            let mut free: Vec<u32> = (0..devices).collect();
            for row in 0..replicas {
                let at = self.below(free.len() as u64) as usize;
                rows[row * parts + part] = free.swap_remove(at);
            }
        }
        Table::from_row_major(parts, &rows).unwrap()
    }
}

/// Partitions lost when the devices of this bit mask fail.
fn lost(table: &Table, failed: u32) -> u64 {
    let gone = |part: &usize| table.of(*part).iter().all(|id| failed & (1 << id) != 0);
    (0..table.parts()).filter(gone).count() as u64
}

fn brute(table: &Table, masks: impl Iterator<Item = u32>) -> (f64, f64, u64) {
    let costs: Vec<u64> = masks.map(|mask| lost(table, mask)).collect();
    let all = costs.len() as f64;
    let losing = costs.iter().filter(|cost| **cost > 0).count() as f64;
    (
        losing / all,
        costs.iter().sum::<u64>() as f64 / all,
        costs.iter().copied().max().unwrap_or(0),
    )
}

fn single(devices: u32) -> Vec<Vec<u32>> {
    (0..devices).map(|id| vec![id]).collect()
}

fn tried(table: &Table, groups: Vec<Vec<u32>>, fail: usize, samples: usize) -> JointLoss {
    joint_loss(
        &CopySets::of(table),
        &Failure::Groups { groups, fail },
        samples,
        1,
        |_, _| (),
    )
}

#[test]
fn one_copyset_of_four_devices_is_lost_in_one_of_four_triple_failures() {
    let table = Table::from_row_major(2, &[0, 0, 1, 1, 2, 2]).unwrap();
    let figures = Durability::of(&table);
    let mut measured = figures.model.clone();
    assert_eq!((measured.devices, figures.scatter_least), (3, 2));
    assert_eq!(measured.copysets, [(3, 1, 2)]);
    assert_eq!(
        figures.widest,
        Some(FanIn {
            device: 0,
            sources: 2,
            busiest: 2
        })
    );
    measured.devices = 4;
    assert!((measured.loss_probability(3) - 0.25).abs() < 1e-9);
    assert!((measured.expected_lost_partitions(3) - 0.5).abs() < 1e-9);
    assert_eq!(measured.loss_probability(2), 0.0);
}

#[test]
fn every_failure_tried_gives_the_chance_that_brute_force_counts() {
    for seed in 0..30 {
        let mut lot = Lot(seed);
        let devices = 6 + lot.below(4) as u32;
        let replicas = 2 + lot.below(2) as usize;
        let parts = 1 << lot.below(5);
        let table = lot.table(parts, devices, replicas);
        for failures in replicas..=(replicas + 2) {
            let masks = (0..1u32 << devices).filter(|mask| mask.count_ones() as usize == failures);
            let want = brute(&table, masks);
            let found = tried(&table, single(devices), failures, 1_000_000);
            assert!(found.exact, "seed {seed}");
            assert!(
                (found.chance - want.0).abs() < 1e-12,
                "seed {seed}: {found:?} {want:?}"
            );
            assert!(
                (found.mean_lost - want.1).abs() < 1e-9,
                "seed {seed}: {found:?} {want:?}"
            );
            assert_eq!(found.worst_lost, want.2, "seed {seed}");
            let mut measured = Durability::of(&table).model;
            // Devices without any partition may fail too.
            measured.devices = devices as usize;
            let expected = measured.expected_lost_partitions(failures);
            assert!(
                (expected - want.1).abs() < 1e-9,
                "seed {seed}: {expected} {want:?}"
            );
            if failures == replicas {
                let chance = measured.loss_probability(failures);
                assert!((chance - want.0).abs() < 1e-12, "seed {seed}: {chance} {want:?}");
            }
        }
    }
}

#[test]
fn a_sample_of_failures_comes_near_the_exact_chance() {
    let table = Lot(7).table(32, 14, 3);
    let exact = tried(&table, single(14), 5, 1_000_000);
    let sampled = tried(&table, single(14), 5, 1500);
    assert!(exact.exact && !sampled.exact && sampled.tried == 1500);
    let off = (sampled.chance - exact.chance).abs();
    assert!(off < 5.0 * sampled.error, "{sampled:?} {exact:?}");
    assert_eq!(
        sampled,
        tried(&table, single(14), 5, 1500),
        "equal seeds, equal samples"
    );
}

#[test]
fn groups_fail_as_a_whole() {
    // Four servers of two devices; partition 0 lies on servers 0 and 1 only.
    let table = Table::from_row_major(2, &[0, 1, 2, 4, 3, 6]).unwrap();
    let servers = vec![vec![0, 1], vec![2, 3], vec![4, 5], vec![6, 7]];
    let found = tried(&table, servers.clone(), 2, 100);
    assert!(
        (found.chance - 1.0 / 6.0).abs() < 1e-12 && found.worst_lost == 1,
        "{found:?}"
    );
    let all = joint_loss(
        &CopySets::of(&table),
        &Failure::Share {
            groups: servers,
            share: 1.0,
        },
        50,
        1,
        |_, _| (),
    );
    assert_eq!((all.chance, all.worst_lost, all.exact), (1.0, 2, true));
}

#[test]
fn a_partition_without_devices_is_lost_whatever_fails() {
    let sets = CopySets::of_rows(2, |part, row| row.extend((0..2).filter(|_| part == 1)));
    let found = joint_loss(
        &sets,
        &Failure::Groups {
            groups: single(2),
            fail: 0,
        },
        10,
        1,
        |_, _| (),
    );
    assert_eq!((found.chance, found.mean_lost), (1.0, 1.0));
    assert_eq!(sets.model().loss_probability(0), 1.0);
}

#[test]
fn the_annual_chance_is_that_of_simulated_years() {
    // Rates far beyond real ones, so that few years are enough.
    let table = Lot(3).table(4, 5, 2);
    let (afr, rebuild) = (0.6, 200.0);
    let measured = Durability::of(&table).model;
    let mut lot = Lot(11);
    let rate = -f64::ln(1.0 - afr) / HOURS_PER_YEAR;
    let years = 20_000;
    let mut lost_years = 0;
    for _ in 0..years {
        // When each device fails next, and until when it is down.
        let mut events: Vec<(f64, u32)> = Vec::new();
        for device in 0..5 {
            let mut at = 0.0;
            loop {
                at += -lot.unit().ln() / rate;
                if at > HOURS_PER_YEAR {
                    break;
                }
                events.push((at, device));
                at += rebuild;
            }
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let loses = |&(at, device): &(f64, u32)| {
            let down = events
                .iter()
                .filter(|(from, _)| *from <= at && at < from + rebuild);
            let mask = down.fold(1 << device, |mask, (_, id)| mask | 1 << id);
            lost(&table, mask) > 0
        };
        lost_years += u32::from(events.iter().any(loses));
    }
    let (simulated, computed) = (
        f64::from(lost_years) / f64::from(years),
        measured.annual_loss(afr, rebuild).chance,
    );
    assert!(
        (simulated / computed - 1.0).abs() < 0.15,
        "simulated {simulated}, computed {computed}"
    );
}
