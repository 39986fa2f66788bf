//! Bytes at rest: what is written today, what earlier versions wrote, and what
//! decoders make of any bytes.
//! The format is described in `docs/formats/object.md`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a test fails"
)]
use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use virga_disk::segment::{Locator, Position, Stream};
use virga_node::clock::Version;
use virga_object_store::digest::{self, Sum};
use virga_object_store::entry::{Entry, Kind, Post, Winner};
use virga_object_store::keys::{self, NameKey};
use virga_object_store::live::Live;
use virga_object_store::record::{self, Basis, CommitHead, Facts, Run, TombstoneHead};
use virga_object_store::rounds::LastRound;
use virga_object_store::sys::{self, Totals};
use virga_object_wire::object::{Listed, ObjectMeta, PostMeta};
use virga_object_wire::posted::{PostRank, Posted};
use virga_ring::hash::NameHash;
use virga_ring::{Partition, RingId};

#[path = "../../../fuzz/bodies/object_index.rs"]
mod object_index;
#[path = "../../../fuzz/bodies/object_record.rs"]
mod object_record;

const RECORDS: &str = include_str!("../golden/record-v1.txt");
const UPDATES: &str = include_str!("../golden/record-v2.txt");
const INDEX: &str = include_str!("../golden/index-v4.txt");

/// A golden file: a name and bytes in hex on each line.
fn lines(text: &str) -> Vec<(&str, Vec<u8>)> {
    let line = |line| {
        let (name, hex): (&str, &str) = str::split_once(line, ' ').expect("a name and bytes");
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        (name, (0..hex.len()).step_by(2).map(byte).collect())
    };
    text.lines().map(line).collect()
}

fn golden(text: &str, name: &str) -> Vec<u8> {
    let found = lines(text).into_iter().find(|(named, _)| *named == name);
    found.unwrap_or_else(|| panic!("nothing is named {name}")).1
}

fn assert_golden(text: &str, samples: &[(&str, Vec<u8>)]) {
    let mut written = String::new();
    for (name, bytes) in samples {
        write!(written, "{name} ").unwrap();
        for byte in bytes {
            write!(written, "{byte:02x}").unwrap();
        }
        written.push('\n');
    }
    assert!(text == written, "the format has changed; today it is\n{written}");
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

const FACTS: Facts = Facts {
    delete_at: Some(1_800_000_000),
    handoff_for: Some(300),
};

fn object() -> ObjectMeta {
    ObjectMeta {
        path: "AUTH_a/c/ö".into(),
        content_type: "text/plain".into(),
        etag: "d41d8cd98f00b204e9800998ecf8427e".into(),
        delete_at: Some(1_800_000_000),
        headers: vec![pair("x-object-meta-a", "1"), pair("content-encoding", "gzip")],
        sysmeta: vec![pair("x-static-large-object", "true")],
        listed: Some(Listed {
            size: 1 << 40,
            etag: "e".into(),
        }),
    }
}

fn least() -> ObjectMeta {
    ObjectMeta {
        path: "a/c/o".into(),
        ..ObjectMeta::default()
    }
}

fn commit() -> CommitHead {
    CommitHead {
        moves: 1,
        runs: vec![
            Run {
                segment: 258,
                offset: 4096,
                length: 1_048_736,
                stride: 1_052_672,
                count: 60,
            },
            Run {
                segment: 1 << 40,
                offset: 4160,
                length: 228,
                stride: 0,
                count: 1,
            },
        ],
        meta: least(),
    }
}

fn tombstone() -> TombstoneHead {
    TombstoneHead { path: "a/c/o".into() }
}

fn post() -> PostMeta {
    PostMeta {
        content_type: Some("image/png".into()),
        delete_at: Some(7),
        headers: vec![pair("x-object-meta-b", "")],
    }
}

fn place(segment: u64) -> Locator {
    Locator {
        segment,
        offset: 0x0a0b_0c0d,
        length: 0x0102_0304,
    }
}

/// Entries of every kind, by name.
fn entries() -> Vec<(&'static str, Entry)> {
    let winner = |kind, size, extents| Winner {
        kind,
        version: Version(0x1122_3344_5566_7788),
        blake3: std::array::from_fn(|n| n as u8),
        size,
        moves: 0,
        place: place(9),
        extents,
    };
    let update = Post {
        rank: PostRank {
            over: Version(0x1122_3344_5566_7788),
            version: Version(0x1122_3344_5566_7799),
            typed: Version(0x1122_3344_5566_7790),
            tie: 0xfeed_beef_0000_0001,
        },
        place: place(10),
    };
    let entry = |winner, post, delete_at| Entry {
        winner,
        post,
        delete_at,
    };
    let moved = Winner {
        moves: 2,
        ..winner(Kind::Commit, 3 << 20, vec![(9, 2_097_472), (1 << 33, 1_048_736)])
    };
    let gone = Winner {
        blake3: [0; 32],
        ..winner(Kind::Tombstone, 0, vec![])
    };
    vec![
        (
            "obj.object",
            entry(Some(winner(Kind::Object, 513, vec![])), None, None),
        ),
        (
            "obj.commit",
            entry(Some(moved), Some(update.clone()), Some(1_800_000_000)),
        ),
        ("obj.tombstone", entry(Some(gone), None, None)),
        ("obj.post", entry(None, Some(update), None)),
    ]
}

fn name() -> NameKey {
    let hash = std::array::from_fn(|n| 0xa0 + n as u8);
    NameKey::new(2, Partition(0x0001_0203), NameHash(hash))
}

const POSITION: Position = Position {
    sequence: 0x0102_0304_0506_0708,
    segment: 77,
    offset: 0x0004_1000,
};
const SUM: Sum = Sum {
    sum: 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100,
    count: 300,
};
const LIVE: Live = Live {
    bytes: 1 << 20,
    refs: -2,
};
const TOTALS: Totals = Totals {
    objects: 3,
    bytes: 1 << 33,
};
const VERSION: Version = Version(0x1122_3344_5566_7788);
const ROUND: LastRound = LastRound {
    started: VERSION,
    ring: RingId {
        version: 258,
        digest: [0xb0; 16],
    },
};

#[test]
fn version_1_metadata_is_written_in_these_bytes() {
    let none = Facts::default();
    assert_golden(
        RECORDS,
        &[
            ("object", record::encode(FACTS, &object()).unwrap()),
            ("object.least", record::encode(none, &least()).unwrap()),
            ("commit", record::encode(none, &commit()).unwrap()),
            ("tombstone", record::encode(none, &tombstone()).unwrap()),
            // Updates were written like this until version 2.
            ("meta", record::encode(FACTS, &post()).unwrap()),
            ("meta.least", record::encode(none, &PostMeta::default()).unwrap()),
        ],
    );
}

const BASIS: Basis = Basis {
    over: Version(0x1122_3344_5566_7788),
    typed: Version(0x1122_3344_5566_7790),
};
const LEAST_BASIS: Basis = Basis {
    over: Version(1),
    typed: Version(0),
};
const UPDATED: Version = Version(0x1122_3344_5566_7799);

fn update(basis: Basis, meta: PostMeta) -> Posted {
    Posted {
        over: basis.over,
        version: UPDATED,
        typed: basis.typed,
        blake3: [9; 32],
        meta,
    }
}

#[test]
fn version_2_updates_are_written_in_these_bytes() {
    let none = Facts::default();
    let least = record::encode_update(none, LEAST_BASIS, &PostMeta::default()).unwrap();
    let full = record::encode_update(FACTS, BASIS, &post()).unwrap();
    assert_golden(UPDATES, &[("meta", full), ("meta.least", least)]);
}

#[test]
fn updates_of_both_versions_are_read_from_these_bytes() {
    let read = |text, name| record::decode_update(&golden(text, name), UPDATED, [9; 32]);
    let facts = record::update_facts(&golden(UPDATES, "meta"), UPDATED);
    assert_eq!(facts, Ok((FACTS, BASIS)));
    assert_eq!(read(UPDATES, "meta"), Ok(update(BASIS, post())));
    let least = update(LEAST_BASIS, PostMeta::default());
    assert_eq!(read(UPDATES, "meta.least"), Ok(least));
    // What they are based on, the first ones do not say.
    let before = |typed| Basis {
        over: Version(UPDATED.0 - 1),
        typed,
    };
    assert_eq!(read(RECORDS, "meta"), Ok(update(before(UPDATED), post())));
    let least = update(before(Version(0)), PostMeta::default());
    assert_eq!(read(RECORDS, "meta.least"), Ok(least));
}

#[test]
fn version_1_metadata_is_read_from_these_bytes() {
    let read = |name| golden(RECORDS, name);
    for (name, facts) in [("object", FACTS), ("commit", Facts::default())] {
        assert_eq!(record::facts(&read(name)), Ok(facts), "{name}");
    }
    assert_eq!(record::decode(&read("object")), Ok(object()));
    assert_eq!(record::decode(&read("object.least")), Ok(least()));
    assert_eq!(record::decode(&read("commit")), Ok(commit()));
    assert_eq!(record::decode(&read("tombstone")), Ok(tombstone()));
}

#[test]
fn format_4_of_the_index_is_written_in_these_bytes() {
    let mut samples = vec![("obj.key", name().0.to_vec())];
    let entries = entries();
    for (sample, entry) in &entries {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        samples.push((sample, bytes));
    }
    samples.extend([
        ("due.key", keys::due(1_800_000_000, &name()).to_vec()),
        ("work.row", keys::work(&name(), VERSION).to_vec()),
        ("dig.key", keys::digest(&name()).to_vec()),
        ("dig.value", SUM.encode().to_vec()),
        ("seg.value", LIVE.encode().to_vec()),
        ("sys.whole.value", sys::encode_format(sys::FORMAT).to_vec()),
        ("sys.applied", sys::applied(Stream::Hot)),
        ("sys.applied.value", sys::encode_position(POSITION).to_vec()),
        ("sys.totals.value", TOTALS.encode().to_vec()),
        ("sys.round", sys::round(2)),
        ("sys.round.value", sys::encode_round(ROUND).to_vec()),
        ("sys.horizon", sys::horizon(2)),
        ("sys.horizon.value", sys::encode_version(VERSION).to_vec()),
    ]);
    // What an entry adds to a digest is compared between devices.
    for ((sample, entry), named) in
        entries
            .iter()
            .zip(["sum.object", "sum.commit", "sum.tombstone", "sum.post"])
    {
        assert_eq!(
            sample.split_once('.').unwrap().1,
            named.split_once('.').unwrap().1
        );
        samples.push((named, digest::of(&name(), entry).encode().to_vec()));
    }
    assert_golden(INDEX, &samples);
    assert_eq!((sys::WHOLE, Totals::KEY), (&b"whole"[..], &b"totals"[..]));
}

#[test]
fn format_4_of_the_index_is_read_from_these_bytes() {
    let read = |name| golden(INDEX, name);
    for (sample, entry) in entries() {
        assert_eq!(Entry::decode(&read(sample)), Ok(entry), "{sample}");
    }
    assert_eq!(NameKey::parse(&read("obj.key")), Some(name()));
    assert_eq!(keys::parse_due(&read("due.key")), Some((1_800_000_000, name())));
    assert_eq!(keys::parse_work(&read("work.row")), Some((name(), VERSION)));
    assert_eq!(
        keys::parse_digest(&read("dig.key")),
        Some((2, name().partition(), 0xaf))
    );
    assert_eq!(Sum::decode(&read("dig.value")), Some(SUM));
    assert_eq!(Live::decode(&read("seg.value")), Some(LIVE));
    assert_eq!(sys::decode_format(&read("sys.whole.value")), Some(4));
    assert_eq!(sys::decode_round(&read("sys.round.value")), Some(ROUND));
    assert_eq!(sys::decode_version(&read("sys.horizon.value")), Some(VERSION));
    assert_eq!(sys::decode_position(&read("sys.applied.value")), Some(POSITION));
    assert_eq!(Totals::decode(&read("sys.totals.value")), Some(TOTALS));
}

fn header() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((".{0,12}", ".{0,12}"), 0..4)
}

fn any_object() -> impl Strategy<Value = ObjectMeta> {
    let listed = proptest::option::of((any::<u64>(), ".{0,5}"));
    let texts = (".{0,20}", ".{0,20}", ".{0,20}");
    (texts, any::<Option<u64>>(), header(), header(), listed).prop_map(
        |((path, content_type, etag), delete_at, headers, sysmeta, listed)| ObjectMeta {
            path,
            content_type,
            etag,
            delete_at,
            headers,
            sysmeta,
            listed: listed.map(|(size, etag)| Listed { size, etag }),
        },
    )
}

fn any_facts() -> impl Strategy<Value = Facts> {
    (any::<Option<u64>>(), any::<Option<u32>>()).prop_map(|(delete_at, handoff_for)| Facts {
        delete_at,
        handoff_for,
    })
}

fn any_place() -> impl Strategy<Value = Locator> {
    (any::<u64>(), 0..1u32 << 30, 0..1u32 << 21).prop_map(|(segment, offset, length)| Locator {
        segment,
        offset,
        length,
    })
}

/// Golden bytes with a few of them changed, cut or doubled: reaches further than
/// chance would.
fn edited(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let samples: Vec<_> = lines(text).into_iter().map(|(_, bytes)| bytes).collect();
    let edits = vec((any::<proptest::sample::Index>(), any::<u8>(), 0..4u8), 1..6);
    (proptest::sample::select(samples), edits).prop_map(|(mut bytes, edits)| {
        for (at, byte, how) in edits {
            let at = at.index(bytes.len() + 1);
            match how {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, byte),
                _ if at < bytes.len() => bytes[at] = byte,
                _ => bytes.push(byte),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_metadata_reads_back_as_it_was_written(
        facts in any_facts(), meta in any_object(), moves in any::<u32>(), places in vec(any_place(), 0..20)
    ) {
        let bytes = record::encode(facts, &meta).unwrap();
        prop_assert_eq!(record::facts(&bytes), Ok(facts));
        prop_assert_eq!(record::decode(&bytes), Ok(meta.clone()));
        let update = PostMeta {
            content_type: Some(meta.content_type.clone()),
            delete_at: meta.delete_at,
            headers: meta.headers.clone(),
        };
        let basis = Basis { over: Version(u64::from(moves)), typed: Version(7) };
        let bytes = record::encode_update(facts, basis, &update).unwrap();
        let read = record::decode_update(&bytes, Version(9), [1; 32]).unwrap();
        prop_assert_eq!((read.over, read.typed, read.meta), (basis.over, basis.typed, update));
        for cut in 0..bytes.len() {
            prop_assert!(record::decode_update(&bytes[..cut], Version(9), [1; 32]).is_err());
        }
        let commit = CommitHead { moves, runs: record::pack(&places), meta };
        let bytes = record::encode(facts, &commit).unwrap();
        prop_assert_eq!(record::decode(&bytes), Ok(commit));
        for cut in 0..bytes.len() {
            prop_assert!(record::decode::<CommitHead>(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn no_bytes_upset_the_metadata_decoders(data in vec(any::<u8>(), 0..300)) {
        object_record::chew(&data);
    }

    #[test]
    fn no_edit_of_metadata_upsets_its_decoders(data in edited(RECORDS)) {
        object_record::chew(&data);
    }

    #[test]
    fn no_bytes_upset_the_index_decoders(data in vec(any::<u8>(), 0..150)) {
        object_index::chew(&data);
    }

    #[test]
    fn no_edit_of_the_index_upsets_its_decoders(data in edited(INDEX)) {
        object_index::chew(&data);
    }
}
