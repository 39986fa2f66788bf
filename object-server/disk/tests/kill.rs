//! A process that appends to a real device and a real index is killed without warning, again and again: every
//! acknowledged record is there and right, and the index is exactly the log up to its position.
//!
//! `VIRGA_SOAK=1` makes it 200 times; `VIRGA_SEED` replays the moments of the kills (as far as a kill can be).

// Panicking is how a test fails, in its helpers too.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use virga_disk::batch::record::{Head, Kind, NewRecord};
use virga_disk::device::{Description, Device};
use virga_disk::io::fault::Chance;
use virga_disk::kv::cursor::Bounds;
use virga_disk::kv::{Durability, Family, FamilyOptions, Kv, KvCache, KvOptions, Wal};
use virga_disk::log::{
    Apply, ApplyError, Damaged, LogOptions, LogRecord, Recovered, SegLog, Start, SyncPolicy,
};
use virga_disk::reader::Reader;
use virga_disk::segment::table::{SegmentOptions, Segments};
use virga_disk::segment::{Locator, Position, Stream};

const OBJ: Family = Family("obj");
const SUM: Family = Family("sum");
const SYS: Family = Family("sys");
const CHILD: &str = "VIRGA_KILL_CHILD";

fn add(value: Option<&[u8]>, operands: &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>> {
    let number = |bytes: &[u8]| Some(u64::from_le_bytes(bytes.try_into().ok()?));
    let mut sum = value.map_or(Some(0), number)?;
    for operand in operands {
        sum += number(operand)?;
    }
    Some(sum.to_le_bytes().to_vec())
}

fn pack(place: Locator) -> Vec<u8> {
    [
        place.segment.to_be_bytes().as_slice(),
        &place.offset.to_be_bytes(),
        &place.length.to_be_bytes(),
    ]
    .concat()
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

struct Index(Arc<Kv>);

impl Apply for Index {
    type Outcome = ();

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        upto: Position,
        outcomes: &mut Vec<()>,
    ) -> Result<(), ApplyError> {
        let mut batch = self.0.batch();
        for record in records {
            batch.put(OBJ, &record.head.version.to_be_bytes(), &pack(record.locator));
            batch.merge(SUM, b"records", &1_u64.to_le_bytes());
            outcomes.push(());
        }
        let (sequence, segment) = (upto.sequence.to_be_bytes(), upto.segment.to_be_bytes());
        let position = [&sequence[..], &segment, &upto.offset.to_be_bytes()].concat();
        batch.put(SYS, b"applied", &position);
        self.0
            .write(batch, Durability::Buffered)
            .map_err(|e| ApplyError(e.to_string()))
    }

    fn damaged(&mut self, piece: Damaged<'_>) {
        panic!("a kill damaged something: {piece:?}");
    }
}

struct Node {
    log: SegLog<Index>,
    recovered: Recovered,
    index: Arc<Kv>,
    reader: Reader,
    _device: Device,
}

fn open(dir: &Path) -> Node {
    let fresh = Description::new(Uuid::from_u128(1), Uuid::from_u128(2), [7; 8]);
    let device = Device::open(dir, fresh).unwrap();
    let options = KvOptions {
        write_buffer: 1 << 20,
        ..KvOptions::new(Wal::Off, KvCache::new(8 << 20))
    };
    let families = [
        FamilyOptions::plain("obj"),
        FamilyOptions::merging("sum", "add", add),
        FamilyOptions::plain("sys"),
    ];
    let index = Arc::new(Kv::open(&device.index_path(), &options, &families).unwrap());
    let start = match index.get(SYS, b"applied").unwrap() {
        Some(p) => Start::After(Position {
            sequence: u64_at(&p, 0),
            segment: u64_at(&p, 8),
            offset: u32_at(&p, 16),
        }),
        None => Start::Beginning,
    };
    let options = SegmentOptions {
        size: 4 << 20,
        ..SegmentOptions::new(Arc::new(|| 1))
    };
    let segments = Segments::open(device.disk(), device.identity(), options).unwrap();
    let options = LogOptions {
        sync: SyncPolicy::EachBatch,
        start,
        reserve: 0,
    };
    let (log, recovered) = SegLog::open(&segments, Stream::Hot, options, Index(Arc::clone(&index))).unwrap();
    Node {
        log,
        recovered,
        index,
        reader: Reader::new(segments),
        _device: device,
    }
}

fn payload(number: u64) -> Bytes {
    let len = 1 + usize::try_from(number * 7919 % 8000).unwrap();
    let mut bytes = number.to_le_bytes().repeat(len / 8 + 1);
    bytes.truncate(len);
    bytes.into()
}

/// The process to be killed: appends for ever and says what was acknowledged.
fn child(dir: &Path, first: u64) {
    let node = open(dir);
    let index = Arc::clone(&node.index);
    // The index is flushed all the time, so that kills fall into flushes too.
    std::thread::spawn(move || while index.flush().is_ok() {});
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut number = first;
        let mut out = std::io::stdout().lock();
        loop {
            let mut tickets = Vec::new();
            for _ in 0..16 {
                let data = payload(number);
                let size = data.len() as u64;
                let head = Head {
                    kind: Kind::Object,
                    policy: 0,
                    partition: 0,
                    key: [0; 16],
                    version: number,
                    size,
                    blake3: [0; 32],
                    settled: false,
                };
                let record = NewRecord::new(head, Bytes::new(), data).unwrap();
                tickets.push((number, node.log.enqueue(record).await.unwrap()));
                number += 1;
            }
            for (number, ticket) in tickets {
                ticket.await.unwrap();
                writeln!(out, "ack {number}").unwrap();
            }
        }
    });
}

/// Runs a child until it has acknowledged `enough` records, kills it, and adds all it acknowledged.
fn run_and_kill(dir: &Path, first: u64, enough: usize, acknowledged: &mut BTreeSet<u64>) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "a_killed_process_loses_no_acknowledged_record",
            "--nocapture",
        ])
        .env(CHILD, format!("{first}:{}", dir.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut count = 0;
    for line in lines.map_while(Result::ok) {
        let Some(number) = line.strip_prefix("ack ").and_then(|n| n.parse().ok()) else {
            continue;
        };
        acknowledged.insert(number);
        count += 1;
        if count == enough {
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    assert!(count >= enough, "the child ended by itself after {count} records");
}

fn check(dir: &Path, acknowledged: &BTreeSet<u64>) {
    let node = open(dir);
    assert_eq!((node.recovered.damaged, node.recovered.missing), (0, 0));
    let mut found = BTreeSet::new();
    let mut cursor = node.index.cursor(OBJ, Bounds::all()).unwrap();
    cursor.first();
    while let Some((key, value)) = cursor.current().unwrap() {
        let number = u64_at(key, 0);
        let place = Locator {
            segment: u64_at(value, 0),
            offset: u32_at(value, 8),
            length: u32_at(value, 12),
        };
        let record = node.reader.record_blocking(place).unwrap();
        assert_eq!(record.head().version, number);
        assert_eq!(record.payload(), payload(number));
        found.insert(number);
        cursor.step();
    }
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let sum = node.index.get(SUM, b"records").unwrap().unwrap();
    assert_eq!(
        sum,
        (found.len() as u64).to_le_bytes(),
        "each record was merged exactly once"
    );
}

#[test]
fn a_killed_process_loses_no_acknowledged_record() {
    if let Ok(task) = std::env::var(CHILD) {
        let (first, dir) = task.split_once(':').unwrap();
        return child(Path::new(dir), first.parse().unwrap());
    }
    let seed = std::env::var("VIRGA_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(1);
    let cycles = if std::env::var_os("VIRGA_SOAK").is_some() {
        200
    } else {
        4
    };
    println!("seed {seed}, {cycles} kills");
    let mut chance = Chance::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for cycle in 0..cycles {
        let enough = 1 + chance.below(1500);
        run_and_kill(dir.path(), cycle * 1_000_000, enough, &mut acknowledged);
        check(dir.path(), &acknowledged);
    }
}
