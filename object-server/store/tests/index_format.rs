//! A device on its disk: nothing in its index but what the format says, and what
//! becomes of an index or a log that another version of the software wrote.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use support::{Bench, at, body, get, put, request};
use virga_disk::batch::record::{Head, Kind, NewRecord};
use virga_disk::kv::cursor::Bounds;
use virga_disk::kv::{Durability, Family, FamilyOptions, Kv, KvCache, KvOptions, Wal};
use virga_disk::log::{Apply, ApplyError, Damaged, LogOptions, LogRecord, SegLog, Start, SyncPolicy};
use virga_disk::segment::header::Identity;
use virga_disk::segment::table::{SegmentOptions, Segments};
use virga_disk::segment::{Position, Stream};
use virga_node::clock::Version;
use virga_object_store::OpenIndexError;
use virga_object_store::device::OpenError;
use virga_object_store::digest::{self, Sum};
use virga_object_store::entry::Entry;
use virga_object_store::keys::{self, NameKey};
use virga_object_store::live::Live;
use virga_object_store::record::{self, Facts, TombstoneHead};
use virga_object_store::rounds::LastRound;
use virga_object_store::sys::{self, Totals};
use virga_object_wire::object::PostMeta;

const FAMILIES: [Family; 6] = [keys::OBJ, keys::DUE, keys::WORK, keys::DIG, keys::SEG, keys::SYS];

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn add_live(value: Option<&[u8]>, operands: &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>> {
    let mut sum = value.map_or(Some(Live::default()), Live::decode)?;
    for operand in operands {
        sum = sum.plus(Live::decode(operand)?);
    }
    Some(sum.encode().to_vec())
}

fn add_sum(value: Option<&[u8]>, operands: &mut dyn Iterator<Item = &[u8]>) -> Option<Vec<u8>> {
    let mut sum = value.map_or(Some(Sum::default()), Sum::decode)?;
    for operand in operands {
        sum = sum.plus(Sum::decode(operand)?);
    }
    Some(sum.encode().to_vec())
}

fn database(path: &Path) -> Kv {
    let families = [
        FamilyOptions::plain("obj"),
        FamilyOptions::plain("due"),
        FamilyOptions::plain("work"),
        FamilyOptions::merging("dig", "virga.sum.1", add_sum),
        FamilyOptions::merging("seg", "virga.live.1", add_live),
        FamilyOptions::merging("sys", "virga.live.1", add_live),
    ];
    Kv::open(path, &KvOptions::new(Wal::Off, KvCache::new(1 << 20)), &families).unwrap()
}

fn rows(kv: &Kv, family: Family) -> Rows {
    let mut rows = Rows::new();
    let mut cursor = kv.cursor(family, Bounds::all()).unwrap();
    cursor.first();
    while let Some((key, value)) = cursor.current().unwrap() {
        rows.insert(key.to_vec(), value.to_vec());
        cursor.step();
    }
    rows
}

/// Lets a device write something of everything.
async fn live(bench: &Bench) {
    let device = bench.device();
    let small = body(100, 1);
    for name in ["kept", "deleted", "posted", "expiring", "elsewhere"] {
        let mut request = request(name, bench.next_version(), &small);
        if name == "expiring" {
            request.meta.delete_at = Some(support::START + 1000);
        }
        request.handoff_for = (name == "elsewhere").then_some(5);
        put(device, request, &small).await.unwrap();
    }
    let large = body(3 << 20, 2);
    put(device, request("large", bench.next_version(), &large), &large)
        .await
        .unwrap();
    let update = PostMeta::default();
    device
        .post(&at("posted"), bench.next_version(), update)
        .await
        .unwrap();
    device
        .delete(&at("deleted"), bench.next_version(), "a/c/deleted")
        .await
        .unwrap();
}

fn check_sys(rows: &Rows) {
    for (key, value) in rows {
        match key.as_slice() {
            b"whole" => assert_eq!(value[..], [4, 0, 0, 0]),
            b"totals" => assert_eq!(Totals::decode(value).unwrap().objects, 5),
            b"applied/hot" | b"applied/bulk" | b"applied/gc" => {
                let position = sys::decode_position(value).unwrap();
                assert_eq!(sys::encode_position(position)[..], value[..]);
            }
            other => panic!("unknown key {}", String::from_utf8_lossy(other)),
        }
    }
}

#[tokio::test]
async fn every_row_of_the_index_is_what_the_format_says() {
    let mut bench = Bench::small();
    live(&bench).await;
    let mut found: BTreeMap<&str, Rows> = BTreeMap::new();
    let reopened = bench
        .restart_after(|path| {
            let kv = database(path);
            found.extend(FAMILIES.map(|family| (family.0, rows(&kv, family))));
        })
        .await;
    reopened.unwrap();
    let mut entries = BTreeMap::new();
    for (key, value) in &found["obj"] {
        let (name, entry) = (NameKey::parse(key).unwrap(), Entry::decode(value).unwrap());
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(&bytes, value);
        entries.insert(name, entry);
    }
    assert_eq!(entries.len(), 6);
    let expiring = NameKey::of(&at("expiring"));
    let due: Vec<_> = found["due"]
        .iter()
        .map(|(key, value)| (keys::parse_due(key).unwrap(), value.len()))
        .collect();
    assert_eq!(due, [((support::START + 1000, expiring), 0)]);
    for (key, value) in &found["work"] {
        let (name, _) = keys::parse_work(key).unwrap();
        assert!(entries.contains_key(&name) && value.is_empty());
    }
    let mut sums = Rows::new();
    for (name, entry) in &entries {
        let key = keys::digest(name).to_vec();
        let before = sums
            .get(&key)
            .and_then(|sum| Sum::decode(sum))
            .unwrap_or_default();
        sums.insert(key, before.plus(digest::of(name, entry)).encode().to_vec());
    }
    assert_eq!(found["dig"], sums);
    let named: u64 = entries
        .values()
        .flat_map(Entry::keeps)
        .map(|(_, bytes)| bytes)
        .sum();
    let lives = found["seg"].iter().map(|(key, value)| {
        assert_eq!(key.len(), 8);
        Live::decode(value).unwrap().bytes
    });
    assert_eq!(lives.sum::<i64>(), i64::try_from(named).unwrap());
    check_sys(&found["sys"]);
    // Nothing was moved, so that `gc` has no position.
    assert_eq!(found["sys"].len(), 2 + 2);
}

/// Writes another format into a closed index, and a row that could not be read.
fn foreign(path: &Path, format: &[u8]) {
    let kv = database(path);
    let mut batch = kv.batch();
    batch.put(keys::SYS, sys::WHOLE, format);
    batch.put(keys::SEG, &[0; 8], b"unreadable");
    kv.write(batch, Durability::Buffered).unwrap();
    kv.flush().unwrap();
}

#[tokio::test]
async fn an_index_of_a_newer_format_is_refused_and_left_alone() {
    let mut bench = Bench::small();
    live(&bench).await;
    let opened = bench.restart_after(|path| foreign(path, &[5, 0, 0, 0])).await;
    let error = opened.unwrap_err();
    assert!(
        matches!(error, OpenError::Index(OpenIndexError::Newer(5))),
        "{error}"
    );
    assert!(error.to_string().contains("format 5"), "{error}");
    // Deleted by hand it is built anew.
    let opened = bench.restart_after(|path| {
        assert_eq!(rows(&database(path), keys::OBJ).len(), 6);
        std::fs::remove_dir_all(path).unwrap();
    });
    opened.await.unwrap();
    assert_eq!(get(bench.device(), "kept").await, Ok(Some(body(100, 1))));
}

#[tokio::test]
async fn an_index_of_an_older_format_is_built_anew_from_the_log() {
    for older in [&[0; 4][..], &[1, 0, 0, 0], &[3, 0, 0, 0], &[0; 16], &[]] {
        let mut bench = Bench::small();
        live(&bench).await;
        // Without the queue: its room comes back a moment after an answer.
        let stored = |bench: &Bench| {
            let stats = bench.device().stats();
            (stats.objects, stats.bytes, stats.quarantined)
        };
        let before = stored(&bench);
        bench.restart_after(|path| foreign(path, older)).await.unwrap();
        assert_eq!(stored(&bench), before);
        assert_eq!(get(bench.device(), "large").await, Ok(Some(body(3 << 20, 2))));
        assert_eq!(get(bench.device(), "deleted").await, Ok(None));
    }
}

#[tokio::test]
async fn an_index_that_was_never_finished_is_gone_on_with() {
    let unfinished = |path: &Path, begun: &[u8]| {
        let kv = database(path);
        let mut batch = kv.batch();
        batch.delete(keys::SYS, sys::WHOLE);
        batch.put(keys::SYS, sys::BEGUN, begun);
        // As if the replay of the log's first part were all there was.
        batch.delete(keys::SYS, &sys::applied(Stream::Bulk));
        kv.write(batch, Durability::Buffered).unwrap();
        kv.flush().unwrap();
    };
    for (begun, goes_on) in [(sys::FORMAT, true), (sys::FORMAT - 1, false)] {
        let mut bench = Bench::small();
        live(&bench).await;
        let round = LastRound::default();
        bench.device().note_round(0, round).unwrap();
        bench
            .restart_after(|path| unfinished(path, &sys::encode_format(begun)))
            .await
            .unwrap();
        // What no log brings back shows whether it was begun again.
        let noted = bench.device().last_round(0).unwrap();
        assert_eq!(noted, goes_on.then_some(round));
        assert_eq!(get(bench.device(), "large").await, Ok(Some(body(3 << 20, 2))));
        assert_eq!(get(bench.device(), "kept").await, Ok(Some(body(100, 1))));
        let mut found = Vec::new();
        let reopened = bench.restart_after(|path| found.extend(rows(&database(path), keys::SYS)));
        reopened.await.unwrap();
        let found: Rows = found.into_iter().collect();
        assert!(found.contains_key(sys::WHOLE) && !found.contains_key(sys::BEGUN));
    }
}

/// Applies nothing.
struct Deaf;

impl Apply for Deaf {
    type Outcome = ();

    fn apply(
        &mut self,
        records: &[LogRecord<'_>],
        _: Position,
        outcomes: &mut Vec<()>,
    ) -> Result<(), ApplyError> {
        outcomes.extend(records.iter().map(|_| ()));
        Ok(())
    }

    fn damaged(&mut self, piece: Damaged<'_>) {
        panic!("damage at {}", piece.offset);
    }
}

/// Writes a tombstone with this metadata behind everything in the closed device's
/// `hot` log.
async fn append(bench: &Bench, version: Version, meta: Vec<u8>) {
    let options = SegmentOptions {
        size: bench.options.segment_size,
        background: false,
        ..SegmentOptions::new(Arc::new(move || version.0))
    };
    let identity = Identity {
        device: [7; 16],
        secret: 77,
    };
    let segments = Segments::open(Arc::new(bench.disk.clone()), identity, options).unwrap();
    let options = LogOptions {
        sync: SyncPolicy::EachBatch,
        start: Start::Beginning,
        reserve: 0,
    };
    let (log, _) = SegLog::open(&segments, Stream::Hot, options, Deaf).unwrap();
    let head = Head {
        kind: Kind::Tombstone,
        policy: 0,
        partition: at("kept").partition.0,
        key: at("kept").hash.0,
        version: version.0,
        size: 0,
        blake3: [0; 32],
        settled: false,
    };
    log.submit(NewRecord::new(head, meta.into(), Bytes::new()).unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_log_with_metadata_of_a_newer_version_is_not_opened() {
    for newer in [false, true] {
        let mut bench = Bench::small();
        live(&bench).await;
        let version = bench.next_version();
        let path = "a/c/kept".to_owned();
        let mut meta = record::encode(Facts::default(), &TombstoneHead { path }).unwrap();
        if newer {
            meta[0] = record::VERSION + 1;
        }
        bench.close().await;
        append(&bench, version, meta).await;
        let opened = bench.open();
        if newer {
            let error = opened.unwrap_err().to_string();
            assert!(error.contains("metadata is of version 2"), "{error}");
        } else {
            opened.unwrap();
            assert_eq!(
                get(bench.device(), "kept").await,
                Ok(None),
                "the record is applied"
            );
        }
    }
}
