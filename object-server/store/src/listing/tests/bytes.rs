//! Bytes at rest: what they are, and that no others are taken for them. The
//! tables are in `docs/formats/listing.md`.
use proptest::collection::vec;
use proptest::prelude::*;

use virga_object_wire::listing::row_hash;

use super::*;
use crate::listing::head::{Head, Kind};
use crate::listing::meta::Meta;
use crate::listing::row::{Listed, Value, digest};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stored(value: Value<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

#[test]
fn rows_of_format_1_have_these_bytes() {
    let row = ObjectRow {
        version: Version(0x0102),
        meta_version: Version(0x0102),
        ..object("o", 0, 300)
    };
    let plain = "01060201000000000000ac02d41d8cd98f00b204e9800998ecf8427e0a746578742f706c61696e";
    assert_eq!(hex(&stored(Value::from(&row))), plain);
    let posted = ObjectRow {
        meta_version: Version(0x0203),
        etag: "e-1".into(),
        content_type: "a".into(),
        ..row.clone()
    };
    assert_eq!(
        hex(&stored(Value::from(&posted))),
        "010002010000000000000302000000000000ac0203652d310161"
    );
    let gone = ObjectRow {
        deleted: true,
        content_type: String::new(),
        ..row
    };
    assert_eq!(hex(&stored(Value::from(&gone))), "0105020100000000000000");
    let container = ContainerRow {
        name: "c".into(),
        put: Version(1),
        deleted: Version(2),
        policy: 3,
        counted: Version(4),
        objects: 5,
        bytes: 6,
    };
    let bytes = "02010000000000000002000000000000000400000000000000030506";
    assert_eq!(hex(&stored(Value::from(&container))), bytes);
    assert_eq!(format!("{:032x}", digest(b"o", b"value")), DIGEST);
}

/// Replicas of different releases compare digests: the sum is a format too.
const DIGEST: &str = "a6c2646e1d29f1d57d4708eb5429e7ec";
const SHARD_SUM: &str = "14152974d5804fb3e88f10addd00b143";
const META_SUM: &str = "8f08a7ad50ae57cffcd1b22ceb250c6f";
const NAME_HASH: &str = "f8894bbbc3c264ca";

#[test]
fn heads_and_metadata_have_these_bytes() {
    let mut head = Head::new(Kind::Account, 300);
    (head.created, head.put, head.deleted) = (Version(1), Version(2), Version(3));
    (head.rows, head.live, head.bytes, head.digest) = (4, 5, 6, 7);
    head.recount(crate::listing::row::Weight {
        policy: 1,
        objects: 2,
        bytes: 3,
    });
    let bytes = head.encode().unwrap();
    assert_eq!(hex(&bytes), "0201ac0201020300000406090700000101010203000000");
    assert_eq!(Head::decode(&bytes), Some(head.clone()));
    // Format 1 ended before the last three fields.
    let old = [&[1], &bytes[1..bytes.len() - 3]].concat();
    assert_eq!(
        (Head::decode(&old), Head::decode_old(&old)),
        (None, Some(head.clone()))
    );
    let sum = head.sum(NameHash([7; 16])).unwrap();
    assert_eq!(format!("{sum:032x}"), SHARD_SUM);
    let mut meta = Meta::default();
    (meta.account, meta.container) = ("a".into(), "c".into());
    let set = [MetaItem {
        name: "n".into(),
        value: "v".into(),
        version: Version(300),
    }];
    meta.set(&set, Version(0), Version(0));
    let bytes = meta.encode().unwrap();
    assert_eq!(hex(&bytes), "010161016301016e0176ac02");
    let sums = (
        format!("{:032x}", meta.digest()),
        format!("{:016x}", row_hash("o")),
    );
    assert_eq!(sums, (META_SUM.to_owned(), NAME_HASH.to_owned()));
    assert_eq!(Meta::decode(&bytes), Some(meta));
}

proptest! {
    #[test]
    fn whatever_bytes_decode_encode_to_themselves_or_nothing_breaks(bytes in vec(any::<u8>(), 0..80), tag in 0..4u8) {
        let bytes = [&[tag][..], &bytes].concat();
        if let Some(value) = Value::decode(&bytes) {
            let again = stored(value);
            prop_assert_eq!(Value::decode(&again), Some(value));
        }
        drop((Head::decode(&bytes), Meta::decode(&bytes)));
    }

    #[test]
    fn a_row_comes_back_as_it_was_stored(
        versions in any::<(u64, u64)>(), size in any::<u64>(), etag in "[0-9a-f]{32}|.{0,8}", kind in ".{0,20}",
    ) {
        let (version, later) = (versions.0.min(versions.1), versions.0.max(versions.1));
        let row = ObjectRow {
            name: "n".into(),
            version: Version(version),
            meta_version: Version(later),
            size,
            etag,
            content_type: kind,
            deleted: false,
        };
        let bytes = stored(Value::from(&row));
        let back = ObjectRow::listed("n", Value::decode(&bytes).unwrap());
        prop_assert_eq!(back, Some(row));
        for cut in 0..bytes.len() {
            prop_assert_eq!(Value::decode(&bytes[..cut]), None);
        }
    }
}
