//! Rings that follow each other, in memory and through restarts.
use super::*;
use crate::builder::{Builder, NewDevice};
use crate::file::{Format, encode, replace};

/// A ring over `devices` devices, placed with this seed.
fn ring(devices: u32, part_power: u8, seed: u64) -> Ring {
    let mut builder = Builder::create(part_power, 2.0, 0).unwrap();
    for n in 0..devices {
        let device = NewDevice {
            region: 1,
            zone: n,
            ip: format!("10.0.0.{n}"),
            port: 6200,
            replication_ip: None,
            replication_port: None,
            device: "d1".into(),
            weight: 1.0,
            meta: String::new(),
        };
        builder.add(device).unwrap();
    }
    builder.rebalance(seed, 0).unwrap();
    builder.to_ring().unwrap().unwrap()
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn ring(&self) -> PathBuf {
        self.0.path().join("object.ring.gz")
    }

    fn history(&self) -> PathBuf {
        self.0.path().join("history/object")
    }

    fn write(&self, ring: &Ring) {
        replace(
            &self.ring(),
            &encode(ring, Format::V1, "object.ring.gz", None).unwrap(),
        )
        .unwrap();
    }

    fn open(&self) -> (RingHandle, Vec<HistoryError>) {
        RingHandle::open_with_history(self.ring(), self.history()).unwrap()
    }

    fn copies(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.history()).unwrap();
        let mut copies: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        copies.sort();
        copies
    }
}

fn previous(handle: &RingHandle) -> Vec<RingId> {
    handle.in_use().previous.iter().map(|known| known.id).collect()
}

#[test]
fn the_same_ring_has_the_same_identity_and_any_other_a_different_one() {
    let one = RingId::of(&ring(4, 4, 1));
    assert_eq!(one, RingId::of(&ring(4, 4, 1)));
    let others = [ring(4, 4, 2), ring(5, 4, 1), ring(4, 5, 1)].map(|ring| RingId::of(&ring));
    assert!(others.iter().all(|other| *other != one));
    assert_eq!(RingId::parse(&one.to_string()), Some(one));
}

#[test]
fn rings_before_the_current_one_stay_in_use_until_they_are_retired() {
    let handle = RingHandle::new(ring(4, 4, 1));
    let first = handle.id();
    handle.swap(ring(5, 4, 1));
    let second = handle.id();
    handle.swap(ring(6, 4, 1));
    assert_eq!(previous(&handle), [second, first]);
    assert!(handle.in_use().is_moving() && handle.in_use_since().is_none());
    assert!(!handle.retire(second).unwrap(), "not the current ring any more");
    handle.swap(ring(5, 4, 1));
    assert_eq!(handle.id(), second, "back to the ring before");
    assert_eq!(previous(&handle).len(), 2);
    assert!(!previous(&handle).contains(&second));
    assert!(handle.retire(second).unwrap());
    assert!(previous(&handle).is_empty() && !handle.in_use().is_moving());
}

#[test]
fn a_start_in_the_middle_of_a_change_knows_the_rings_before_it() {
    let files = Files::new();
    files.write(&ring(4, 4, 1));
    let (handle, faults) = files.open();
    assert!(faults.is_empty());
    let first = handle.id();
    files.write(&ring(5, 4, 1));
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(previous(&handle), [first]);
    drop(handle);
    // Replaced once more while nothing runs.
    files.write(&ring(6, 4, 1));
    let (handle, _) = files.open();
    assert_eq!(previous(&handle).len(), 2);
    assert!(handle.in_use_since().is_some());
    assert!(handle.retire(handle.id()).unwrap());
    assert_eq!(files.copies().len(), 1);
    drop(handle);
    let (handle, _) = files.open();
    assert!(previous(&handle).is_empty());
}

#[test]
fn damaged_and_misnamed_copies_are_named_and_ignored() {
    let files = Files::new();
    files.write(&ring(4, 4, 1));
    drop(files.open());
    files.write(&ring(5, 4, 1));
    drop(files.open());
    let (handle, _) = files.open();
    let copies = files.copies();
    let old = copies
        .iter()
        .find(|path| !path.display().to_string().contains(&handle.id().to_string()));
    let old = old.unwrap();
    let mut bytes = std::fs::read(old).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    std::fs::write(old, bytes).unwrap();
    let (handle, faults) = files.open();
    assert!(previous(&handle).is_empty());
    assert!(matches!(faults[..], [HistoryError::Damaged(_)]), "{faults:?}");
    std::fs::copy(files.ring(), old).unwrap();
    let (handle, faults) = files.open();
    assert!(previous(&handle).is_empty());
    assert!(matches!(faults[..], [HistoryError::Misnamed(_)]), "{faults:?}");
}

#[test]
fn a_ring_of_another_part_power_is_refused() {
    let files = Files::new();
    files.write(&ring(4, 4, 1));
    let (handle, _) = files.open();
    files.write(&ring(4, 5, 1));
    let refused = handle.reload_if_changed().unwrap_err().to_string();
    assert!(
        refused.contains("part power 5") && refused.contains("under 4"),
        "{refused}"
    );
    assert_eq!(handle.current().part_power(), 4);
    drop(handle);
    let refused = RingHandle::open_with_history(files.ring(), files.history());
    assert!(matches!(
        refused,
        Err(ReloadError::PartPower { old: 4, new: 5, .. })
    ));
}

#[test]
fn changes_that_no_device_follows_are_bounded() {
    let files = Files::new();
    files.write(&ring(3, 4, 1));
    let (handle, _) = files.open();
    for devices in 4..4 + MOST_PREVIOUS as u32 {
        files.write(&ring(devices, 4, 1));
        assert!(handle.reload_if_changed().unwrap());
    }
    let last = handle.id();
    files.write(&ring(40, 4, 1));
    assert!(matches!(
        handle.reload_if_changed(),
        Err(ReloadError::Behind { .. })
    ));
    assert_eq!(handle.id(), last);
    handle.retire(last).unwrap();
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(previous(&handle), [last]);
}

#[test]
fn a_copy_that_cannot_be_written_is_tried_again() {
    let files = Files::new();
    files.write(&ring(3, 4, 1));
    // A file where the folder should be.
    std::fs::write(files.0.path().join("history"), "in the way").unwrap();
    let (handle, faults) = files.open();
    assert!(matches!(
        faults[..],
        [HistoryError::Io { .. }, HistoryError::Io { .. }] | [HistoryError::Io { .. }]
    ));
    assert!(matches!(handle.reload_if_changed(), Err(ReloadError::Keep(_))));
    std::fs::remove_file(files.0.path().join("history")).unwrap();
    assert!(!handle.reload_if_changed().unwrap());
    assert_eq!(files.copies().len(), 1);
}
