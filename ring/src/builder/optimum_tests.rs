//! The builder against the exact optimum, on small rings and random lives.
use proptest::prelude::*;

use super::exact::Problem;
use super::plan::Plan;
use super::tests::{NOW, check, device};
use super::tree::Tree;
use super::*;

/// Some random rings, or thousands in the long form.
fn cases() -> u32 {
    match std::env::var("VIRGA_CASES") {
        Ok(cases) => cases.parse().unwrap(),
        Err(_) if std::env::var_os("VIRGA_SOAK").is_some() => 5000,
        Err(_) => 60,
    }
}

#[derive(Clone, Debug)]
enum Change {
    Add(u32, u32, u32, f64),
    Remove(u32),
    Reweigh(u32, f64),
    Overload(f64),
    Replicas(f64),
}

fn change() -> impl Strategy<Value = Change> {
    let weight = || prop_oneof![Just(0.0), Just(1.0), Just(2.0), 0.5..8.0f64];
    prop_oneof![
        3 => (1u32..4, 1u32..4, 1u32..4, 0.5..8.0f64).prop_map(|(r, z, s, w)| Change::Add(r, z, s, w)),
        3 => any::<u32>().prop_map(Change::Remove),
        3 => (any::<u32>(), weight()).prop_map(|(which, weight)| Change::Reweigh(which, weight)),
        1 => prop_oneof![Just(0.0), Just(0.1), Just(10.0)].prop_map(Change::Overload),
        1 => prop_oneof![Just(2.0), Just(3.0), 1.0..4.0f64].prop_map(Change::Replicas),
    ]
}

prop_compose! {
    fn rings()(
        devices in prop::collection::vec((1u32..4, 1u32..4, 1u32..4, prop_oneof![Just(1.0), Just(2.0), 0.5..8.0f64]), 4..16),
        replicas in prop_oneof![Just(3.0), Just(2.0), 1.0..4.0f64],
        part_power in 3u8..7,
        overload in prop_oneof![Just(0.0), Just(0.1), Just(10.0)],
    ) -> Builder {
        let mut builder = Builder::create(part_power, replicas, 1).unwrap();
        builder.set_overload(overload).unwrap();
        for (at, (region, zone, server, weight)) in devices.into_iter().enumerate() {
            builder.add(device(region, zone, server, at as u32, weight)).unwrap();
        }
        builder
    }
}

fn apply(builder: &mut Builder, change: &Change) {
    let ids: Vec<DeviceId> = builder.devices().map(|device| device.id).collect();
    let pick = |which: u32| ids[which as usize % ids.len()];
    match *change {
        Change::Add(region, zone, server, weight) => {
            let disk = 1000 + builder.version() as u32;
            builder.add(device(region, zone, server, disk, weight)).unwrap();
        }
        Change::Remove(which) => builder.remove(pick(which)).unwrap(),
        Change::Reweigh(which, weight) => builder.set_weight(pick(which), weight).unwrap(),
        Change::Overload(overload) => builder.set_overload(overload).unwrap(),
        Change::Replicas(replicas) => builder.set_replicas(replicas).unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_change_moves_no_more_than_the_exact_optimum(
        mut builder in rings(),
        seed: u64,
        changes in prop::collection::vec(change(), 1..5),
    ) {
        builder.rebalance(seed, NOW).unwrap();
        for change in &changes {
            apply(&mut builder, change);
            let before = builder.clone();
            builder.pretend_min_part_hours_passed();
            let Ok(done) = builder.rebalance(seed, NOW) else { break };
            let (old, new) = (before.table().unwrap(), builder.table().unwrap());
            let tree = Tree::new(&builder.devices, &[]);
            let plan = Plan::new(&tree, new.replica_count(), builder.overload()).unwrap();
            let dead = |id: u32| before.is_removed(DeviceId(id));
            let problem = Problem::new(&tree, &plan, old, new, dead);
            if done.pending == 0 {
                check(&builder)?;
                prop_assert!(done.moved >= done.bound, "{} moves, bound {}", done.moved, done.bound);
                let best = problem.optimum().expect("there is a table: ours");
                let same_quotas = Problem::new(&tree, &plan, old, new, dead).with_quotas_of(new);
                prop_assert!(same_quotas.optimum().is_some_and(|same| best <= same && same <= done.moved));
                // The flow may move two replicas of a partition, we may not.
                let beaten = best < done.moved && problem.beats_one_by_one(done.moved, &mut 100) != Some(false);
                prop_assert!(!beaten, "{} moves, the optimum is {best}", done.moved);
                let mut again = builder.clone();
                again.pretend_min_part_hours_passed();
                prop_assert_eq!(again.rebalance(seed ^ 1, NOW).unwrap().moved, 0, "a settled ring moved again");
            }
            // What one move a partition does not reach, the next rebalances do.
            let mut left = done.pending;
            for _ in 0..8 {
                if left > 0 {
                    builder.pretend_min_part_hours_passed();
                    left = builder.rebalance(seed, NOW).unwrap().pending;
                }
            }
            check(&builder)?;
        }
    }
}

/// Three regions of five zones with four servers each (the last has two):
/// weights 1, 2, 4.
fn three_regions(part_power: u8, overload: f64) -> Builder {
    let mut builder = Builder::create(part_power, 3.0, 0).unwrap();
    builder.set_overload(overload).unwrap();
    for at in 0..58 {
        let (region, zone) = (at / 20 + 1, at / 4 % 5 + 1);
        let weight = [100.0, 200.0, 400.0][at as usize % 3];
        builder.add(device(region, zone, at, at, weight)).unwrap();
    }
    builder
}

/// Moves, bound and optimum of losing a zone.
fn lose_a_zone(overload: f64, seed: u64) -> (u64, u64, u64) {
    let mut builder = three_regions(8, overload);
    builder.rebalance(seed, NOW).unwrap();
    for id in 4..8 {
        builder.remove(DeviceId(id)).unwrap();
    }
    let before = builder.clone();
    let done = builder.rebalance(seed, NOW).unwrap();
    assert_eq!(done.pending, 0);
    let (old, new) = (before.table().unwrap(), builder.table().unwrap());
    let tree = Tree::new(&builder.devices, &[]);
    let plan = Plan::new(&tree, 3.0, overload).unwrap();
    let best = Problem::new(&tree, &plan, old, new, |id| before.is_removed(DeviceId(id))).optimum();
    println!(
        "overload {overload} seed {seed}: moved {} bound {} optimum {best:?}",
        done.moved, done.bound
    );
    (done.moved, done.bound, best.unwrap())
}

#[test]
fn losing_a_zone_costs_the_optimum_also_where_the_bound_is_below_it() {
    let mut loose = false;
    for seed in 1..5 {
        let (moved, bound, best) = lose_a_zone(0.0, seed);
        assert_eq!(moved, best);
        loose |= bound < best;
    }
    assert!(loose, "the bound is tight here; docs/ring.md says otherwise");
    let (moved, bound, best) = lose_a_zone(10.0, 1);
    assert_eq!((moved, bound), (best, best));
}

#[test]
fn leaving_minimums_alone_moves_less_and_makes_nothing_worse() {
    // Zone 1 is to hold 1.2 of 2 replicas: at least one of every partition.
    let mut builder = Builder::create(8, 2.0, 0).unwrap();
    for at in 0..10 {
        builder.add(device(1, 1, at, at, 1.0)).unwrap();
    }
    builder.rebalance(1, NOW).unwrap();
    // Only now is there more than one zone.
    for at in 6..10 {
        builder.set_zone(DeviceId(at), 2 + at / 8).unwrap();
    }
    let mut soft = builder.clone();
    let all = builder.rebalance(1, NOW).unwrap();
    check(&builder).unwrap();
    let options = RebalanceOptions {
        least_moves: true,
        ..RebalanceOptions::new(1, NOW)
    };
    let few = soft.rebalance_with(&options).unwrap();
    assert!(few.moved < all.moved, "{} and {}", few.moved, all.moved);
    assert_eq!(few.pending, 0);
}

#[test]
fn with_the_overload_that_dispersion_takes_every_change_moves_the_bound() {
    let changes: [&dyn Fn(&mut Builder); 5] = [
        &|it| (4..8).for_each(|id| it.remove(DeviceId(id)).unwrap()),
        &|it| {
            [1, 22, 43]
                .into_iter()
                .for_each(|id| it.remove(DeviceId(id)).unwrap())
        },
        &|it| it.set_weight(DeviceId(30), 0.0).unwrap(),
        &|it| it.set_weight(DeviceId(30), 300.0).unwrap(),
        &|it| {
            for at in 0..5 {
                it.add(device(at % 3 + 1, at + 1, at, 100 + at, 200.0)).unwrap();
            }
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut builder = three_regions(13, 10.0);
        builder.rebalance(1, NOW).unwrap();
        change(&mut builder);
        let done = builder.rebalance(1, NOW).unwrap();
        assert_eq!((done.moved, done.pending), (done.bound, 0), "change {at}");
        check(&builder).unwrap();
    }
}

/// Replicas above a maximum or below a minimum, over all partitions and tiers.
fn outside(builder: &Builder) -> u64 {
    let tree = Tree::new(&builder.devices, &[]);
    let table = builder.table().unwrap();
    let plan = Plan::new(&tree, table.replica_count(), builder.overload()).unwrap();
    let mut sum = 0;
    for part in 0..table.parts() {
        let mut count = vec![0u32; tree.nodes.len()];
        for &id in table.of(part) {
            let leaf = tree.leaf_of_device[id as usize];
            tree.upwards(leaf).for_each(|node| count[node] += 1);
        }
        for (node, count) in count.into_iter().enumerate().skip(1) {
            let over = count.saturating_sub(plan.max[node]);
            sum += u64::from(over + plan.min[node].saturating_sub(count));
        }
    }
    sum
}

#[test]
fn what_one_move_a_partition_cannot_reach_is_not_made_more_to_save_a_move() {
    // Zone, server, weight: ten replicas a partition, so that draining one
    // device while another one fails takes two moves of some partitions.
    let devices: [(u32, u32, f64); 24] = [
        (4, 2, 1.0),
        (1, 4, 2.0),
        (4, 3, 4.0),
        (1, 3, 1.0),
        (1, 1, 2.0),
        (4, 1, 4.0),
        (4, 4, 4.0),
        (3, 2, 4.0),
        (4, 3, 1.0),
        (1, 2, 4.0),
        (1, 3, 4.0),
        (2, 3, 2.0),
        (4, 1, 2.0),
        (4, 4, 4.0),
        (3, 3, 1.0),
        (1, 2, 4.0),
        (3, 4, 4.0),
        (4, 1, 2.0),
        (2, 2, 4.0),
        (1, 2, 4.0),
        (4, 3, 4.0),
        (4, 3, 4.0),
        (4, 2, 4.0),
        (4, 1, 2.0),
    ];
    let mut builder = Builder::create(5, 10.0, 1).unwrap();
    for (at, (zone, server, weight)) in (1..).zip(devices) {
        builder.add(device(1, zone, server, at, weight)).unwrap();
    }
    // Seed, fewest replicas left outside the plan, moves that takes: of these
    // tables, by an integer program with the rule as a constraint. Where fewer
    // moves weighed more, seeds 1 and 4 left 13 and 18.
    for (seed, fewest, moves) in [(1, 12, 23), (2, 7, 25), (4, 17, 20), (8, 15, 22)] {
        let mut builder = builder.clone();
        builder.rebalance(seed, NOW).unwrap();
        builder.set_weight(DeviceId(17), 0.0).unwrap();
        builder.remove(DeviceId(16)).unwrap();
        builder.pretend_min_part_hours_passed();
        let done = builder.rebalance(seed + 1, NOW).unwrap();
        assert!(
            done.pending > 0,
            "seed {seed} is none where the rule prevents anything"
        );
        assert_eq!((outside(&builder), done.moved), (fewest, moves), "seed {seed}");
    }
}
