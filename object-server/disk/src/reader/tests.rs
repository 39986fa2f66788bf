//! Verified reads.

use super::*;
use crate::batch::record::Kind;
use crate::io::fault::{Fault, FaultDisk};
use crate::log::{Apply, ApplyError, Damaged, LogOptions, LogRecord, SegLog, Start, SyncPolicy};
use crate::segment::header::Identity;
use crate::segment::table::SegmentOptions;
use crate::segment::{Position, Stream};

struct Nothing;

impl Apply for Nothing {
    type Outcome = ();

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        _: Position,
        outcomes: &mut Vec<()>,
    ) -> Result<(), ApplyError> {
        outcomes.resize(records.len(), ());
        Ok(())
    }

    fn damaged(&mut self, _: Damaged<'_>) {}
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

fn payload(len: usize) -> Bytes {
    (0..len).map(|i| (i * 7 / 5) as u8).collect::<Vec<_>>().into()
}

/// A disk with one record on it.
fn written(len: usize, meta: usize) -> (FaultDisk, Arc<Segments>, Locator) {
    let disk = FaultDisk::new(64 << 20, 3);
    let options = SegmentOptions {
        size: 4 << 20,
        spares: 0,
        background: false,
        clock: Arc::new(|| 1),
        threads: crate::threads::Threads::Os,
    };
    let identity = Identity {
        device: [1; 16],
        secret: 2,
    };
    let segments = Segments::open(Arc::new(disk.clone()), identity, options).unwrap();
    let options = LogOptions {
        sync: SyncPolicy::EachBatch,
        start: Start::Beginning,
        reserve: 0,
    };
    let (log, _) = SegLog::open(&segments, Stream::Hot, options, Nothing).unwrap();
    let head = Head {
        kind: Kind::Extent,
        policy: 0,
        partition: 1,
        key: [5; 16],
        version: 6,
        size: 0,
        blake3: [7; 32],
        settled: false,
    };
    let record = NewRecord::new(head, Bytes::from(vec![1; meta]), payload(len)).unwrap();
    let locator = run(log.submit(record)).unwrap().locator;
    (disk, segments, locator)
}

#[test]
fn any_range_of_a_record_is_read_with_the_blocks_and_crcs_that_cover_it() {
    for (len, meta) in [(10, 0), (70_000, 300), (1 << 20, 20), (1 << 20, 9000), (0, 5)] {
        let (_disk, segments, locator) = written(len, meta);
        let reader = Reader::new(segments);
        let whole = run(reader.record(locator)).unwrap();
        assert_eq!(whole.payload(), payload(len));
        assert_eq!(whole.meta().len(), meta);
        assert_eq!(whole.rewrite().unwrap().crcs().count(), len.div_ceil(65_536));
        for (from, to) in [(0, len), (len / 2, len), (len / 3, len / 2), (0, 0), (len, len)] {
            let part = run(reader.range(locator, from..to)).unwrap();
            assert_eq!(part.payload(), payload(len).slice(from..to));
            assert_eq!(part.head().version, 6);
            assert!(part.first_block() * 65_536 <= from.max(1));
            for (block, crc) in part.blocks() {
                assert_eq!(crc32fast::hash(&block), crc);
            }
        }
        let outside = run(reader.range(locator, 0..len + 1));
        assert!(
            matches!(outside, Err(ReadError::OutOfRange { .. })),
            "{outside:?}"
        );
        assert_eq!(
            reader.pool().threads(),
            usize::from(outside.is_err()),
            "only misses cost a thread"
        );
    }
}

#[test]
fn a_bit_that_flips_on_the_way_is_read_again_and_one_that_rotted_is_reported() {
    let (disk, segments, locator) = written(200_000, 10);
    let reader = Reader::new(segments);
    disk.inject(Fault::ReadFlips, 0);
    assert_eq!(run(reader.record(locator)).unwrap().payload(), payload(200_000));
    // Also where the page cache itself hands out what is wrong.
    disk.inject(Fault::ReadFlips, 0);
    assert_eq!(
        reader.record_blocking(locator).unwrap().payload(),
        payload(200_000)
    );
    disk.flip_bit("0000000000000001", u64::from(locator.offset) + 150_000, 2);
    assert_eq!(
        run(reader.range(locator, 0..1000)).unwrap().payload(),
        payload(1000),
        "other blocks are fine"
    );
    let read = run(reader.range(locator, 140_000..150_000));
    assert!(
        matches!(
            read,
            Err(ReadError::Damaged {
                why: Bad::Payload(_),
                ..
            })
        ),
        "{read:?}"
    );
    assert!(matches!(
        reader.record_blocking(locator),
        Err(ReadError::Damaged { .. })
    ));
    disk.flip_bit("0000000000000001", u64::from(locator.offset) + 3, 2);
    assert!(matches!(
        run(reader.range(locator, 0..1000)),
        Err(ReadError::Damaged { .. })
    ));
}

#[test]
fn no_flipped_bit_of_a_record_is_ever_served() {
    let (disk, segments, locator) = written(3000, 40);
    let reader = Reader::new(segments);
    for byte in 0..locator.length {
        let at = u64::from(locator.offset + byte);
        disk.flip_bit("0000000000000001", at, (byte % 8) as u8);
        assert!(reader.record_blocking(locator).is_err(), "byte {byte}");
        disk.flip_bit("0000000000000001", at, (byte % 8) as u8);
    }
    assert!(reader.record_blocking(locator).is_ok());
}

#[test]
fn a_released_segment_is_gone_and_a_wrong_locator_is_an_error_not_an_allocation() {
    let (_disk, segments, locator) = written(100, 0);
    let reader = Reader::new(Arc::clone(&segments));
    let wrong = Locator {
        length: u32::MAX,
        ..locator
    };
    let beyond = run(reader.record(wrong));
    assert!(
        matches!(beyond, Err(ReadError::Damaged { why: Bad::Short, .. })),
        "{beyond:?}"
    );
    let shifted = Locator {
        offset: locator.offset + 8,
        ..locator
    };
    assert!(matches!(
        run(reader.record(shifted)),
        Err(ReadError::Damaged { .. })
    ));
    segments.release(locator.segment).unwrap();
    assert!(matches!(run(reader.record(locator)), Err(ReadError::Gone(_))));
}

#[test]
fn the_pool_runs_work_on_at_most_its_threads_and_survives_a_panic() {
    let pool = Arc::new(ReadPool::new(3, crate::threads::Threads::Os));
    assert_eq!(pool.threads(), 0);
    run(async {
        let gate = Arc::new(std::sync::Barrier::new(3));
        let mut waiting = Vec::new();
        for _ in 0..12 {
            let gate = Arc::clone(&gate);
            // Only three at once can pass the gate.
            waiting.push(Box::pin(pool.run(move || gate.wait().is_leader())));
        }
        let mut leaders = 0;
        let mut begun = Vec::new();
        for mut work in waiting {
            // Start them all before waiting for any.
            let first = std::future::poll_fn(|cx| std::task::Poll::Ready(work.as_mut().poll(cx))).await;
            match first {
                std::task::Poll::Ready(result) => leaders += usize::from(result.unwrap()),
                std::task::Poll::Pending => begun.push(work),
            }
        }
        for work in begun {
            leaders += usize::from(work.await.unwrap());
        }
        assert_eq!(leaders, 4);
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(PoolClosed));
        assert_eq!(pool.run(|| 5).await, Ok(5));
    });
    assert_eq!(pool.threads(), 3);
}
