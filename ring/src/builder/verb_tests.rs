//! What single verbs of a builder do and refuse, and what its measures say of
//! tables that were made by hand.
use super::measure::WORST_BALANCE;
use super::tests::{NOW, device};
use super::*;
use crate::Partition;

/// Four partitions of two replicas: zone 0 has two servers with a device each,
/// zone 1 has one with twice the weight. Partition 0 is in zone 0 alone.
fn by_hand() -> Builder {
    let mut builder = Builder::create(2, 2.0, 1).unwrap();
    for (at, zone, weight) in [(0, 0, 1.0), (1, 0, 1.0), (2, 1, 2.0)] {
        builder.add(device(1, zone, at, at, weight)).unwrap();
    }
    hold(&mut builder, &[0, 0, 1, 1, 1, 2, 2, 2]);
    builder
}

/// Gives a builder of four partitions this table, row by row, as if a
/// rebalance had made it.
fn hold(builder: &mut Builder, ids: &[u32]) {
    builder.table = Table::from_row_major(4, ids);
    builder.times.hours = vec![0; 4];
    builder.settings.changed = false;
}

/// Sixteen partitions of three replicas on six equal devices, placed.
fn placed(min_part_hours: u32) -> Builder {
    let mut builder = Builder::create(4, 3.0, min_part_hours).unwrap();
    for at in 0..6 {
        builder.add(device(1, at % 3, at, at, 1.0)).unwrap();
    }
    builder.rebalance(1, NOW).unwrap();
    builder
}

#[test]
fn a_builder_is_created_within_its_limits_only() {
    for (power, replicas, hours) in [(0, 1.0, 0), (32, 256.0, 255)] {
        let builder = Builder::create(power, replicas, hours).unwrap();
        assert_eq!((builder.part_power(), builder.replicas()), (power, replicas));
        assert_eq!(builder.partition_count(), 1 << power);
        assert_eq!((builder.min_part_hours(), builder.version()), (hours, 0));
        assert!(!builder.is_changed() && builder.id().is_none());
    }
    assert_eq!(Builder::create(33, 3.0, 1), Err(CreateError::PartPower(33)));
    assert_eq!(Builder::create(4, 3.0, 256), Err(CreateError::MinPartHours(256)));
    for replicas in [0.99, 256.5, -1.0, f64::INFINITY] {
        assert_eq!(
            Builder::create(4, replicas, 1),
            Err(CreateError::Replicas(replicas))
        );
    }
    assert!(Builder::create(4, f64::NAN, 1).is_err());
}

#[test]
fn every_change_of_the_devices_counts_the_version_up() {
    let mut builder = placed(1);
    assert_eq!((builder.version(), builder.is_changed()), (7, false));
    let changes: [&dyn Fn(&mut Builder); 5] = [
        &|it| it.set_weight(DeviceId(0), 2.0).unwrap(),
        &|it| it.set_region(DeviceId(1), 4).unwrap(),
        &|it| it.set_zone(DeviceId(2), 5).unwrap(),
        &|it| it.remove(DeviceId(3)).unwrap(),
        &|it| {
            it.add(device(1, 0, 9, 9, 1.0)).unwrap();
        },
    ];
    for (at, change) in changes.into_iter().enumerate() {
        change(&mut builder);
        assert_eq!((builder.version(), builder.is_changed()), (8 + at as u64, true));
    }
    let of = |id| builder.device(DeviceId(id)).unwrap();
    assert_eq!((of(0).weight, of(1).region, of(2).zone), (2.0, 4, 5));
    assert_eq!((of(3).weight, builder.is_removed(DeviceId(3))), (0.0, true));
    assert!(!builder.is_removed(DeviceId(2)));
    assert_eq!(builder.devices().count(), 7);
}

#[test]
fn settings_are_taken_within_their_limits_and_kept_when_refused() {
    let mut builder = placed(1);
    builder.set_replicas(3.0).unwrap();
    assert!(!builder.is_changed(), "the same is no change");
    builder.set_replicas(2.5).unwrap();
    assert!(builder.is_changed());
    for (overload, good) in [(0.0, true), (1e6, true), (-0.1, false), (1e6 + 1.0, false)] {
        assert_eq!(builder.set_overload(overload).is_ok(), good, "{overload}");
    }
    assert!(builder.set_overload(f64::NAN).is_err());
    builder.set_min_part_hours(255).unwrap();
    assert!(builder.set_min_part_hours(256).is_err() && builder.set_replicas(0.5).is_err());
    assert_eq!(
        (builder.overload(), builder.min_part_hours(), builder.replicas()),
        (1e6, 255, 2.5)
    );
    builder.give_id("first");
    builder.give_id("second");
    assert_eq!(builder.id(), Some("first"));
}

#[test]
fn a_new_device_takes_the_first_hole_and_its_own_address_for_replication() {
    let mut builder = placed(0);
    builder.remove(DeviceId(1)).unwrap();
    builder.rebalance(1, NOW).unwrap();
    assert!(builder.device(DeviceId(1)).is_none() && builder.device_list().len() == 6);
    let mut new = device(1, 1, 20, 20, 1.0);
    new.ip = "[FE80::0:7]".to_owned();
    assert_eq!(builder.add(new.clone()).unwrap(), DeviceId(1));
    let added = builder.device(DeviceId(1)).unwrap();
    assert_eq!(
        (added.replication_ip.as_str(), added.replication_port),
        ("fe80::7", 6200)
    );
    new.ip = "Node-8".to_owned();
    (new.replication_ip, new.replication_port) = (Some("Node-9".to_owned()), Some(7000));
    assert_eq!(builder.add(new).unwrap(), DeviceId(6));
    let added = builder.device(DeviceId(6)).unwrap();
    assert_eq!(
        (added.ip.as_str(), added.replication_ip.as_str()),
        ("node-8", "node-9")
    );
    assert_eq!((added.port, added.replication_port), (6200, 7000));
}

#[test]
fn a_device_that_cannot_be_is_refused_and_nothing_changes() {
    let mut builder = placed(1);
    let before = builder.clone();
    let with = |change: &dyn Fn(&mut NewDevice)| {
        let mut new = device(1, 1, 9, 9, 1.0);
        change(&mut new);
        new
    };
    for name in ["", ".", "..", "a/b", "a b", "a\0"] {
        let refused = builder.add(with(&|new| new.device = name.to_owned()));
        assert_eq!(refused, Err(ChangeError::Name(name.to_owned())));
    }
    let bad = "not an address".to_owned();
    for refused in [
        builder.add(with(&|new| new.ip.clone_from(&bad))),
        builder.add(with(&|new| new.replication_ip = Some(bad.clone()))),
    ] {
        assert_eq!(refused, Err(ChangeError::Address(bad.clone())));
    }
    let twin = ChangeError::Duplicate {
        id: DeviceId(4),
        ip: "10.1.1.4".to_owned(),
        port: 6200,
        device: "sd4".to_owned(),
    };
    assert_eq!(builder.add(device(1, 1, 4, 4, 1.0)), Err(twin));
    let nobody = DeviceId(17);
    assert_eq!(builder.set_zone(nobody, 1), Err(ChangeError::NoDevice(nobody)));
    assert_eq!(
        builder.set_info(nobody, DeviceInfo::default()),
        Err(ChangeError::NoDevice(nobody))
    );
    assert_eq!(builder, before);
    // One of the three is enough to be another device.
    for other in [
        device(1, 1, 4, 9, 1.0),
        device(1, 1, 9, 4, 1.0),
        with(&|new| (new.ip, new.port, new.device) = ("10.1.1.4".into(), 6201, "sd4".into())),
    ] {
        builder.add(other).unwrap();
    }
    builder.remove(DeviceId(2)).unwrap();
    assert_eq!(
        builder.remove(DeviceId(2)),
        Err(ChangeError::Removed(DeviceId(2)))
    );
}

#[test]
fn a_device_is_described_anew_as_far_as_it_is_said() {
    let mut builder = placed(1);
    let id = DeviceId(4);
    let before = builder.device(id).unwrap().clone();
    builder.set_info(id, DeviceInfo::default()).unwrap();
    assert_eq!(builder.device(id), Some(&before));
    let info = DeviceInfo {
        ip: Some("Node-4".into()),
        port: Some(1),
        replication_ip: Some("FE80::4".into()),
        replication_port: Some(2),
        device: Some("sdz".into()),
        meta: Some("in the corner".into()),
    };
    builder.set_info(id, info).unwrap();
    let after = builder.device(id).unwrap().clone();
    assert_eq!((after.ip.as_str(), after.port), ("node-4", 1));
    assert_eq!(
        (after.replication_ip.as_str(), after.replication_port),
        ("fe80::4", 2)
    );
    assert_eq!(
        (after.device.as_str(), after.meta.as_str()),
        ("sdz", "in the corner")
    );
    let twin = DeviceInfo {
        ip: Some("10.1.2.5".into()),
        port: Some(6200),
        device: Some("sd5".into()),
        ..DeviceInfo::default()
    };
    assert!(matches!(
        builder.set_info(id, twin),
        Err(ChangeError::Duplicate { id: DeviceId(5), .. })
    ));
    let nameless = DeviceInfo {
        device: Some("..".into()),
        ..DeviceInfo::default()
    };
    assert!(builder.set_info(id, nameless).is_err());
    assert_eq!(builder.device(id), Some(&after));
}

#[test]
fn a_power_increase_goes_step_by_step_and_can_be_called_off() {
    let mut builder = placed(1);
    let version = builder.version();
    let prepared = builder.finish_power_increase();
    assert!(matches!(prepared, Err(PowerError::WrongStep(_))));
    builder.prepare_power_increase().unwrap();
    assert_eq!(
        (builder.next_part_power(), builder.version()),
        (Some(5), version + 1)
    );
    assert!(builder.prepare_power_increase().is_err() && builder.finish_power_increase().is_err());
    builder.cancel_power_increase().unwrap();
    assert_eq!(
        (builder.next_part_power(), builder.version()),
        (Some(4), version + 2)
    );
    assert!(builder.cancel_power_increase().is_err() && builder.increase_power().is_err());
    builder.finish_power_increase().unwrap();
    assert_eq!(
        (builder.next_part_power(), builder.version()),
        (None, version + 3)
    );

    builder.prepare_power_increase().unwrap();
    builder.increase_power().unwrap();
    assert_eq!((builder.part_power(), builder.version()), (5, version + 5));
    assert_eq!(builder.partition_count(), 32);
    assert_eq!(builder.hours_since_move(Partition(31)), Some(0));
    assert_eq!(builder.hours_since_move(Partition(32)), None);
    builder.finish_power_increase().unwrap();
    assert_eq!(
        (builder.next_part_power(), builder.version()),
        (None, version + 6)
    );
    builder.rebalance(1, NOW).unwrap();
}

#[test]
fn a_power_increase_wants_a_table_and_ends_at_the_largest() {
    let mut largest = Builder::create(32, 3.0, 1).unwrap();
    assert_eq!(largest.prepare_power_increase(), Err(PowerError::AtMaximum));
    let mut empty = Builder::create(31, 3.0, 1).unwrap();
    empty.prepare_power_increase().unwrap();
    assert_eq!(empty.increase_power(), Err(PowerError::NeverRebalanced));
    assert_eq!((empty.part_power(), empty.next_part_power()), (31, Some(32)));
}

#[test]
fn whole_hours_are_counted_and_the_rest_of_one_is_kept() {
    const HOUR: u64 = 3600;
    let mut builder = placed(3);
    let hours = |builder: &Builder| builder.hours_since_move(Partition(15)).unwrap();
    let fresh = Builder::create(4, 3.0, 3).unwrap();
    assert_eq!(fresh.seconds_until_movable(NOW), 0);
    assert_eq!(builder.seconds_until_movable(NOW + 1), 3 * HOUR - 1);
    assert_eq!(builder.seconds_until_movable(NOW - 50), 3 * HOUR);
    assert_eq!(builder.seconds_until_movable(NOW + 3 * HOUR), 0);
    assert_eq!(builder.hours_since_move(Partition(16)), None);
    // Nothing is to be moved here, so nothing begins to rest anew.
    for (now, want) in [
        (HOUR - 1, 0),
        (HOUR + HOUR / 2, 1),
        (2 * HOUR, 2),
        (0, 2),
        (400 * HOUR, 255),
    ] {
        assert_eq!(builder.rebalance(1, NOW + now).unwrap().moved, 0);
        assert_eq!(hours(&builder), want, "after {now} s");
    }
    let mut builder = placed(3);
    builder.rebalance(1, NOW + HOUR + HOUR / 2).unwrap();
    assert_eq!(builder.resting(NOW + 3 * HOUR - 1).len(), 16);
    assert!(builder.resting(NOW + 3 * HOUR).is_empty());
}

#[test]
fn a_builder_comes_back_from_its_ring_without_its_hours() {
    assert!(Builder::create(4, 3.0, 1).unwrap().to_ring().is_none());
    let mut builder = by_hand();
    builder.recalculate_dispersion();
    builder.prepare_power_increase().unwrap();
    let ring = builder.to_ring().unwrap().unwrap();
    assert_eq!(
        (ring.version(), ring.info().next_part_power),
        (builder.version(), Some(3))
    );
    let again = Builder::from_ring(&ring, 7).unwrap();
    assert_eq!((again.part_power(), again.replicas()), (2, 2.0));
    assert_eq!((again.min_part_hours(), again.version()), (7, builder.version()));
    assert_eq!((again.next_part_power(), again.dispersion()), (Some(3), 12.5));
    assert_eq!(again.table(), builder.table());
    assert_eq!(again.device_list(), builder.device_list());
    assert_eq!(again.hours_since_move(Partition(3)), Some(0));
    assert_eq!(
        Builder::from_ring(&ring, 256),
        Err(CreateError::MinPartHours(256))
    );
}

#[test]
fn balance_is_what_a_device_holds_beside_its_share_by_weight() {
    let mut builder = by_hand();
    assert_eq!((builder.held(), builder.slots_per_weight()), (vec![2, 3, 3], 2.0));
    let of = |builder: &Builder, id, held| builder.device_balance(DeviceId(id), held);
    assert_eq!(
        (of(&builder, 0, 2), of(&builder, 1, 3), of(&builder, 2, 3)),
        (0.0, 50.0, -25.0)
    );
    assert_eq!(builder.balance(), 50.0);
    assert_eq!(builder.validate().unwrap().worst, 50.0);
    builder.set_weight(DeviceId(1), 0.0).unwrap();
    assert_eq!((of(&builder, 1, 1), of(&builder, 1, 0)), (WORST_BALANCE, 0.0));
    assert_eq!(builder.balance(), WORST_BALANCE);
    for id in [0, 2] {
        builder.set_weight(DeviceId(id), 0.0).unwrap();
    }
    assert_eq!(builder.slots_per_weight(), 0.0);
    assert_eq!(Builder::create(2, 2.0, 1).unwrap().held(), Vec::<u64>::new());
}

#[test]
fn dispersion_counts_replicas_that_a_tier_has_too_many_of() {
    let mut builder = by_hand();
    // A tier that holds nothing is not spoken of.
    builder.add(device(2, 0, 9, 9, 0.0)).unwrap();
    let report = builder.dispersion_report().unwrap();
    assert_eq!((report.dispersion, report.exact), (12.5, 12.5));
    let tier = |tier: &str, depth, held, max, at_risk, counts: [u64; 3]| TierRisk {
        tier: tier.to_owned(),
        depth,
        held,
        max,
        at_risk,
        counts: counts.to_vec(),
    };
    let want = [
        tier("r1", 1, 8, 2, 0.0, [0, 0, 4]),
        tier("r1z0", 2, 5, 1, 20.0, [0, 3, 1]),
        tier("r1z0-10.1.0.0", 3, 2, 1, 0.0, [2, 2, 0]),
        tier("r1z0-10.1.0.0/sd0", 4, 2, 1, 0.0, [2, 2, 0]),
        tier("r1z0-10.1.0.1", 3, 3, 1, 0.0, [1, 3, 0]),
        tier("r1z0-10.1.0.1/sd1", 4, 3, 1, 0.0, [1, 3, 0]),
        tier("r1z1", 2, 3, 1, 0.0, [1, 3, 0]),
        tier("r1z1-10.1.1.2", 3, 3, 1, 0.0, [1, 3, 0]),
        tier("r1z1-10.1.1.2/sd2", 4, 3, 1, 0.0, [1, 3, 0]),
    ];
    assert_eq!(report.tiers, want);
    let version = builder.version();
    assert_eq!(builder.recalculate_dispersion(), 12.5);
    assert_eq!((builder.dispersion(), builder.version()), (12.5, version + 1));
}

#[test]
fn what_a_drained_device_still_holds_is_at_risk() {
    let mut builder = by_hand();
    builder.add(device(1, 2, 3, 3, 0.0)).unwrap();
    hold(&mut builder, &[0, 0, 1, 1, 2, 2, 2, 3]);
    let report = builder.dispersion_report().unwrap();
    assert_eq!((report.dispersion, report.exact), (12.5, 12.5));
    let drained = report.tiers.iter().filter(|tier| tier.at_risk > 0.0);
    let names: Vec<_> = drained
        .map(|tier| (tier.tier.as_str(), tier.max, tier.at_risk))
        .collect();
    assert_eq!(
        names,
        [
            ("r1z2", 0, 100.0),
            ("r1z2-10.1.2.3", 0, 100.0),
            ("r1z2-10.1.2.3/sd3", 0, 100.0)
        ]
    );
}

#[test]
fn of_a_fraction_of_a_replica_swift_sees_only_the_partitions_that_have_it() {
    let mut builder = by_hand();
    builder.set_replicas(2.5).unwrap();
    // Partitions 0 and 1 have a third replica; 3 is on one device twice.
    hold(&mut builder, &[0, 0, 1, 0, 1, 2, 2, 0, 2, 1]);
    let report = builder.dispersion_report().unwrap();
    assert_eq!((report.dispersion, report.exact), (0.0, 10.0));
    hold(&mut builder, &[0, 0, 1, 0, 0, 2, 2, 2, 2, 1]);
    let report = builder.dispersion_report().unwrap();
    assert_eq!((report.dispersion, report.exact), (10.0, 10.0));
}

#[test]
fn a_share_grows_towards_dispersion_as_far_as_the_overload_goes() {
    let mut builder = by_hand();
    assert!(builder.required_overload().unwrap() < 1e-9);
    builder.set_weight(DeviceId(2), 1.0).unwrap();
    let required = builder.required_overload().unwrap();
    assert!((required - 0.5).abs() < 1e-9, "{required}");
    for (overload, want) in [
        (0.0, [8.0 / 3.0, 8.0 / 3.0, 8.0 / 3.0]),
        (0.25, [7.0 / 3.0, 7.0 / 3.0, 10.0 / 3.0]),
        (0.5, [2.0, 2.0, 4.0]),
        (3.0, [2.0, 2.0, 4.0]),
    ] {
        builder.set_overload(overload).unwrap();
        let targets = builder.targets().unwrap();
        assert_eq!(targets.len(), 3);
        for (target, want) in targets.iter().zip(want) {
            assert!((target - want).abs() < 1e-6, "overload {overload}: {targets:?}");
        }
    }
    let none = Builder::create(2, 2.0, 1).unwrap();
    assert_eq!(none.required_overload(), Err(PlanError::NoDevices));
}

#[test]
fn a_table_that_is_not_sound_is_refused_with_the_place() {
    let mut builder = Builder::create(2, 2.0, 1).unwrap();
    assert_eq!(builder.validate(), Err(ValidateError::NeverRebalanced));
    builder = by_hand();
    assert_eq!(builder.validate().unwrap().held, [2, 3, 3]);
    hold(&mut builder, &[0, 0, 1, 1, 1, 2, 1, 2]);
    assert_eq!(
        builder.validate(),
        Err(ValidateError::Repeated { part: 2, id: 1 })
    );
    hold(&mut builder, &[0, 0, 1, 1, 1, 2, 2, 3]);
    assert_eq!(
        builder.validate(),
        Err(ValidateError::Unassigned { part: 3, row: 1 })
    );
    builder = by_hand();
    builder.settings.replicas = 1.5;
    assert_eq!(
        builder.validate(),
        Err(ValidateError::Shape { found: 8, want: 6 })
    );
    builder.settings.changed = true;
    builder.validate().unwrap();
    builder.settings.part_power = 3;
    assert!(matches!(builder.validate(), Err(ValidateError::Shape { .. })));
}

#[test]
fn a_table_that_would_be_too_large_is_refused_before_it_is_made() {
    let mut builder = Builder::create(32, 3.0, 1).unwrap();
    for at in 0..4 {
        builder.add(device(1, at, at, at, 1.0)).unwrap();
    }
    let before = builder.clone();
    assert_eq!(
        builder.rebalance(1, NOW).unwrap_err(),
        RebalanceError::TooLarge(32)
    );
    assert_eq!(builder, before);
}

#[test]
fn movements_say_how_many_slots_went_from_where_to_where() {
    let mut builder = Builder::create(6, 2.0, 0).unwrap();
    for at in 0..6 {
        builder.add(device(1, at % 3, at, at, f64::from(at + 1))).unwrap();
    }
    let changes: [&dyn Fn(&mut Builder); 4] = [
        &|_| {},
        &|it| {
            it.add(device(1, 0, 9, 9, 4.0)).unwrap();
        },
        &|it| it.remove(DeviceId(2)).unwrap(),
        &|it| it.set_replicas(2.5).unwrap(),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        change(&mut builder);
        let old = builder.table().cloned();
        let done = builder.rebalance(at as u64, NOW).unwrap();
        let new = builder.table().unwrap();
        let mut want = std::collections::BTreeMap::new();
        for part in 0..64 {
            let before = old.as_ref().map_or(&[][..], |old| old.of(part));
            let gone = before.iter().find(|id| !new.of(part).contains(id));
            for id in new.of(part).iter().filter(|id| !before.contains(id)) {
                // What was on a device that is gone counts as new replicas do.
                let from = gone
                    .map(|&id| DeviceId(id))
                    .filter(|id| !done.removed.contains(id));
                *want.entry((from, DeviceId(*id))).or_insert(0) += 1;
            }
        }
        let mut found: Vec<_> = done
            .movements
            .iter()
            .map(|it| ((it.from, it.to), it.slots))
            .collect();
        found.sort();
        assert_eq!(found, want.into_iter().collect::<Vec<_>>(), "change {at}");
        let sum: u64 = done.movements.iter().map(|it| it.slots).sum();
        assert_eq!((sum, done.parts_moved), (done.moved, done.moved_parts.len()));
        assert_eq!(
            (done.balance, done.dispersion),
            (builder.balance(), builder.dispersion())
        );
    }
}
