//! The ring in use under load, and files that come, go, break and go back.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::file::{Format, encode, replace};
use crate::{Device, Partition, RingInfo, Table};

/// A ring in which everything says the same number: every slot, the version,
/// the port and the weight of its device.
fn marked(part_power: u8, mark: u32) -> Ring {
    let device = |id: u32| -> Device {
        serde_json::from_value(serde_json::json!({
            "id": id, "region": 1, "zone": 1, "ip": "10.0.0.1", "port": mark, "device": "sda",
            "weight": mark, "meta": mark.to_string(),
        }))
        .unwrap()
    };
    let table = Table::from_row_major(1 << part_power, &vec![mark; 3 << part_power]).unwrap();
    let info = RingInfo {
        part_power,
        version: Some(mark.into()),
        ..RingInfo::default()
    };
    let mut devices = vec![None; mark as usize];
    devices.push(Some(device(mark)));
    Ring::new(info, devices, table).unwrap()
}

/// Panics unless all of `ring` says the same; gives the number.
fn mark_of(ring: &Ring) -> u64 {
    let mark = ring.version();
    for part in 0..ring.partition_count() as u32 {
        for (_, device) in ring.primaries(Partition(part)) {
            let said = (
                u64::from(device.id.0),
                u64::from(device.port),
                device.weight as u64,
            );
            assert_eq!(said, (mark, mark, mark), "a ring that is two rings");
        }
    }
    mark
}

#[test]
fn readers_see_whole_rings_while_thousands_come_and_go() {
    let swaps = if std::env::var_os("VIRGA_SOAK").is_some() {
        200_000
    } else {
        3_000
    };
    let handle = RingHandle::new(marked(4, 1));
    let (stop, read) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // Held over several swaps: it must stay what it was.
                    let ring = handle.current();
                    let mark = mark_of(&ring);
                    std::thread::yield_now();
                    assert_eq!(mark_of(&ring), mark);
                    let now = handle.in_use();
                    assert_eq!(now.current.id.version, mark_of(&now.current.ring));
                    read.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // The previous rings are retired on the way, or they would pile up.
        for swap in 0..swaps {
            handle.swap(marked(4, 1 + swap % 900));
            handle.retire(handle.id()).unwrap();
        }
        // A fast writer alone proves nothing: readers must have been at work.
        while read.load(Ordering::Relaxed) < 100 {
            handle.swap(marked(4, 1 + read.load(Ordering::Relaxed) as u32));
            handle.retire(handle.id()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn readers_go_on_while_a_writer_holds_the_handle() {
    let handle = RingHandle::new(marked(4, 1));
    let watched = handle.watch();
    let (done, finished) = std::sync::mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let marks = (0..1000).map(|_| mark_of(&handle.current()));
            done.send(marks.sum::<u64>()).unwrap();
        });
        let sum = finished.recv_timeout(Duration::from_secs(60));
        drop(watched);
        assert_eq!(sum, Ok(1000));
    });
}

struct File(tempfile::TempDir);

impl File {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("object.ring.gz")
    }

    fn put(&self, ring: &Ring) {
        self.put_bytes(&encode(ring, Format::V1, "object.ring.gz", None).unwrap());
    }

    fn put_bytes(&self, bytes: &[u8]) {
        replace(&self.path(), bytes).unwrap();
    }
}

#[test]
fn a_bad_file_is_judged_once_and_refused_with_the_same_words() {
    let file = File::new();
    file.put(&marked(4, 5));
    let handle = RingHandle::open(file.path()).unwrap();
    file.put_bytes(b"no ring");
    let first = handle.reload_if_changed().unwrap_err();
    let second = handle.reload_if_changed().unwrap_err();
    assert_eq!(first.to_string(), second.to_string());
    let (ReloadError::Refused(first), ReloadError::Refused(second)) = (&first, &second) else {
        panic!("{first} {second}");
    };
    assert!(Arc::ptr_eq(first, second), "judged anew");
    assert_eq!(mark_of(&handle.current()), 5);
    // Another bad file is another report; another part power as well.
    file.put_bytes(b"no ring either");
    let ReloadError::Refused(third) = handle.reload_if_changed().unwrap_err() else {
        panic!("a bad file")
    };
    assert!(!Arc::ptr_eq(first, &third));
    file.put(&marked(5, 6));
    for _ in 0..2 {
        let why = handle.reload_if_changed().unwrap_err().to_string();
        assert!(why.contains("part power 5"), "{why}");
    }
    // Good again, first the one in use, then a new one.
    file.put(&marked(4, 5));
    assert!(!handle.reload_if_changed().unwrap());
    file.put(&marked(4, 7));
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(mark_of(&handle.current()), 7);
}

#[test]
fn a_missing_file_is_an_error_until_it_is_back() {
    let file = File::new();
    file.put(&marked(4, 5));
    let handle = RingHandle::open(file.path()).unwrap();
    std::fs::remove_file(file.path()).unwrap();
    for _ in 0..2 {
        assert!(matches!(handle.reload_if_changed(), Err(ReloadError::Read(_))));
    }
    assert_eq!(mark_of(&handle.current()), 5);
    file.put(&marked(4, 6));
    assert!(handle.reload_if_changed().unwrap());
}

#[test]
fn a_touched_file_is_the_same_ring_not_a_new_one() {
    let file = File::new();
    file.put(&marked(4, 5));
    let handle = RingHandle::open(file.path()).unwrap();
    let before = handle.current();
    // The same bytes as a new file: another inode, another time.
    file.put(&marked(4, 5));
    assert!(!handle.reload_if_changed().unwrap());
    assert!(Arc::ptr_eq(&before, &handle.current()), "decoded for nothing");
    let stamp = handle.watch().stamp;
    assert_eq!(stamp, stamp_of(&file.path()), "looked at again at every poll");
}

#[test]
fn an_older_ring_is_taken_and_reported() {
    let file = File::new();
    file.put(&marked(4, 5));
    let handle = RingHandle::open(file.path()).unwrap();
    file.put(&marked(4, 9));
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(handle.went_back(), None);
    file.put(&marked(4, 3));
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(mark_of(&handle.current()), 3);
    assert_eq!(handle.went_back(), Some(WentBack { from: 9, to: 3 }));
    file.put(&marked(4, 10));
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(handle.went_back(), None);
}

#[test]
fn a_start_with_an_older_ring_than_an_earlier_process_used_is_reported() {
    let file = File::new();
    let history = file.0.path().join("history");
    let open = || RingHandle::open_with_history(file.path(), &history).unwrap().0;
    file.put(&marked(4, 9));
    assert_eq!(open().went_back(), None);
    file.put(&marked(4, 3));
    assert_eq!(open().went_back(), Some(WentBack { from: 9, to: 3 }));
}

#[test]
fn a_map_that_is_stale_damaged_or_gone_is_made_anew() {
    let file = File::new();
    let maps = Maps::of_any_size(file.0.path().join("maps"));
    let open = || RingHandle::open_through(file.path(), Some(maps.clone())).unwrap();
    let map = maps.path(&file.path());
    file.put(&marked(4, 5));
    assert_eq!(mark_of(&open().current()), 5);
    let good = std::fs::read(&map).unwrap();
    // Served from the map: identity and all.
    let (slow, fast) = (RingHandle::open(file.path()).unwrap(), open());
    assert_eq!((slow.id(), mark_of(&fast.current())), (fast.id(), 5));
    // Damaged, cut, empty, gone.
    let mut bad = good.clone();
    bad[200] ^= 1;
    for bytes in [
        Some(bad.as_slice()),
        Some(&good[..good.len() / 2]),
        Some(&[]),
        None,
    ] {
        match bytes {
            Some(bytes) => std::fs::write(&map, bytes).unwrap(),
            None => std::fs::remove_file(&map).unwrap(),
        }
        let handle = open();
        assert_eq!(mark_of(&handle.current()), 5);
        assert!(handle.map_fault().is_none());
        assert_eq!(std::fs::read(&map).unwrap(), good);
    }
    // Stale, at a start and at a reload.
    file.put(&marked(4, 6));
    let handle = open();
    assert_eq!(mark_of(&handle.current()), 6);
    file.put(&marked(4, 7));
    assert!(handle.reload_if_changed().unwrap());
    assert_eq!(mark_of(&handle.current()), 7);
    assert_eq!(mark_of(&open().current()), 7);
    assert_ne!(std::fs::read(&map).unwrap(), good);
}

#[test]
fn a_folder_that_takes_no_map_costs_only_speed() {
    let file = File::new();
    let in_the_way = file.0.path().join("maps");
    std::fs::write(&in_the_way, "a file where the folder should be").unwrap();
    file.put(&marked(4, 5));
    let handle = RingHandle::open_through(file.path(), Some(Maps::of_any_size(in_the_way))).unwrap();
    assert_eq!(mark_of(&handle.current()), 5);
    let why = handle.map_fault().unwrap().to_string();
    assert!(why.contains("maps"), "{why}");
}
