//! Builder files, ours and Swift's: any bytes, and any values in the right places behind digests.

use sha2::{Digest, Sha256};
use virga_ring::builder::Builder;

/// Any bytes as a builder file of ours.
pub fn native(data: &[u8]) {
    if let Ok(builder) = Builder::decode(data) {
        judge(&builder);
    }
}

/// The five sections out of the bytes, with their digests made right. Two bytes before each say how long it is.
pub fn sections(data: &[u8]) {
    let mut rest = data;
    let mut file = b"RNGB\x00\x01\x00\x00\x00\x05".to_vec();
    for name in ["settings", "devices", "removed", "table", "move-times"] {
        let Some((body, tail)) = cut(rest) else { return };
        rest = tail;
        file.extend_from_slice(&(name.len() as u16).to_be_bytes());
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(&(body.len() as u64).to_be_bytes());
        file.extend_from_slice(body);
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([0])
            .chain_update(body);
        file.extend_from_slice(&digest.finalize());
    }
    native(&file);
}

/// Any bytes as a builder file of Swift.
pub fn swift(data: &[u8]) {
    if let Ok(builder) = Builder::from_swift(data) {
        judge(&builder);
    }
}

/// What Swift writes for each key of a small builder.
const FIELDS: [(&str, &[u8]); 14] = [
    ("part_power", b"K\x01"),
    ("next_part_power", b"N"),
    ("replicas", b"K\x02"),
    ("min_part_hours", b"K\x01"),
    ("parts", b"K\x02"),
    (
        "devs",
        b"](}q\x00(X\x02\0\0\0idK\0X\x04\0\0\0zoneK\0X\x02\0\0\0ipX\x01\0\0\0aX\x04\0\0\0portK\x01X\x06\0\0\0deviceX\x01\0\0\0dX\x06\0\0\0weightK\x01u}(X\x02\0\0\0idK\x01X\x04\0\0\0zoneK\x01X\x02\0\0\0ipX\x01\0\0\0bX\x04\0\0\0portK\x01X\x06\0\0\0deviceX\x01\0\0\0dX\x06\0\0\0weightK\x01ue",
    ),
    ("devs_changed", b"\x88"),
    ("version", b"K\x01"),
    ("overload", b"K\0"),
    (
        "_replica2part2dev",
        b"](carray\narray\nX\x01\0\0\0H](K\0K\x01e\x86Rcarray\narray\nX\x01\0\0\0H](K\x01K\0e\x86Re",
    ),
    ("_last_part_moves", b"](K\0K\x01e"),
    ("_last_part_moves_epoch", b"K\0"),
    ("_remove_devs", b"]h\0a"),
    ("id", b"N"),
];

/// A dict with every key that Swift writes. Two bytes before each value say how long it is; an empty one stands for
/// what Swift would write.
pub fn swift_fields(data: &[u8]) {
    let mut rest = data;
    let mut file = b"\x80\x02}(".to_vec();
    for (name, usual) in FIELDS {
        file.push(b'X');
        file.extend_from_slice(&(name.len() as u32).to_le_bytes());
        file.extend_from_slice(name.as_bytes());
        let (value, tail) = cut(rest).unwrap_or((&[], &[]));
        rest = tail;
        file.extend_from_slice(if value.is_empty() { usual } else { value });
    }
    file.extend_from_slice(b"u.");
    swift(&file);
}

/// Panics if anything asked of an accepted builder does, or if it does not come back from either file format.
fn judge(builder: &Builder) {
    let bytes = builder.encode().expect("what was read can be written");
    assert_eq!(
        &Builder::decode(&bytes).expect("what was written is read"),
        builder
    );
    let swift = Builder::from_swift(&builder.to_swift());
    if let Ok(swift) = swift {
        assert_eq!(swift.table(), builder.table());
        assert_eq!(swift.device_list().len(), builder.device_list().len());
        assert_eq!(
            swift.version().min(i64::MAX as u64),
            builder.version().min(i64::MAX as u64)
        );
    }
    let _ = builder.validate();
    let _ = (builder.balance(), builder.required_overload());
    let _ = builder.dispersion_report();
    if let Some(Ok(ring)) = builder.to_ring() {
        assert_eq!(Some(ring.table()), builder.table());
    }
    // The rebalance has tests of its own; here it must only stay on its feet.
    if builder.part_power() <= 6 && builder.device_list().len() <= 16 && builder.replicas() <= 8.0 {
        let mut builder = builder.clone();
        for round in 0..2 {
            if builder.rebalance(round, (round + 1) << 40).is_ok() {
                let _ = builder.validate();
            }
        }
    }
}

/// A piece as long as the first two bytes say, at most to the end, and the rest.
fn cut(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[low, high], rest) = data.split_first_chunk()?;
    let len = usize::from(u16::from_le_bytes([low, high]));
    Some(rest.split_at(len.min(rest.len())))
}
