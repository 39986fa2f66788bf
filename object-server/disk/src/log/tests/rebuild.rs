//! An index that is made anew: the same as by a whole replay, from a fraction of the bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::io::aligned::AlignedBuf;
use crate::io::{Fill, Seg, Space};

/// Counts what is read of a disk.
struct Counting {
    disk: FaultDisk,
    read: Arc<AtomicU64>,
}

struct CountingSeg(Arc<dyn Seg>, Arc<AtomicU64>);

impl Disk for Counting {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Seg>> {
        Ok(Arc::new(CountingSeg(self.disk.open(name)?, self.read.clone())))
    }
    fn create(&self, name: &str, len: u64, fill: Fill) -> io::Result<Arc<dyn Seg>> {
        self.disk.create(name, len, fill)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn space(&self) -> io::Result<Space> {
        self.disk.space()
    }
}

impl Seg for CountingSeg {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn pwrite(&self, buf: &AlignedBuf, off: u64) -> io::Result<()> {
        self.0.pwrite(buf, off)
    }
    fn pread(&self, buf: &mut [u8], off: u64) -> io::Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.pread(buf, off)
    }
    fn pread_nowait(&self, buf: &mut [u8], off: u64) -> io::Result<bool> {
        self.0.pread_nowait(buf, off)
    }
    fn pread_direct(&self, buf: &mut AlignedBuf, off: u64) -> io::Result<()> {
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.0.pread_direct(buf, off)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// What a replay found: places and sequences by version, and damaged pieces; and the bytes it read.
type Replayed = (Vec<(u64, Locator, u64)>, Vec<(u64, Option<u64>)>, u64);

fn replay(disk: &FaultDisk, payloads: Payloads) -> Replayed {
    let read = Arc::new(AtomicU64::new(0));
    let counting = Counting {
        disk: disk.clone(),
        read: read.clone(),
    };
    let options = SegmentOptions {
        size: SEGMENT,
        spares: 0,
        background: false,
        clock: Arc::new(|| 5),
        threads: crate::threads::Threads::Os,
    };
    let segments = Segments::open(Arc::new(counting), IDENTITY, options).unwrap();
    read.store(0, Ordering::Relaxed);
    let index = Index::default();
    let open = match payloads {
        Payloads::Verify => SegLog::open,
        Payloads::Skip => SegLog::rebuild,
    };
    drop(open(&segments, Stream::Hot, HOT, index.clone()).unwrap());
    let seen = index.0.lock().unwrap();
    (
        seen.records.clone(),
        seen.damaged.clone(),
        read.load(Ordering::Relaxed),
    )
}

/// A log of records of these lengths, one batch each unless they fit together.
fn filled(lengths: &[usize]) -> FaultDisk {
    let disk = FaultDisk::new(64 << 20, 5);
    let (log, _, _) = open(&segments(&disk), HOT);
    run(async {
        for (number, len) in lengths.iter().enumerate() {
            log.submit(record(number as u64, *len)).await.unwrap();
        }
    });
    disk
}

#[test]
fn large_payloads_are_sought_over_and_small_ones_read_along() {
    let large = filled(&[200_000; 100]);
    let (all, damaged, whole) = replay(&large, Payloads::Verify);
    let (skimmed, _, little) = replay(&large, Payloads::Skip);
    assert_eq!((all.len(), damaged.len()), (100, 0));
    assert_eq!(skimmed, all);
    // The last segment, which may end in a torn batch, is read as a whole both times.
    assert!(little < 2 * SEGMENT + whole / 20, "{little} of {whole} bytes");
    let small = filled(&[3000; 2000]);
    let (all, _, whole) = replay(&small, Payloads::Verify);
    let (skimmed, _, read) = replay(&small, Payloads::Skip);
    assert_eq!(skimmed, all);
    assert!(read < whole + whole / 4, "{read} of {whole} bytes");
}

#[test]
fn a_rotten_payload_is_named_and_a_rotten_head_is_set_aside_as_ever() {
    let disk = filled(&[100_000; 40]);
    let (all, _, _) = replay(&disk, Payloads::Verify);
    let name = |place: Locator| segments(&disk).get(place.segment).unwrap().name().to_owned();
    let (payload, head) = (all[3].1, all[5].1);
    disk.flip_bit(&name(payload), u64::from(payload.offset) + 50_000, 2);
    disk.flip_bit(&name(head), u64::from(head.offset) + 20, 2);
    let (verified, found, _) = replay(&disk, Payloads::Verify);
    assert_eq!((verified.len(), found.len()), (38, 2));
    let (skimmed, found, _) = replay(&disk, Payloads::Skip);
    let versions: Vec<u64> = skimmed.iter().map(|(version, _, _)| *version).collect();
    assert!(versions.contains(&3) && !versions.contains(&5), "{versions:?}");
    assert_eq!((skimmed.len(), found.len()), (39, 1));
}

#[test]
fn what_nothing_proves_durable_is_read_as_a_whole() {
    let disk = filled(&[100_000; 5]);
    let (all, _, _) = replay(&disk, Payloads::Verify);
    let last = all[4].1;
    let file = segments(&disk).get(last.segment).unwrap().name().to_owned();
    disk.flip_bit(&file, u64::from(last.offset) + 50_000, 2);
    let (skimmed, found, _) = replay(&disk, Payloads::Skip);
    assert_eq!(
        (skimmed.len(), found.len()),
        (4, 0),
        "a torn tail, and nothing more"
    );
}
