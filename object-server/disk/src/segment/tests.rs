//! Segments on a real file system: spares in the background, recycling, restarts.

use super::header::Identity;
use super::table::{SegmentOptions, Segments};
use super::*;
use crate::io::file::FileDisk;
use crate::io::{Disk, Fill, PAGE, Seg, Space};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SIZE: u64 = 1 << 20;
const IDENTITY: Identity = Identity {
    device: [4; 16],
    secret: 4,
};

const TOTAL: u64 = 1000 * SIZE;

/// A real folder that says what it is told of its room: how full the machine is decides no test.
struct Told {
    files: FileDisk,
    free: AtomicU64,
    zeroed: AtomicU64,
}

impl Disk for Told {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>> {
        self.files.open(name)
    }

    fn create(&self, name: &str, len: u64, fill: Fill) -> io::Result<Arc<dyn Seg>> {
        self.zeroed
            .fetch_add(u64::from(fill == Fill::Zero), Ordering::Relaxed);
        self.files.create(name, len, fill)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.remove(name)
    }

    fn space(&self) -> io::Result<Space> {
        Ok(Space {
            total: TOTAL,
            free: self.free.load(Ordering::Relaxed),
        })
    }
}

fn open(dir: &std::path::Path) -> (Arc<Told>, Arc<Segments>) {
    let disk = Arc::new(Told {
        files: FileDisk::open(dir).unwrap(),
        free: AtomicU64::new(TOTAL),
        zeroed: AtomicU64::new(0),
    });
    let options = SegmentOptions {
        size: SIZE,
        ..SegmentOptions::new(Arc::new(|| 9))
    };
    let segments = Segments::open(Arc::<Told>::clone(&disk), IDENTITY, options).unwrap();
    (disk, segments)
}

#[test]
fn spares_are_prepared_in_the_background_and_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    assert!(disk.list().unwrap().is_empty(), "a fresh device costs nothing");
    let first = segments.take(Stream::Hot, 0).unwrap();
    assert_eq!((first.id(), disk.list().unwrap().len()), (1, 1));
    segments.want_spare();
    let deadline = Instant::now() + Duration::from_secs(60);
    while segments.room().unwrap().reusable < 2 * SIZE {
        assert!(Instant::now() < deadline, "no spares were prepared");
        std::thread::yield_now();
    }
    segments.want_spare();
    drop((first, segments));
    assert_eq!(disk.list().unwrap().len(), 3);

    let (disk, segments) = open(dir.path());
    assert_eq!(segments.room().unwrap().reusable, 2 * SIZE);
    assert_eq!(segments.all().len(), 1);
    let second = segments.take(Stream::Bulk, 0).unwrap();
    assert_eq!(
        (second.id(), second.stream(), disk.list().unwrap().len()),
        (2, Stream::Bulk, 3)
    );
    let mut page = vec![1; PAGE];
    second.file().pread(&mut page, SIZE - PAGE as u64).unwrap();
    assert!(page.iter().all(|b| *b == 0));
}

#[test]
fn spares_leave_the_last_tenth_of_a_device_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    let taken = segments.take(Stream::Hot, 0).unwrap();
    disk.free.store(TOTAL / 10 + SIZE - 1, Ordering::Relaxed);
    assert!(!segments.prepare_one());
    disk.free.store(TOTAL / 10 + SIZE, Ordering::Relaxed);
    assert!(segments.prepare_one());
    assert_eq!((taken.id(), disk.list().unwrap().len()), (1, 2));
}

#[test]
fn spares_are_written_with_zeros_for_small_appends_and_only_reserved_for_large_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    segments.note_append(1 << 20);
    assert!(segments.prepare_one());
    assert_eq!(disk.zeroed.load(Ordering::Relaxed), 0);
    segments.note_append(4096);
    assert!(segments.prepare_one());
    assert_eq!(disk.zeroed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_released_segment_is_used_again_under_a_new_id_and_its_file_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    for id in 1..=20 {
        assert_eq!(segments.take(Stream::Gc, 0).unwrap().id(), id);
        segments.release(id).unwrap();
        segments.release(id).unwrap();
        assert!(segments.get(id).is_none());
    }
    assert_eq!(disk.list().unwrap().len(), 1);
    drop(segments);
    let (_, segments) = open(dir.path());
    assert_eq!(
        segments.take(Stream::Gc, 0).unwrap().id(),
        21,
        "ids go on after a restart"
    );
}

#[test]
fn a_changed_segment_size_applies_to_new_segments_and_old_ones_stay_readable() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    segments.take(Stream::Hot, 0).unwrap();
    segments.take(Stream::Hot, 0).unwrap();
    segments.release(2).unwrap();
    drop(segments);
    let options = SegmentOptions {
        size: 2 * SIZE,
        ..SegmentOptions::new(Arc::new(|| 9))
    };
    let segments = Segments::open(Arc::<Told>::clone(&disk), IDENTITY, options).unwrap();
    assert_eq!(segments.all()[0].size(), SIZE);
    assert_eq!(segments.take(Stream::Hot, 0).unwrap().size(), 2 * SIZE);
    segments.release(1).unwrap();
    assert_eq!(disk.list().unwrap().len(), 1);
}

#[test]
fn bytes_left_for_others_are_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (_, segments) = open(dir.path());
    assert!(matches!(
        segments.take(Stream::Hot, u64::MAX / 2),
        Err(table::TakeError::Full)
    ));
    assert!(segments.take(Stream::Gc, 0).is_ok());
}

#[test]
fn a_stream_is_known_by_its_number_and_its_name() {
    let names = Stream::ALL.map(|stream| (stream as u8, stream.name()));
    assert_eq!(names, [(1, "hot"), (2, "bulk"), (3, "blk"), (4, "gc")]);
    for stream in Stream::ALL {
        assert_eq!(Stream::from_number(stream as u8), Some(stream));
    }
    assert_eq!((Stream::from_number(0), Stream::from_number(5)), (None, None));
}

#[test]
fn a_segment_that_is_written_is_not_given_back_and_one_that_was_left_loses_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    assert_eq!((segments.segment_size(), segments.now()), (SIZE, 9));
    let segment = segments.take(Stream::Hot, 0).unwrap();
    assert_eq!((segment.size(), segment.created()), (SIZE, 9));
    assert_eq!(disk.list().unwrap(), [segment.name()]);
    assert_eq!(segment.expect().salt, IDENTITY.salt(1));
    segment.set_open(true);
    let refused = segments.release(1).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ResourceBusy);
    assert!(segments.get(1).is_some());
    segment.set_open(false);
    segment.leave();
    segments.release(1).unwrap();
    assert!(segments.get(1).is_none() && disk.list().unwrap().is_empty());
    assert_eq!(segments.room().unwrap().reusable, 0);
}

#[test]
fn a_segment_that_is_still_read_is_used_again_only_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, segments) = open(dir.path());
    let read = segments.take(Stream::Hot, 0).unwrap();
    segments.release(1).unwrap();
    assert_eq!(segments.room().unwrap().reusable, SIZE);
    let second = segments.take(Stream::Hot, 0).unwrap();
    assert_eq!((second.id(), disk.list().unwrap().len()), (2, 2));
    assert_ne!(second.name(), read.name());
    let name = read.name().to_owned();
    drop(read);
    assert_eq!(segments.take(Stream::Gc, 0).unwrap().name(), name);
}

#[test]
fn a_file_whose_preparation_was_cut_short_is_prepared_again() {
    let dir = tempfile::tempdir().unwrap();
    for (name, len) in [("0000000000000007", 0), ("not a number", 5)] {
        std::fs::write(dir.path().join(name), vec![0; len]).unwrap();
    }
    let (_, segments) = open(dir.path());
    assert!(segments.all().is_empty());
    let first = segments.take(Stream::Hot, 0).unwrap();
    assert_eq!((first.name(), first.size()), ("0000000000000007", SIZE));
    // Names go on behind the largest there is.
    assert_eq!(segments.take(Stream::Hot, 0).unwrap().name(), "0000000000000008");
}
