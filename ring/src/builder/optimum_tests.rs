//! The builder against the exact optimum, on small rings and random lives.
use proptest::prelude::*;

use super::exact::Problem;
use super::plan::Plan;
use super::tests::{NOW, device};
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
            let fixed = Problem::new(&tree, &plan, old, new, dead).with_quotas_of(new).optimum();
            let free = Problem::new(&tree, &plan, old, new, dead);
            let best = free.optimum();
            let least = match best { Some(best) if best < done.moved && done.pending == 0 => free.beats_one_by_one(done.moved, &mut 100), _ => None };
            println!("STAT pending {} moved {} bound {} fixed {fixed:?} free {best:?} beaten {least:?} {change:?}", done.pending, done.moved, done.bound);
        }
    }
}
