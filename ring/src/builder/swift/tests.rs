//! Golden files of real Swift, old forms, and files that mean harm.
use proptest::prelude::*;

use super::machine;
use super::*;
use crate::{DeviceId, Partition};

macro_rules! golden {
    ($name:literal) => {
        include_bytes!(concat!("../../../golden/swift-builder-", $name, ".pickle")).as_slice()
    };
}

/// Protocol 2: what Swift's tool writes.
const GOLDEN: &[u8] = golden!("2");

fn fault(bytes: &[u8]) -> PickleFault {
    match machine::read(bytes) {
        Err(error) => error.fault,
        Ok(pickle) => panic!("{pickle:?}"),
    }
}

fn refusal(bytes: &[u8]) -> String {
    Builder::from_swift(bytes).unwrap_err().to_string()
}

/// The golden file with one piece replaced by another.
fn with(piece: &[u8], other: &[u8]) -> Vec<u8> {
    let at = GOLDEN.windows(piece.len()).position(|window| window == piece);
    let at = at.unwrap_or_else(|| panic!("{piece:?} is not in the file"));
    [&GOLDEN[..at], other, &GOLDEN[at + piece.len()..]].concat()
}

#[test]
fn a_builder_of_swift_comes_over_whole() {
    let builder = Builder::from_swift(GOLDEN).unwrap();
    assert_eq!((builder.part_power(), builder.replicas()), (3, 2.5));
    assert_eq!((builder.min_part_hours(), builder.overload()), (1, 0.125));
    assert_eq!((builder.version(), builder.is_changed()), (10, true));
    assert_eq!(builder.id(), Some("00112233445566778899aabbccddeeff"));
    assert_eq!(builder.device_list().len(), 6);
    assert!(builder.device_list()[1].is_none() && builder.is_removed(DeviceId(4)));
    let device = builder.device(DeviceId(2)).unwrap();
    assert_eq!((device.region, device.zone, device.port), (1, 2, 6200));
    assert_eq!(
        (device.ip.as_str(), device.replication_ip.as_str()),
        ("10.0.0.2", "10.1.0.2")
    );
    assert_eq!((device.weight, device.meta.as_str()), (300.0, "é"));
    assert!(device.extra.is_empty());
    let rows: Vec<u32> = builder.table().unwrap().row_major().collect();
    assert_eq!(rows, [3, 4, 2, 0, 2, 5, 5, 2, 4, 2, 5, 3, 5, 0, 2, 5, 2, 5, 4, 4]);
    let hours: Vec<u8> = (0..8)
        .map(|part| builder.hours_since_move(Partition(part)).unwrap())
        .collect();
    assert_eq!(hours, [0, 0, 5, 5, 5, 5, 0, 5]);
    assert_eq!(builder.seconds_until_movable(1_800_018_000 + 60), 3600 - 60);
    builder.validate().unwrap();
}

#[test]
fn every_protocol_and_array_width_says_the_same() {
    let want = Builder::from_swift(GOLDEN).unwrap();
    for bytes in [golden!("0"), golden!("3"), golden!("4"), golden!("wide")] {
        assert_eq!(Builder::from_swift(bytes).unwrap(), want);
    }
}

#[test]
fn files_of_python_2_lack_keys_and_get_swifts_defaults() {
    let builder = Builder::from_swift(golden!("python27")).unwrap();
    assert_eq!(builder, Builder::from_swift(golden!("python26")).unwrap());
    assert_eq!(
        (builder.overload(), builder.next_part_power(), builder.id()),
        (0.0, None, None)
    );
    let device = builder.device(DeviceId(1)).unwrap();
    assert_eq!((device.region, device.meta.as_str(), device.weight), (1, "", 1.0));
    assert_eq!(
        (device.replication_ip.as_str(), device.replication_port),
        ("10.0.0.1", 6000)
    );
    assert_eq!(builder.hours_since_move(Partition(3)), Some(255));
    assert_eq!(builder.dispersion(), 0.0);
    builder.validate().unwrap();
}

#[test]
fn a_builder_that_was_never_rebalanced_has_no_table() {
    let builder = Builder::from_swift(golden!("fresh")).unwrap();
    assert_eq!((builder.part_power(), builder.replicas()), (4, 3.0));
    assert!(builder.table().is_none() && builder.id().is_none());
    assert_eq!(Builder::from_swift(&builder.to_swift()).unwrap(), builder);
}

#[test]
fn a_fraction_below_one_partition_leaves_no_row() {
    let builder = Builder::from_swift(golden!("sliver")).unwrap();
    let table = builder.table().unwrap();
    assert_eq!((builder.replicas(), table.rows(), table.slots()), (2.1, 2, 8));
    builder.validate().unwrap();
    assert_eq!(Builder::from_swift(&builder.to_swift()).unwrap(), builder);
}

#[test]
fn what_is_exported_comes_back_equal() {
    let mut builder = Builder::from_swift(GOLDEN).unwrap();
    assert_eq!(Builder::from_swift(&builder.to_swift()).unwrap(), builder);
    builder.rebalance(1, 1_900_000_000).unwrap();
    assert_eq!(Builder::from_swift(&builder.to_swift()).unwrap(), builder);
    builder.prepare_power_increase().unwrap();
    builder.increase_power().unwrap();
    assert_eq!(Builder::from_swift(&builder.to_swift()).unwrap(), builder);
}

#[test]
fn a_device_list_with_two_byte_numbers_exhausted_is_exported_with_four() {
    let mut builder = Builder::from_swift(GOLDEN).unwrap();
    builder.devices.resize(70_000, None);
    let mut last = builder.device(DeviceId(5)).unwrap().clone();
    (last.id, last.device) = (DeviceId(69_999), "last".to_owned());
    last.extra.insert("serial".into(), "A1".into());
    builder.devices[69_999] = Some(last);
    builder.table.as_mut().unwrap().of_mut(0)[0] = 69_999;
    builder.table.as_mut().unwrap().of_mut(1)[0] = crate::table::NONE;
    assert_eq!(Builder::from_swift(&builder.to_swift()).unwrap(), builder);
}

#[test]
fn every_cut_of_a_pickle_is_an_error_that_says_so() {
    for golden in [GOLDEN, golden!("0"), golden!("4"), golden!("python26")] {
        for len in 1..golden.len() {
            assert_eq!(fault(&golden[..len]), PickleFault::Truncated, "cut at {len}");
        }
        assert_eq!(fault(&[golden, b"x"].concat()), PickleFault::Trailing(1));
    }
}

#[test]
fn nothing_is_ever_imported_or_called() {
    let harm = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.";
    assert_eq!(fault(harm), PickleFault::Global("posix.system".into()));
    assert!(
        refusal(harm).contains("byte 2: it wants to load posix.system"),
        "{}",
        refusal(harm)
    );
    let stacked = b"\x80\x04\x8c\x05posix\x8c\x06system\x93.";
    assert_eq!(fault(stacked), PickleFault::Global("posix.system".into()));
    let whole = b"\x80\x02cswift.common.ring.builder\nRingBuilder\n)\x81.";
    assert_eq!(fault(whole), PickleFault::WholeObject);
    for called in [
        &b"carray\narray\n)R."[..],
        b"carray\narray\nX\x01\x00\x00\x00H]\x85R.",
        b"carray\narray\nX\x01\x00\x00\x00d]\x86R.",
        b"carray\narray\nX\x01\x00\x00\x00B](K\x01Ne\x86R.",
        b"carray\narray\nX\x01\x00\x00\x00B](M\x00\x01e\x86R.",
        b"carray\narray\nX\x01\x00\x00\x00HC\x01a\x86R.",
        b"K\x01)R.",
    ] {
        assert_eq!(fault(called), PickleFault::Call, "{called:?}");
    }
    for code in [
        b'0', b'2', b'P', b'Q', b'b', b'i', b'o', 0x81, 0x82, 0x8f, 0x92, 0x96, 0, 0xff,
    ] {
        assert_eq!(fault(&[b'N', code]), PickleFault::Opcode(Opcode(code)));
    }
    assert!(
        PickleFault::Opcode(Opcode(0x81))
            .to_string()
            .starts_with("instruction 0x81 (NEWOBJ) never")
    );
}

#[test]
fn lengths_are_compared_with_the_file_before_memory_is_taken() {
    for huge in [
        &b"X\xff\xff\xff\xffabc"[..],
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc",
        b"\x8b\xff\xff\xff\x7fabc",
        b"T\xff\xff\xff\xffabc",
        b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
        b"U\xffabc",
    ] {
        assert_eq!(fault(huge), PickleFault::Truncated);
    }
    assert!(matches!(
        fault(b"\x8a\x09\0\0\0\0\0\0\0\0\x01."),
        PickleFault::Value(_)
    ));
}

#[test]
fn stack_and_arrays_are_bounded_whatever_is_shared() {
    let deep = vec![b'N'; 70_000];
    assert!(matches!(fault(&deep), PickleFault::TooMany { limit: 65_536, .. }));
    let marks = vec![b'('; 70_000];
    assert!(matches!(fault(&marks), PickleFault::TooMany { .. }));
    // One list of 1000 numbers, made into arrays over and over.
    let mut bomb = b"](".to_vec();
    bomb.extend([b'K', 1].repeat(1000));
    bomb.extend_from_slice(b"eq\x00");
    bomb.extend(b"carray\narray\nX\x01\x00\x00\x00Hh\x00\x86R".repeat(1000));
    assert!(matches!(fault(&bomb), PickleFault::TooMany { .. }));
    // A list of the list before it twice, thirty times: 2^30 members to a reader that walks it.
    let mut doubling = b"]q\x00".to_vec();
    doubling.extend(b"](h\x00h\x00eq\x00".repeat(30));
    doubling.push(b'.');
    assert!(matches!(fault(&doubling), PickleFault::Stack(_)));
    let mut nested = b"]q\x00".to_vec();
    nested.extend(b"h\x00h\x00\x86q\x00".repeat(30));
    nested.splice(..0, *b"(");
    nested.extend_from_slice(b"t.");
    assert!(refusal(&nested).contains("not a dict"));
}

#[test]
fn a_container_in_itself_is_an_error() {
    assert_eq!(fault(b"]q\x00h\x00a."), PickleFault::Cycle);
    assert_eq!(fault(b"}q\x00K\x01](h\x00es."), PickleFault::Cycle);
    assert_eq!(fault(b"]q\x00(](h\x00K\x01ee."), PickleFault::Cycle);
    // Shared is not circular.
    assert!(machine::read(b"](]q\x00h\x00h\x00e.").is_ok());
}

#[test]
fn damage_is_named_with_its_place() {
    for (piece, other, said) in [
        (
            &b"K\x03"[..],
            &b"K\x21"[..],
            "builder: 'part_power' is 33, it must be from 0 to 32",
        ),
        (b"K\x03", b"K\x04", "'parts' is 8, part power 4 makes 16"),
        (
            b"X\x04\x00\x00\x00devs",
            b"X\x04\x00\x00\x00devz",
            "'devs' is missing",
        ),
        (
            b"\x08\x00\x00\x0010.0.0.2",
            b"\x08\x00\x00\x00\xff0.0.0.2",
            "cannot be read",
        ),
        (
            b"X\x03\x00\x00\x00sd3",
            b"X\x03\x00\x00\x00../",
            "device 3: bad device name \"../\"",
        ),
        (
            b"X\x0e\x00\x00\x00min_part_hoursq\x04K\x01",
            b"X\x0e\x00\x00\x00min_part_hoursq\x04M\x00\x01",
            "never met",
        ),
        (
            b"G@r\xc0\x00\x00\x00\x00\x00",
            b"G\xc0r\xc0\x00\x00\x00\x00\x00",
            "device 2: 'weight' is -300",
        ),
        (
            b"G@r\xc0\x00\x00\x00\x00\x00",
            b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
            "device 2: 'weight' is NaN",
        ),
        (b"M8\x18", b"N", "device 0: 'port' is None, not a whole number"),
        (
            b"(K\x03K\x04K\x02",
            b"(K\x01K\x04K\x02",
            "partition 0, replica 0 is on device 1, which does not exist",
        ),
        (
            b"(K\x03K\x04K\x02",
            b"(K\x03K\x02",
            "row 0 of the table has 7 entries, not 8",
        ),
        (
            b"(K\x00K\x00K\x05K\x05K\x05",
            b"(K\x00K\x05K\x05K\x05",
            "'_last_part_moves' has 7 entries, not 8",
        ),
    ] {
        let bytes = with(piece, other);
        match Builder::from_swift(&bytes) {
            Ok(_) => panic!("taken over although: {said}"),
            Err(error) => assert!(error.to_string().contains(said), "{error}\n{said}"),
        }
    }
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"RNGB").contains("ours already"));
    assert!(refusal(&[0x1f, 0x8b, 8]).contains("write_builder"));
    assert!(refusal(b"{}").contains("composite"));
    assert!(refusal(b"\x80\x02].").contains("not a dict"));
    assert!(refusal(b"\x80\x06}.").contains("protocol 6"));
}

proptest! {
    #[test]
    fn no_edit_of_a_pickle_upsets_the_reader(
        file in 0usize..4,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = [GOLDEN, golden!("0"), golden!("4"), golden!("python26")][file].to_vec();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(builder) = Builder::from_swift(&bytes) {
            let again = Builder::from_swift(&builder.to_swift()).unwrap();
            prop_assert_eq!(again.table(), builder.table());
        }
    }
}
