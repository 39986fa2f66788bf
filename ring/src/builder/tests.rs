//! The builder against its own promises, on random rings and lives.
use proptest::prelude::*;

use super::plan::Plan;
use super::tree::Tree;
use super::*;
use crate::Partition;

pub(crate) const NOW: u64 = 1_800_000_000;

pub(crate) fn device(region: u32, zone: u32, server: u32, disk: u32, weight: f64) -> NewDevice {
    NewDevice {
        region,
        zone,
        ip: format!("10.{region}.{zone}.{server}"),
        port: 6200,
        replication_ip: None,
        replication_port: None,
        device: format!("sd{disk}"),
        weight,
        meta: String::new(),
    }
}

/// `count` devices of equal weight over `zones` zones.
fn add_many(builder: &mut Builder, count: u32, zones: u32) {
    (0..count).for_each(|at| {
        add(builder, 1, at % zones, at, 1.0);
    });
}

fn add(builder: &mut Builder, region: u32, zone: u32, server: u32, weight: f64) -> DeviceId {
    let disk = builder.devices.len() as u32;
    builder.add(device(region, zone, server, disk, weight)).unwrap()
}

/// A hundred random rings, or thousands in the long form.
fn cases() -> u32 {
    if std::env::var_os("VIRGA_SOAK").is_some() {
        5000
    } else {
        100
    }
}

/// Everything a finished, unlocked table promises.
pub(crate) fn check(builder: &Builder) -> Result<(), TestCaseError> {
    builder
        .validate()
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    let tree = Tree::new(&builder.devices, &[]);
    let table = builder.table().unwrap();
    let plan = Plan::new(&tree, table.replica_count(), builder.overload()).unwrap();
    let parts = table.parts();
    let mut held = vec![0u64; tree.nodes.len()];
    for part in 0..parts {
        let mut count = vec![0u32; tree.nodes.len()];
        for &id in table.of(part) {
            let leaf = tree.leaf_of_device[id as usize];
            tree.upwards(leaf).for_each(|node| count[node] += 1);
        }
        for node in 1..tree.nodes.len() {
            prop_assert!(
                count[node] <= plan.max[node],
                "partition {part} above the maximum of tier {node}"
            );
            prop_assert!(
                count[node] >= plan.min[node],
                "partition {part} below the minimum of tier {node}"
            );
            held[node] += u64::from(count[node]);
        }
    }
    for (node, held) in held.iter().enumerate().skip(1) {
        let target = plan.target[node] * parts as f64;
        prop_assert!(
            (*held as f64 - target).abs() < 1.000_001,
            "tier {node}: {held} of {target}"
        );
    }
    Ok(())
}

prop_compose! {
    fn trees()(
        devices in prop::collection::vec((1u32..4, 1u32..5, 1u32..4, prop_oneof![Just(1.0), Just(2.0), 0.5..8.0f64]), 4..30),
        replicas in prop_oneof![Just(3.0), Just(2.0), 1.0..4.0f64],
        part_power in 4u8..9,
        overload in prop_oneof![Just(0.0), Just(0.1), Just(10.0)],
    ) -> Builder {
        let mut builder = Builder::create(part_power, replicas, 1).unwrap();
        builder.set_overload(overload).unwrap();
        for (region, zone, server, weight) in devices {
            add(&mut builder, region, zone, server, weight);
        }
        builder
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_first_ring_keeps_every_tier_of_every_partition_inside_the_plan(mut builder in trees(), seed: u64) {
        builder.rebalance(seed, NOW).unwrap();
        check(&builder)?;
    }

    #[test]
    fn changes_move_at_least_the_bound_and_end_inside_the_plan(
        mut builder in trees(),
        seed: u64,
        changes in prop::collection::vec((0u8..5, 0u32..30, 0.5..8.0f64), 1..4),
    ) {
        builder.rebalance(seed, NOW).unwrap();
        for (kind, which, weight) in changes {
            let ids: Vec<DeviceId> = builder.devices().map(|device| device.id).collect();
            let id = ids[which as usize % ids.len()];
            match kind {
                0 if ids.len() > 5 => builder.remove(id).unwrap(),
                1 if ids.len() > 5 => builder.set_weight(id, 0.0).unwrap(),
                2 => builder.set_weight(id, weight).unwrap(),
                3 => { add(&mut builder, 1 + which % 4, 1 + which % 3, which % 5, weight); }
                _ => builder.set_overload(weight / 8.0).unwrap(),
            }
            let before = builder.clone();
            builder.pretend_min_part_hours_passed();
            let Ok(done) = builder.rebalance(seed, NOW) else { break };
            prop_assert!(done.moved >= done.bound || done.pending > 0);
            if done.removed.is_empty() && let (Some(old), Some(new)) = (before.table(), builder.table()) {
                for part in 0..new.parts() {
                    let moved = new.of(part).iter().filter(|id| !old.of(part).contains(id)).count();
                    prop_assert!(moved <= 1, "partition {part} moved {moved} replicas at once");
                }
            }
            // What one move a partition does not reach, the next rebalances do.
            for _ in 0..4 {
                builder.pretend_min_part_hours_passed();
                builder.rebalance(seed, NOW).unwrap();
            }
            check(&builder)?;
            builder.pretend_min_part_hours_passed();
            prop_assert_eq!(builder.rebalance(seed, NOW).unwrap().moved, 0, "a settled ring moved again");
        }
    }
}

#[test]
fn a_moved_partition_rests_until_min_part_hours_have_passed() {
    let mut builder = Builder::create(6, 3.0, 2).unwrap();
    add_many(&mut builder, 6, 3);
    builder.rebalance(1, NOW).unwrap();
    add(&mut builder, 1, 0, 9, 1.0);
    let locked = builder.rebalance(1, NOW + 3600).unwrap();
    assert_eq!(locked.moved, 0);
    assert!(locked.pending > 0);
    let free = builder.rebalance(1, NOW + 2 * 3600).unwrap();
    assert!(free.moved > 0 && free.pending == 0);
    assert_eq!(free.moved, free.bound);
}

#[test]
fn a_removed_device_leaves_at_once_even_when_partitions_are_locked() {
    let mut builder = Builder::create(6, 3.0, 24).unwrap();
    add_many(&mut builder, 6, 3);
    builder.rebalance(1, NOW).unwrap();
    let gone = builder.held()[5];
    builder.remove(DeviceId(5)).unwrap();
    let done = builder.rebalance(1, NOW + 60).unwrap();
    assert_eq!(
        (done.moved, done.removed.as_slice()),
        (gone, [DeviceId(5)].as_slice())
    );
    assert_eq!(builder.device_list().len(), 5);
    builder.validate().unwrap();
}

#[test]
fn a_replica_that_stays_keeps_its_index() {
    let mut builder = Builder::create(8, 4.0, 0).unwrap();
    add_many(&mut builder, 12, 4);
    builder.rebalance(1, NOW).unwrap();
    let old = builder.table().unwrap().clone();
    for at in 0..3 {
        add(&mut builder, 1, at, 20 + at, 2.0);
    }
    builder.rebalance(2, NOW).unwrap();
    let new = builder.table().unwrap();
    for part in 0..256 {
        for (at, id) in old.of(part).iter().enumerate() {
            assert!(!new.of(part).contains(id) || new.of(part)[at] == *id);
        }
    }
}

#[test]
fn replicas_come_and_go_without_moving_the_others() {
    let mut builder = Builder::create(7, 2.0, 24).unwrap();
    add_many(&mut builder, 9, 3);
    builder.rebalance(1, NOW).unwrap();
    builder.set_replicas(2.5).unwrap();
    assert_eq!(builder.rebalance(1, NOW).unwrap().moved, 64);
    builder.set_replicas(3.0).unwrap();
    assert_eq!(builder.rebalance(1, NOW).unwrap().moved, 64);
    builder.set_replicas(1.25).unwrap();
    assert_eq!(builder.rebalance(1, NOW).unwrap().moved, 0);
    assert_eq!(builder.table().unwrap().slots(), 160);
    builder.validate().unwrap();
}

#[test]
fn equal_calls_give_equal_rings() {
    let make = |seed| {
        let mut builder = Builder::create(8, 3.0, 1).unwrap();
        for at in 0..10 {
            add(&mut builder, 1, at % 4, at, f64::from(at + 1));
        }
        builder.rebalance(seed, NOW).unwrap();
        builder.encode().unwrap()
    };
    assert_eq!(make(5), make(5));
    assert_ne!(make(5), make(6));
}

#[test]
fn a_power_increase_keeps_every_partition_in_place() {
    let mut builder = Builder::create(5, 3.0, 1).unwrap();
    add_many(&mut builder, 5, 3);
    assert_eq!(
        builder.increase_power(),
        Err(PowerError::WrongStep(
            "the partition power increase is not prepared"
        ))
    );
    builder.rebalance(1, NOW).unwrap();
    let before = builder.to_ring().unwrap().unwrap();
    builder.prepare_power_increase().unwrap();
    assert_eq!(
        builder.rebalance(1, NOW).unwrap_err(),
        RebalanceError::PowerIncrease
    );
    assert_eq!(builder.remove(DeviceId(0)), Err(ChangeError::PowerIncrease));
    builder.increase_power().unwrap();
    builder.finish_power_increase().unwrap();
    let after = builder.to_ring().unwrap().unwrap();
    for part in 0..64 {
        let ids = |ring: &Ring, part| {
            ring.primaries(Partition(part))
                .map(|(_, device)| device.id)
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&after, part), ids(&before, part / 2));
    }
    builder.validate().unwrap();
}

#[test]
fn a_locked_partition_stays_and_the_moved_ones_are_named() {
    let mut builder = Builder::create(6, 3.0, 0).unwrap();
    add_many(&mut builder, 6, 3);
    builder.rebalance(1, NOW).unwrap();
    let old = builder.table().unwrap().clone();
    add(&mut builder, 1, 0, 9, 1.0);
    let locked: PartitionSet = (0..60).map(Partition).collect();
    let options = RebalanceOptions {
        locked: Some(&locked),
        ..RebalanceOptions::new(1, NOW)
    };
    let done = builder.rebalance_with(&options).unwrap();
    assert!(done.moved > 0 && done.pending > 0);
    assert_eq!(done.moved_parts.len(), done.parts_moved);
    let new = builder.table().unwrap();
    for part in 0..64 {
        let moved = old.of(part) != new.of(part);
        assert_eq!(moved, done.moved_parts.contains(Partition(part as u32)));
        assert!(!moved || part >= 60);
    }
}

#[test]
fn partitions_rest_for_as_long_as_was_set() {
    let mut builder = Builder::create(4, 3.0, 2).unwrap();
    add_many(&mut builder, 6, 3);
    assert!(builder.resting(NOW).is_empty());
    builder.rebalance(1, NOW).unwrap();
    assert_eq!(builder.resting(NOW + 7199).len(), 16);
    assert!(builder.resting(NOW + 7200).is_empty());
}

#[test]
fn a_scatter_limit_is_kept_by_the_first_table_and_written_down() {
    let mut builder = Builder::create(12, 3.0, 0).unwrap();
    add_many(&mut builder, 60, 5);
    builder.set_scatter_limit(Some(12)).unwrap();
    let found = builder.rebalance(1, NOW).unwrap().scatter.unwrap();
    assert!(found.is_met() && found.widest <= 12, "{found:?}");
    assert!(builder.rebalance(1, NOW).unwrap().moved == 0);
    let again = Builder::decode(&builder.encode().unwrap()).unwrap();
    assert_eq!(again.scatter_limit(), Some(12));
    assert_eq!(again.scatter(), Some(found));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_partition_moves_one_replica_in_min_part_hours_whatever_clock_and_seed_do(
        hours in 1u32..4,
        steps in prop::collection::vec(
            (prop_oneof![Just(0i64), 1i64..3600, 3600i64..20_000, -20_000i64..0], any::<u64>(), 0u32..8, 0.5..8.0f64),
            1..12,
        ),
    ) {
        let mut builder = Builder::create(5, 3.0, hours).unwrap();
        add_many(&mut builder, 8, 4);
        builder.rebalance(1, NOW).unwrap();
        // Seconds the clock went forward, in all and when each partition moved.
        let (mut now, mut forward, mut last) = (NOW, 0u64, [0u64; 32]);
        for (step, seed, which, weight) in steps {
            now = now.saturating_add_signed(step);
            forward += step.max(0) as u64;
            match which {
                0 => { add(&mut builder, 1, 9, 9, weight); }
                _ => builder.set_weight(DeviceId(which), weight).unwrap(),
            }
            let old = builder.table().unwrap().clone();
            let done = builder.rebalance(seed, now).unwrap();
            let new = builder.table().unwrap();
            for (part, last) in last.iter_mut().enumerate() {
                let moved = new.of(part).iter().filter(|id| !old.of(part).contains(id)).count();
                prop_assert!(moved <= 1, "partition {part} moved {moved} replicas at once");
                if moved == 1 {
                    let rested = forward - *last;
                    prop_assert!(rested >= u64::from(hours) * 3600, "partition {part} rested {rested} s");
                    *last = forward;
                }
            }
            let targets = builder.targets().unwrap();
            let off = targets.iter().zip(builder.held()).any(|(target, held)| (held as f64 - target).abs() > 1.000_001);
            prop_assert!(!off || done.pending > 0, "slots are out of place and nothing is pending");
        }
    }
}

#[test]
fn absurd_weights_are_refused_with_the_device_named() {
    let mut builder = Builder::create(4, 3.0, 1).unwrap();
    add_many(&mut builder, 4, 2);
    for weight in [f64::NAN, f64::INFINITY, 1e308, -1.0, 5e-324] {
        let refused = builder.set_weight(DeviceId(1), weight).unwrap_err().to_string();
        assert!(refused.contains("for device d1 (10.1.1.1:6200/sd1)"), "{refused}");
        let refused = builder.add(device(1, 1, 7, 7, weight)).unwrap_err().to_string();
        assert!(refused.contains("for device 10.1.1.7:6200/sd7"), "{refused}");
    }
    // The farthest apart that is let in still makes a ring.
    builder.set_weight(DeviceId(0), 1e15).unwrap();
    builder.set_weight(DeviceId(1), 1e-9).unwrap();
    builder.rebalance(1, NOW).unwrap();
    builder.validate().unwrap();
}

#[test]
fn weights_as_far_apart_as_may_be_are_settled_in_bounded_work() {
    // Devices whose share is next to nothing must fill minimums: nearly every
    // slot goes through a chain, and a search for each one would take the square.
    let (tiny, small, large) = (1e-9, 100.0, 1e15);
    let places = [
        (2, 1, small),
        (1, 1, tiny),
        (1, 1, tiny),
        (2, 1, tiny),
        (1, 2, large),
        (1, 2, large),
        (1, 3, small),
        (1, 3, tiny),
        (2, 3, tiny),
        (1, 3, tiny),
        (1, 4, tiny),
        (1, 4, large),
        (2, 5, small),
        (1, 5, large),
    ];
    let mut builder = Builder::create(12, 3.5, 0).unwrap();
    builder.set_overload(1.0).unwrap();
    for (server, (region, zone, weight)) in places.into_iter().enumerate() {
        add(&mut builder, region, zone, server as u32, weight);
    }
    for changed in [0, 8, 12] {
        let usual = places[changed].2;
        for weight in [large, usual] {
            builder.set_weight(DeviceId(changed as u32), weight).unwrap();
            let mut looks = 0;
            for _ in 0..3 {
                builder.pretend_min_part_hours_passed();
                let done = builder.rebalance(1, NOW).unwrap();
                looks = looks.max(done.looks);
            }
            let slots = builder.table().unwrap().slots() as u64;
            assert!(looks <= 16 * slots, "d{changed} to {weight}: {looks} looks");
            check(&builder).unwrap();
        }
    }
}

#[test]
fn more_replicas_than_devices_with_weight_is_an_error_that_says_what_to_do() {
    let mut builder = Builder::create(4, 3.0, 1).unwrap();
    add_many(&mut builder, 3, 3);
    builder.set_weight(DeviceId(2), 0.0).unwrap();
    let before = builder.clone();
    let refused = builder.rebalance(1, NOW).unwrap_err().to_string();
    assert!(
        refused.contains("requires more than 2 devices with weight: add devices"),
        "{refused}"
    );
    assert_eq!(builder, before);
}

#[test]
fn with_a_scatter_limit_a_change_moves_as_little_and_spreads_less() {
    let build = |limit| {
        let mut builder = Builder::create(12, 3.0, 0).unwrap();
        add_many(&mut builder, 60, 5);
        builder.set_scatter_limit(Some(12)).unwrap();
        builder.rebalance(1, NOW).unwrap();
        builder.set_scatter_limit(limit).unwrap();
        builder.remove(DeviceId(7)).unwrap();
        let done = builder.rebalance(1, NOW).unwrap();
        builder.set_scatter_limit(Some(12)).unwrap();
        (done.moved, builder.scatter().unwrap())
    };
    let ((moved, kept), (free_moved, free)) = (build(Some(12)), build(None));
    assert_eq!(moved, free_moved);
    assert!(kept.copysets < free.copysets, "{kept:?} {free:?}");
    assert!(kept.over_limit <= free.over_limit, "{kept:?} {free:?}");
    println!("with the limit {kept:?}, without {free:?}");
}
