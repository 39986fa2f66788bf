//! The log with its thread, on memory and faulty disks: batching, back-pressure, failures, damage, space.
//! Crashes at random moments are in [`crash`].

use std::sync::Mutex;

use bytes::Bytes;

use super::*;
use crate::batch::record::Kind;
use crate::io::Disk;
use crate::io::fault::{Fault, FaultDisk};
use crate::segment::header::Identity;
use crate::segment::table::SegmentOptions;

use writer::{Carries, Tail};

mod crash;
mod cut;
mod group;
mod rebuild;
mod tail;

pub(super) const IDENTITY: Identity = Identity {
    device: [1; 16],
    secret: 0xfeed,
};
pub(super) const SEGMENT: u64 = 1 << 20;
const HOT: LogOptions = LogOptions {
    sync: SyncPolicy::EachBatch,
    start: Start::Beginning,
    reserve: 0,
};
const GROUPED: SyncPolicy = SyncPolicy::Grouped {
    bytes: 1 << 20,
    age: Duration::from_secs(3600),
};

pub(super) fn segments(disk: &FaultDisk) -> Arc<Segments> {
    segments_on(Arc::new(disk.clone()))
}

fn segments_on(disk: Arc<dyn Disk>) -> Arc<Segments> {
    let options = SegmentOptions {
        size: SEGMENT,
        spares: 0,
        background: false,
        clock: Arc::new(|| 5),
        threads: crate::threads::Threads::Os,
    };
    Segments::open(disk, IDENTITY, options).unwrap()
}

pub(super) fn record(number: u64, len: usize) -> NewRecord {
    let mut payload = number.to_le_bytes().repeat(len / 8 + 1);
    payload.truncate(len);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    let head = Head {
        kind: Kind::Object,
        policy: 0,
        partition: 3,
        key,
        version: number,
        size: len as u64,
        blake3: [0; 32],
        settled: false,
    };
    NewRecord::new(head, Bytes::from(number.to_string()), Bytes::from(payload)).unwrap()
}

/// What an index would remember.
#[derive(Default)]
pub(super) struct Seen {
    pub records: Vec<(u64, Locator, u64)>,
    pub upto: Option<Position>,
    pub damaged: Vec<(u64, Option<u64>)>,
    pub refuse: bool,
}

#[derive(Clone, Default)]
pub(super) struct Index(pub Arc<Mutex<Seen>>);

impl Index {
    pub(super) fn versions(&self) -> Vec<u64> {
        self.0.lock().unwrap().records.iter().map(|r| r.0).collect()
    }
}

impl Apply for Index {
    type Outcome = u64;

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        upto: Position,
        outcomes: &mut Vec<u64>,
    ) -> Result<(), ApplyError> {
        let mut seen = self.0.lock().unwrap();
        if seen.refuse {
            return Err(ApplyError("told to".into()));
        }
        for record in records {
            assert_eq!(record.meta, record.head.version.to_string().as_bytes());
            assert_eq!(record.payload_len as u64, record.head.size);
            seen.records
                .push((record.head.version, record.locator, record.sequence));
            outcomes.push(record.head.version);
        }
        seen.upto = Some(upto);
        Ok(())
    }

    fn damaged(&mut self, piece: Damaged<'_>) {
        self.0
            .lock()
            .unwrap()
            .damaged
            .push((piece.offset, piece.head.map(|h| h.version)));
    }
}

fn open(segments: &Arc<Segments>, options: LogOptions) -> (SegLog<Index>, Index, Recovered) {
    let index = Index::default();
    let (log, recovered) = SegLog::open(segments, Stream::Hot, options, index.clone()).unwrap();
    (log, index, recovered)
}

/// A record for a writer without a queue before it.
pub(super) struct Bare(pub NewRecord);

impl Carries for Bare {
    fn record(&self) -> &NewRecord {
        &self.0
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(work)
}

fn submit_each(log: &SegLog<Index>, numbers: std::ops::Range<u64>, len: usize) {
    run(async {
        for number in numbers {
            log.submit(record(number, len)).await.unwrap();
        }
    });
}

#[test]
fn an_answer_comes_after_the_sync_and_after_the_index() {
    let disk = FaultDisk::new(64 << 20, 1);
    let segments = segments(&disk);
    let (log, index, recovered) = open(&segments, HOT);
    assert_eq!(recovered, Recovered::default());
    assert!(segments.all().is_empty(), "an unused stream takes no segment");
    let committed = run(log.submit(record(1, 5000))).unwrap();
    assert_eq!(disk.syncs(), 2, "the header and the batch");
    assert_eq!((committed.outcome, committed.sequence), (1, 1));
    assert_eq!(index.0.lock().unwrap().records, [(1, committed.locator, 1)]);
    assert_eq!(u64::from(committed.locator.offset), 4096 + 64);
}

#[test]
fn what_gathers_during_a_sync_goes_into_one_batch() {
    let disk = FaultDisk::new(64 << 20, 1);
    let segments = segments(&disk);
    let (log, index, _) = open(&segments, LogOptions { sync: GROUPED, ..HOT });
    run(async {
        let mut tickets = Vec::new();
        for number in 0..100 {
            tickets.push(log.enqueue(record(number, 100)).await.unwrap());
        }
        log.flush().await.unwrap();
        for (number, ticket) in tickets.into_iter().enumerate() {
            assert_eq!(ticket.await.unwrap().outcome, number as u64);
        }
    });
    assert_eq!(disk.syncs(), 2, "grouped records share one sync: header, group");
    assert_eq!(
        index.versions(),
        (0..100).collect::<Vec<_>>(),
        "in the order they were queued"
    );
    assert_eq!(log.queued_bytes(), 0);
}

#[test]
fn a_group_syncs_by_itself_when_it_is_large() {
    let disk = FaultDisk::new(64 << 20, 1);
    let segments = segments(&disk);
    let (log, _, _) = open(&segments, LogOptions { sync: GROUPED, ..HOT });
    run(async {
        // Nobody flushes and the age is an hour: only the bytes can make these resolve.
        let mut tickets = Vec::new();
        for number in 0..24 {
            tickets.push(log.enqueue(record(number, 500_000)).await.unwrap());
        }
        for ticket in tickets.into_iter().take(20) {
            ticket.await.unwrap();
        }
    });
}

#[test]
fn a_full_queue_makes_submitters_wait_and_holds_no_more_than_its_bound() {
    let disk = FaultDisk::new(256 << 20, 1);
    let segments = segments(&disk);
    let (log, index, _) = open(&segments, HOT);
    let hold = index.0.lock().unwrap();
    run(async {
        let mut tickets = Vec::new();
        let mut number = 0;
        loop {
            let mut next = Box::pin(log.enqueue(record(number, 900_000)));
            // The index is held, so nothing is answered: polled once, an enqueue is done or waits for room.
            match futures_poll(&mut next).await {
                Some(ticket) => tickets.push(ticket.unwrap()),
                None => break,
            }
            number += 1;
        }
        assert!(
            (14..=18).contains(&number),
            "{number} records of 900 kB in 16 MiB"
        );
        assert!(log.queued_bytes() <= QUEUE_BYTES);
        drop(hold);
        for ticket in tickets {
            ticket.await.unwrap();
        }
    });
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(out) => Some(out),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn a_stream_goes_on_after_a_restart_and_replays_only_what_the_index_lacks() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, index, _) = open(&table, HOT);
    submit_each(&log, 0..10, 3000);
    let upto = index.0.lock().unwrap().upto.unwrap();
    submit_each(&log, 10..400, 5000);
    drop((log, table));
    disk.kill();

    let table = segments(&disk);
    let (log, index, recovered) = open(
        &table,
        LogOptions {
            start: Start::After(upto),
            ..HOT
        },
    );
    assert_eq!(index.versions(), (10..400).collect::<Vec<_>>());
    assert_eq!(
        (recovered.sequence, recovered.batches, recovered.torn),
        (400, 390, false)
    );
    let before = table.all().len();
    let committed = run(log.submit(record(400, 1))).unwrap();
    assert_eq!(committed.sequence, 401);
    assert_eq!(table.all().len(), before, "a clean tail is continued, not wasted");
    drop((log, table));

    let (_, index, _) = open(&segments(&disk), HOT);
    assert_eq!(index.versions(), (0..=400).collect::<Vec<_>>());
    let (_, index, recovered) = open(
        &segments(&disk),
        LogOptions {
            start: Start::End,
            ..HOT
        },
    );
    assert!(index.versions().is_empty());
    assert_eq!(recovered.sequence, 401);
}

#[test]
fn a_failed_sync_seals_the_segment_and_the_record_goes_elsewhere() {
    for fault in [Fault::SyncFails, Fault::ShortWrite, Fault::WriteFull] {
        let disk = FaultDisk::new(64 << 20, 1);
        let table = segments(&disk);
        let (log, index, _) = open(&table, HOT);
        submit_each(&log, 0..3, 3000);
        disk.inject(fault, 0);
        submit_each(&log, 3..6, 3000);
        assert_eq!(disk.violations(), 0, "a failed segment is not touched again");
        let places: Vec<u64> = index
            .0
            .lock()
            .unwrap()
            .records
            .iter()
            .map(|r| r.1.segment)
            .collect();
        assert_eq!(places, [1, 1, 1, 2, 2, 2], "{fault:?}");
        drop((log, table));
        disk.crash(7);
        let (_, index, recovered) = open(&segments(&disk), HOT);
        assert_eq!(
            index.versions(),
            [0, 1, 2, 3, 4, 5],
            "{fault:?}: each once, in order"
        );
        assert!(
            index.0.lock().unwrap().records[3..]
                .iter()
                .all(|r| r.1.segment == 2)
        );
        assert_eq!(recovered.damaged, 0);
    }
}

#[test]
fn a_second_failure_makes_the_stream_read_only_and_answers_everyone() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, _, _) = open(&table, HOT);
    submit_each(&log, 0..1, 10);
    disk.inject(Fault::SyncFails, 0);
    disk.inject(Fault::ShortWrite, 2);
    let refused = run(log.submit(record(1, 10)));
    assert!(matches!(refused, Err(CommitError::ReadOnly(_))), "{refused:?}");
    assert!(matches!(
        run(log.submit(record(2, 10))),
        Err(CommitError::ReadOnly(_))
    ));
    assert!(matches!(run(log.flush()), Err(CommitError::ReadOnly(_))));
    assert!(log.read_only().is_some());
}

#[test]
fn an_index_that_refuses_makes_the_stream_read_only_and_the_record_is_replayed_later() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, index, _) = open(&table, HOT);
    index.0.lock().unwrap().refuse = true;
    assert!(matches!(
        run(log.submit(record(1, 10))),
        Err(CommitError::ReadOnly(_))
    ));
    drop((log, table));
    let (_, index, _) = open(&segments(&disk), HOT);
    assert_eq!(index.versions(), [1]);
}

#[test]
fn a_full_device_refuses_and_accepts_again_once_a_segment_is_released() {
    let disk = FaultDisk::new(3 * SEGMENT, 1);
    let table = segments(&disk);
    let (log, index, _) = open(&table, HOT);
    let mut number = 0;
    let refused = run(async {
        loop {
            match log.submit(record(number, 200_000)).await {
                Ok(_) => number += 1,
                Err(e) => return e,
            }
        }
    });
    assert!(matches!(refused, CommitError::Full), "{refused:?}");
    assert_eq!(number, 15, "five records of 200 kB in each of three segments");
    assert!(log.read_only().is_none());
    let small = run(log.submit(record(98, 10))).unwrap();
    assert_eq!(small.locator.segment, 3, "what still fits is still taken");
    assert!(
        table.release(3).is_err(),
        "a segment that is being written cannot be given away"
    );
    let reader = table.get(1).unwrap();
    table.release(1).unwrap();
    assert!(table.get(1).is_none());
    assert!(
        matches!(run(log.submit(record(99, 200_000))), Err(CommitError::Full)),
        "it is still being read"
    );
    drop(reader);
    let committed = run(log.submit(record(99, 200_000))).unwrap();
    assert_eq!(committed.locator.segment, 4, "an id is never given twice");
    drop((log, table));
    // Stale batches of the recycled file are not found again.
    let (_, index_again, _) = open(&segments(&disk), HOT);
    let mut expected: Vec<u64> = (5..15).collect();
    expected.extend([98, 99]);
    assert_eq!(index_again.versions(), expected);
    assert_eq!(index.versions().len(), 17);
}

#[test]
fn a_torn_tail_is_dropped_and_never_appended_to() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, index, _) = open(&table, HOT);
    submit_each(&log, 0..4, 9000);
    let last = index.0.lock().unwrap().records[3].1;
    drop((log, table));
    // The payload of the last batch did not all arrive.
    disk.flip_bit("0000000000000001", u64::from(last.offset) + 5000, 3);
    let table = segments(&disk);
    let (log, index, recovered) = open(&table, HOT);
    assert_eq!(index.versions(), [0, 1, 2]);
    assert!(recovered.torn);
    assert_eq!(recovered.damaged, 0, "a torn tail is not corruption");
    let committed = run(log.submit(record(9, 100))).unwrap();
    assert_eq!((committed.locator.segment, committed.sequence), (2, 4));
    drop((log, table));
    let (_, index, recovered) = open(&segments(&disk), HOT);
    assert_eq!(index.versions(), [0, 1, 2, 9]);
    assert!(!recovered.torn);
}

#[test]
fn a_damaged_batch_in_the_middle_is_reported_and_what_follows_is_applied() {
    // In the payload of a record, in a descriptor, in the batch header, in the magic.
    for (shift, lost_head) in [(5000_i64, true), (40, false), (-64 + 16, false), (-64, false)] {
        let disk = FaultDisk::new(64 << 20, 1);
        let table = segments(&disk);
        let (log, index, _) = open(&table, HOT);
        submit_each(&log, 0..6, 9000);
        let victim = index.0.lock().unwrap().records[2].1;
        drop((log, table));
        let at = u64::try_from(i64::from(victim.offset) + shift).unwrap();
        disk.flip_bit("0000000000000001", at, 1);
        let (_, index, recovered) = open(&segments(&disk), HOT);
        assert_eq!(index.versions(), [0, 1, 3, 4, 5], "shift {shift}");
        assert_eq!((recovered.damaged, recovered.torn), (1, false), "shift {shift}");
        let seen = index.0.lock().unwrap();
        assert_eq!(seen.damaged[0].1, lost_head.then_some(2), "shift {shift}");
    }
}

#[test]
fn damage_at_the_end_of_a_segment_is_proved_by_the_next_one() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, index, _) = open(&table, HOT);
    submit_each(&log, 0..7, 200_000);
    let victim = index.0.lock().unwrap().records[4].1;
    assert_eq!(victim.segment, 1, "the last of the first segment");
    drop((log, table));
    disk.flip_bit("0000000000000001", u64::from(victim.offset) - 64 + 20, 1);
    let (_, index, recovered) = open(&segments(&disk), HOT);
    assert_eq!(index.versions(), [0, 1, 2, 3, 5, 6]);
    assert_eq!((recovered.damaged, recovered.torn), (1, false));
}

#[test]
fn a_segment_that_was_given_back_is_no_damage_of_the_one_before_it() {
    // Untouched; then a bit of the magic, of the id and of the salt of the first segment's last batch.
    for rotten in [None, Some(0), Some(8), Some(56)] {
        let disk = FaultDisk::new(64 << 20, 1);
        let table = segments(&disk);
        let (log, index, _) = open(&table, HOT);
        submit_each(&log, 0..12, 200_000);
        let last = index.0.lock().unwrap().records[4].1;
        drop(log);
        table.release(2).unwrap();
        drop(table);
        if let Some(byte) = rotten {
            disk.flip_bit("0000000000000001", u64::from(last.offset) - 64 + byte, 1);
        }
        let (_, index, recovered) = open(&segments(&disk), HOT);
        let kept = if rotten.is_some() { 0..4 } else { 0..5 };
        assert_eq!(index.versions(), kept.chain(10..12).collect::<Vec<_>>());
        let damaged = u64::from(rotten.is_some());
        assert_eq!((recovered.damaged, recovered.missing), (damaged, 0), "{rotten:?}");
    }
}

#[test]
fn other_records_of_a_damaged_batch_are_saved() {
    // In a payload: only that record is lost. In a descriptor: what follows in the batch cannot be found.
    for (shift, lost) in [(400, 7..8), (20, 7..20)] {
        let disk = FaultDisk::new(64 << 20, 1);
        let table = segments(&disk);
        let tail = Tail {
            sequence: 0,
            open: None,
        };
        let mut writer = Writer::new(Arc::clone(&table), Stream::Hot, 0, tail);
        let mut victim = None;
        for numbers in [0..20, 20..21] {
            writer.make_room(1 << 18).unwrap();
            writer
                .write(numbers.map(|n| Bare(record(n, 700))).collect())
                .unwrap();
            let batch = writer.sync().unwrap().pop().unwrap();
            victim = victim.or(batch.locators().nth(7));
        }
        drop((writer, table));
        disk.flip_bit("0000000000000001", u64::from(victim.unwrap().offset) + shift, 1);
        let (_, index, recovered) = open(&segments(&disk), HOT);
        assert_eq!(
            index.versions(),
            (0..21).filter(|n| !lost.contains(n)).collect::<Vec<_>>()
        );
        assert_eq!(recovered.damaged, 1);
        assert_eq!(index.0.lock().unwrap().damaged[0].1, (shift == 400).then_some(7));
    }
}

#[test]
fn a_segment_whose_header_rotted_is_known_by_its_batches_and_never_reused() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, _, _) = open(&table, HOT);
    submit_each(&log, 0..3, 9000);
    drop((log, table));
    disk.flip_bit("0000000000000001", 40, 1);
    let table = segments(&disk);
    let (_, index, _) = open(&table, HOT);
    assert_eq!(index.versions(), [0, 1, 2]);
    assert_eq!(table.all()[0].id(), 1);
}

#[test]
fn payload_that_looks_like_a_batch_is_never_taken_for_one() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, index, _) = open(&table, HOT);
    submit_each(&log, 0..1, 100);
    // A batch for this very segment, all but the salt guessed, on every page of the payload of a torn record.
    let mut forged = vec![0; 64];
    let header = crate::batch::BatchHeader {
        segment: 1,
        sequence: 3,
        durable_upto: 2,
        length: 4096,
        records: 1,
        hlc: 0,
        stream: 1,
        last: false,
        salt: 0,
    };
    crate::batch::encode::write_header(&header, &mut forged);
    // Payload starts 64 + 100 + 1 bytes into the batch: pad so that pages align.
    let mut payload = vec![0; 4096 - (64 + 100 + 1)];
    for _ in 0..8 {
        payload.extend_from_slice(&forged);
        payload.resize(payload.len() + 4096 - 64, 0);
    }
    let head = *record(1, 0).head();
    let head = Head {
        size: payload.len() as u64,
        ..head
    };
    let evil = NewRecord::new(head, Bytes::from_static(b"1"), Bytes::from(payload)).unwrap();
    run(log.submit(evil)).unwrap();
    let victim = index.0.lock().unwrap().records[1].1;
    drop((log, table));
    disk.flip_bit("0000000000000001", u64::from(victim.offset) - 64 + 20, 0);
    let (_, index, recovered) = open(&segments(&disk), HOT);
    assert_eq!(index.versions(), [0]);
    assert_eq!(recovered.damaged, 0, "nothing genuine proves that it was durable");
}

#[test]
fn a_record_that_fits_no_segment_is_refused_at_once() {
    let disk = FaultDisk::new(64 << 20, 1);
    let (log, _, _) = open(&segments(&disk), HOT);
    let large = NewRecord::new(*record(1, 0).head(), Bytes::new(), Bytes::from(vec![0; 1 << 20])).unwrap();
    assert!(matches!(run(log.submit(large)), Err(CommitError::TooLarge(_))));
}

#[test]
fn files_of_another_device_are_refused() {
    let disk = FaultDisk::new(64 << 20, 1);
    let table = segments(&disk);
    let (log, _, _) = open(&table, HOT);
    submit_each(&log, 0..1, 10);
    let options = SegmentOptions {
        size: SEGMENT,
        spares: 0,
        background: false,
        clock: Arc::new(|| 5),
        threads: crate::threads::Threads::Os,
    };
    let other = Identity {
        device: [9; 16],
        secret: 1,
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    assert!(Segments::open(disk, other, options).is_err());
}
