//! What goes together, what follows an earlier ring, who may move.
use proptest::prelude::*;

use super::*;
use crate::builder::NewDevice;
use crate::{DeviceId, Partition};

const NOW: u64 = 1_800_000_000;

/// A rebalanced builder with `devices` devices in a region of its own.
fn component(region: u32, replicas: f64, devices: u32) -> Builder {
    let mut builder = Builder::create(6, replicas, 1).unwrap();
    for number in 0..devices {
        builder.add(device(region, number)).unwrap();
    }
    builder.rebalance(region.into(), NOW).unwrap();
    builder.give_id(format!("id-{region}"));
    builder
}

fn device(region: u32, number: u32) -> NewDevice {
    NewDevice {
        region,
        zone: number % 3,
        ip: format!("10.0.{region}.{number}"),
        port: 6200,
        replication_ip: None,
        replication_port: None,
        device: "sda".into(),
        weight: 100.0,
        meta: String::new(),
    }
}

fn compose_all(builders: &[&Builder], before: Option<&Composite>) -> Result<Composed, ComposeError> {
    compose_forced(builders, before, false)
}

fn compose_forced(
    builders: &[&Builder],
    before: Option<&Composite>,
    force: bool,
) -> Result<Composed, ComposeError> {
    let files: Vec<String> = (0..builders.len())
        .map(|at| format!("/rings/{at}.builder"))
        .collect();
    let components: Vec<_> = files
        .iter()
        .zip(builders)
        .map(|(file, builder)| Component { file, builder })
        .collect();
    compose(&components, before, force)
}

fn unfit(builders: &[&Builder]) -> Vec<Unfit> {
    match compose_all(builders, None) {
        Err(ComposeError::Unfit(unfit)) => unfit,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rows_follow_each_other_and_device_numbers_are_shifted() {
    let (one, two) = (component(1, 2.0, 4), component(2, 1.0, 3));
    let Composed { ring, composite } = compose_all(&[&one, &two], None).unwrap();
    assert_eq!((ring.part_power(), ring.replica_count()), (6, 3.0));
    assert_eq!(ring.device_list().len(), 7);
    for part in 0..64 {
        let here = ring.table().of(part);
        assert_eq!(here[..2], *one.table().unwrap().of(part));
        assert_eq!(here[2], two.table().unwrap().of(part)[0] + 4);
        let regions: Vec<u32> = ring
            .primaries(Partition(part as u32))
            .map(|(_, it)| it.region)
            .collect();
        assert_eq!(regions, [1, 1, 2]);
    }
    let shifted = ring.device(DeviceId(6)).unwrap();
    assert_eq!((shifted.region, shifted.ip.as_str()), (2, "10.0.2.2"));
    assert_eq!(composite.version, 1);
    assert_eq!(
        composite.files().collect::<Vec<_>>(),
        ["/rings/0.builder", "/rings/1.builder"]
    );
}

#[test]
fn components_that_do_not_go_together_are_all_named() {
    let good = component(1, 2.0, 4);
    assert!(matches!(compose_all(&[&good], None), Err(ComposeError::Count(1))));
    let fraction = component(2, 1.5, 3);
    assert!(matches!(unfit(&[&good, &fraction])[..], [Unfit::Replicas { .. }]));
    let mut changed = component(2, 1.0, 3);
    changed.add(device(2, 9)).unwrap();
    assert!(matches!(
        unfit(&[&good, &changed])[..],
        [Unfit::NeedsRebalance { .. }]
    ));
    let mut fresh = Builder::create(6, 1.0, 1).unwrap();
    assert!(matches!(
        unfit(&[&good, &fresh])[..],
        [Unfit::NoId { .. }, Unfit::NeedsRebalance { .. }]
    ));
    fresh.give_id("fresh");
    assert!(matches!(
        unfit(&[&good, &fresh])[..],
        [Unfit::NeedsRebalance { .. }]
    ));
    let mut small = Builder::create(5, 1.0, 1).unwrap();
    small.add(device(2, 0)).unwrap();
    small.rebalance(0, NOW).unwrap();
    small.give_id("small");
    assert!(matches!(
        unfit(&[&good, &small])[..],
        [Unfit::PartPower { power: 5, .. }]
    ));
    let mut increasing = component(2, 1.0, 3);
    increasing.prepare_power_increase().unwrap();
    assert!(matches!(
        unfit(&[&good, &increasing])[..],
        [Unfit::PowerIncrease { .. }]
    ));
    let twice = unfit(&[&good, &good]);
    assert!(matches!(twice[0], Unfit::SameId { .. }) && matches!(twice[1], Unfit::Region { region: 1, .. }));
    assert_eq!(
        twice
            .iter()
            .filter(|it| matches!(it, Unfit::Device { .. }))
            .count(),
        4
    );
    assert!(
        twice[2]
            .to_string()
            .contains("device 0 (10.0.1.0:6200/sda) is in /rings/0.builder too")
    );
}

#[test]
fn a_ring_composed_again_needs_the_same_builders_none_older_and_one_newer() {
    let (mut one, two) = (component(1, 2.0, 4), component(2, 1.0, 3));
    let old = one.clone();
    let first = compose_all(&[&one, &two], None).unwrap().composite;
    assert!(matches!(
        compose_all(&[&one, &two], Some(&first)),
        Err(ComposeError::Unmodified)
    ));
    assert_eq!(
        compose_forced(&[&one, &two], Some(&first), true)
            .unwrap()
            .composite
            .version,
        2
    );
    one.rebalance(2, NOW).unwrap();
    let second = compose_all(&[&one, &two], Some(&first)).unwrap().composite;
    assert_eq!((second.version, second.components[0].version), (2, one.version()));
    let changed = |builders: &[&Builder]| match compose_all(builders, Some(&second)) {
        Err(ComposeError::Changed(unfit)) => unfit,
        other => panic!("{other:?}"),
    };
    assert!(matches!(
        changed(&[&two, &one])[..],
        [Unfit::Replaced { .. }, Unfit::Replaced { .. }]
    ));
    assert!(matches!(changed(&[&old, &two])[..], [Unfit::Older { .. }]));
    let three = component(3, 1.0, 3);
    assert!(matches!(
        changed(&[&one, &two, &three])[..],
        [Unfit::Extra { index: 2, .. }]
    ));
    assert!(matches!(
        changed(&[&one, &three])[..],
        [Unfit::Replaced { index: 1, .. }]
    ));
    let larger = compose_forced(&[&one, &two, &three], Some(&second), true)
        .unwrap()
        .composite;
    let fewer = compose_all(&[&one, &two], Some(&larger)).unwrap_err().to_string();
    assert!(
        fewer.contains("component 2 (builder id-3) is missing") && fewer.contains("--force"),
        "{fewer}"
    );
}

#[test]
fn the_file_reads_back_and_keeps_what_it_does_not_know() {
    let (one, two) = (component(1, 2.0, 4), component(2, 1.0, 3));
    let mut composite = compose_all(&[&one, &two], None).unwrap().composite;
    composite.extra.insert("note".into(), "ours".into());
    let bytes = composite.encode("/rings/multi.composite").unwrap();
    let again = Composite::decode(&bytes).unwrap();
    assert_eq!(again.saved_path.as_deref(), Some("/rings/multi.composite"));
    assert_eq!(again.encode("/rings/multi.composite").unwrap(), bytes);
    assert_eq!(
        (again.components, again.extra),
        (composite.components, composite.extra)
    );
}

#[test]
fn a_file_that_is_none_says_what_is_wrong() {
    let said = |text: &str| Composite::decode(text.as_bytes()).unwrap_err().to_string();
    assert!(said("").contains("not a composite"));
    assert!(said("{\"version\": 1}").contains("missing field `components`"));
    let one = "{\"id\": \"a\", \"version\": 1, \"replicas\": 1}";
    let file = |components: &str, rest: &str| {
        format!(
            "{{\"version\": 1, \"components\": [{components}], \"component_builder_files\": {{\"a\": \"/a\"}}{rest}}}"
        )
    };
    assert!(said(&file(one, "")).contains("1 components"));
    let other = one.replace("\"a\"", "\"b\"");
    assert!(said(&file(&format!("{one}, {other}"), "")).contains("component 1 (builder b) has no entry"));
    assert!(said(&file(&format!("{one}, {one}"), ", \"serialization_version\": 2")).contains("newer"));
    assert!(said(&" ".repeat(MAX_FILE as usize + 1)).contains("larger"));
}

/// Partitions whose devices differ.
fn moved(before: &Builder, after: &Builder) -> Vec<usize> {
    let sorted = |builder: &Builder, part: usize| {
        let mut row = builder.table().unwrap().of(part).to_vec();
        row.sort_unstable();
        row
    };
    (0..64)
        .filter(|&part| sorted(before, part) != sorted(after, part))
        .collect()
}

#[test]
fn a_component_that_cannot_be_rebalanced_leaves_all_as_they_were() {
    let mut builders = vec![component(1, 2.0, 4), component(2, 1.0, 3)];
    builders[0].add(device(1, 8)).unwrap();
    (0..3).for_each(|id| builders[1].set_weight(DeviceId(id), 0.0).unwrap());
    let before = builders.clone();
    let error = rebalance(&mut builders, 0, NOW + 7200).unwrap_err();
    assert_eq!(error.index, 1);
    assert_eq!(builders, before);
}

proptest! {
    #[test]
    fn no_partition_moves_in_two_components_within_min_part_hours(
        seed in any::<u64>(),
        added in prop::collection::vec((0usize..3, 10u32..14), 1..6),
    ) {
        let mut builders: Vec<_> = (1..4).map(|region| component(region, 2.0, 4)).collect();
        for (at, number) in added {
            // A number that is there already is refused; that is fine here.
            let _ = builders[at].add(device(at as u32 + 1, number));
        }
        let now = NOW + 7200;
        let mut seen = [0; 64];
        for round in 0..4 {
            let before = builders.clone();
            let done = rebalance(&mut builders, seed.wrapping_add(round), now).unwrap();
            prop_assert_eq!(done.len(), 3);
            for (before, after) in before.iter().zip(&builders) {
                moved(before, after).into_iter().for_each(|part| seen[part] += 1);
                after.validate().unwrap();
            }
            prop_assert!(seen.iter().all(|&times| times <= 1), "seed {seed}: {seen:?}");
        }
        // An hour later the rest may go, until nothing is left to do.
        for hour in 1..8 {
            rebalance(&mut builders, seed, now + hour * 3600 + 1).unwrap();
        }
        for builder in &mut builders {
            prop_assert_eq!(builder.rebalance(seed, now + 20 * 3600).unwrap().moved, 0);
        }
    }
}
