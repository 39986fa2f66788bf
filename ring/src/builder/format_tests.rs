//! Builder files: the golden one, there and back, hostile ones.
use proptest::prelude::*;

use super::*;
use crate::DeviceId;

const GOLDEN: &[u8] = include_bytes!("../../golden/v1.builder");
/// The same with a scatter limit of 4.
const LIMITED: &[u8] = include_bytes!("../../golden/v1-scatter.builder");

#[test]
fn the_golden_builder_file_of_version_1_still_loads() {
    let builder = Builder::decode(GOLDEN).unwrap();
    assert_eq!(
        (builder.part_power(), builder.replicas(), builder.min_part_hours()),
        (4, 2.5, 1)
    );
    assert_eq!(builder.devices().count(), 5);
    assert!(builder.is_removed(DeviceId(1)) && builder.is_changed());
    assert_eq!(builder.table().unwrap().slots(), 40);
    builder.validate().unwrap();
}

#[test]
fn a_builder_reads_back_equal() {
    let builder = Builder::decode(GOLDEN).unwrap();
    assert_eq!(Builder::decode(&builder.encode().unwrap()).unwrap(), builder);
    assert_eq!(builder.encode().unwrap(), GOLDEN);
    let empty = Builder::create(32, 3.5, 24).unwrap();
    assert_eq!(Builder::decode(&empty.encode().unwrap()).unwrap(), empty);
}

#[test]
fn weights_and_overload_come_back_to_the_last_bit() {
    let mut builder = Builder::decode(GOLDEN).unwrap();
    for overload in [3.4813079652560953e-105, 0.1 + 0.2, 1.0 / 3.0, 99.99999999999999] {
        builder.set_overload(overload).unwrap();
        builder.set_weight(DeviceId(0), overload.max(1e-9 / 0.3)).unwrap();
        assert_eq!(Builder::decode(&builder.encode().unwrap()).unwrap(), builder);
    }
}

#[test]
fn a_scatter_limit_is_read_and_old_files_have_none() {
    let mut builder = Builder::decode(GOLDEN).unwrap();
    assert_eq!(builder.scatter_limit(), None);
    builder.set_scatter_limit(Some(4)).unwrap();
    assert_eq!(Builder::decode(LIMITED).unwrap(), builder);
    assert_eq!(builder.encode().unwrap(), LIMITED);
}

#[test]
fn every_cut_of_a_builder_file_is_an_error() {
    for len in 0..GOLDEN.len() {
        assert!(Builder::decode(&GOLDEN[..len]).is_err(), "cut at {len}");
    }
}

#[test]
fn a_pickle_and_a_newer_file_are_named_for_what_they_are() {
    assert!(matches!(
        Builder::decode(b"\x80\x02}q\x00."),
        Err(LoadBuilderError::Pickle)
    ));
    assert!(matches!(
        Builder::decode(b"{\"components\": []}"),
        Err(LoadBuilderError::Composite)
    ));
    let mut newer = GOLDEN.to_vec();
    newer[5] = 2;
    assert!(matches!(Builder::decode(&newer), Err(LoadBuilderError::Newer(2))));
    assert!(matches!(
        Builder::decode(b"RING"),
        Err(LoadBuilderError::NotABuilder)
    ));
}

#[test]
fn saving_replaces_the_file_and_keeps_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("object.builder");
    let mut builder = Builder::decode(GOLDEN).unwrap();
    builder.save(&path, 1).unwrap();
    builder.set_min_part_hours(9).unwrap();
    builder.save(&path, 2).unwrap();
    assert_eq!(Builder::load(&path).unwrap(), builder);
    let copy = Builder::load(&folder.path().join("backups/1.object.builder")).unwrap();
    assert_eq!(copy.min_part_hours(), 1);
}

proptest! {
    #[test]
    fn any_flipped_byte_of_a_builder_file_is_found(at: prop::sample::Index, by in 1u8..) {
        let mut bytes = GOLDEN.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(Builder::decode(&bytes).is_err());
    }
}
