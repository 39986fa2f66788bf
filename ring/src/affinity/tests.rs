//! Affinity values: what Swift makes of them (golden answers), and what an
//! operator is told of a wrong one.
use serde_json::Value;

use super::*;
use crate::{DeviceId, Partition, file};

/// What Swift 2.30 answers; `orders` are of the ring in `swift-v1.ring.gz`, for
/// partitions 0, 5, 10 and 15.
const SWIFT: &str = include_str!("../../golden/swift-affinity.json");
const RING: &[u8] = include_bytes!("../../golden/swift-v1.ring.gz");

fn swift() -> Value {
    serde_json::from_str(SWIFT).unwrap()
}

fn devices() -> Vec<Device> {
    let device = |place: &Value| {
        serde_json::from_value(serde_json::json!({
            "id": 0, "region": place[0], "zone": place[1], "ip": "10.0.0.1", "port": 6200,
            "device": "sda", "weight": 1.0,
        }))
        .unwrap()
    };
    swift()["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(device)
        .collect()
}

fn texts(list: &Value) -> Vec<String> {
    serde_json::from_value(list.clone()).unwrap()
}

#[test]
fn read_affinity_gives_the_priorities_that_swift_gives() {
    for case in swift()["read"].as_array().unwrap() {
        let value = case[0].as_str().unwrap();
        let affinity = ReadAffinity::parse(value).unwrap();
        let found: Vec<u64> = devices().iter().map(|d| affinity.priority(d)).collect();
        if affinity.is_empty() {
            // Swift sorts by 0 then, we by another constant: no order either way.
            assert!(found.iter().all(|&p| p == UNNAMED_PRIORITY), "{value}");
        } else {
            assert_eq!(serde_json::json!(found), case[1], "{value}");
        }
    }
}

#[test]
fn write_affinity_calls_local_what_swift_calls_local() {
    for case in swift()["write"].as_array().unwrap() {
        let affinity = WriteAffinity::parse(case[0].as_str().unwrap()).unwrap();
        let found: Vec<bool> = devices().iter().map(|d| affinity.is_local(d)).collect();
        assert_eq!(serde_json::json!(found), case[1], "{}", case[0]);
    }
    let none = WriteAffinity::parse(" ").unwrap();
    assert!(none.is_empty() && devices().iter().all(|d| none.is_local(d)));
}

#[test]
fn local_nodes_come_first_in_swifts_order_and_none_is_left_out() {
    let ring = file::decode(RING).unwrap();
    for case in swift()["orders"].as_array().unwrap() {
        let affinity = WriteAffinity::parse(case[0].as_str().unwrap()).unwrap();
        let count = case[1].as_u64().unwrap() as usize;
        for (part, expected) in [0, 5, 10, 15].into_iter().zip(case[2].as_array().unwrap()) {
            let nodes = ring
                .primaries(Partition(part))
                .chain(ring.handoffs(Partition(part)))
                .map(|(_, device)| device);
            let found: Vec<DeviceId> = affinity.local_first(nodes, count).map(|d| d.id).collect();
            assert_eq!(
                serde_json::json!(found),
                *expected,
                "{} {count} of {part}",
                case[0]
            );
        }
    }
}

#[test]
fn what_swift_refuses_is_refused() {
    for value in texts(&swift()["bad_read"]) {
        assert!(ReadAffinity::parse(&value).is_err(), "{value}");
    }
    for value in texts(&swift()["bad_write"]) {
        assert!(WriteAffinity::parse(&value).is_err(), "{value}");
    }
}

#[test]
fn an_error_names_the_piece_and_how_to_write_it() {
    let error = ReadAffinity::parse("r1=100, r1x2=50").unwrap_err().to_string();
    assert_eq!(
        error,
        "affinity \"r1=100, r1x2=50\": piece 2 (\"r1x2=50\") has no number of a region after the r; \
         write it as r1=100 or r1z2=50"
    );
    let error = WriteAffinity::parse("r1,").unwrap_err().to_string();
    assert_eq!(
        error,
        "affinity \"r1,\": piece 2 (\"\") is empty; write it as r1 or r1z2"
    );
    let error = WriteAffinity::parse("r99999999999").unwrap_err().to_string();
    assert!(error.contains("no number of a region"), "{error}");
    let error = NodeCount::parse("2 * devices").unwrap_err().to_string();
    assert!(error.contains("2 * replicas"), "{error}");
}

#[test]
fn node_counts_are_numbers_or_multiples_of_the_replicas() {
    let count = |value| NodeCount::parse(value).unwrap().of(3);
    assert_eq!(
        (count("2 * replicas"), count(" 7 "), count("3 * REPLICAS")),
        (6, 7, 9)
    );
    assert_eq!(NodeCount::default(), NodeCount::PerReplica(2));
    for bad in [
        "",
        "x",
        "-1",
        "2*replicas",
        "replicas",
        "2 * 3",
        "2 * replicas 3",
        "1.5",
    ] {
        assert!(NodeCount::parse(bad).is_err(), "{bad}");
    }
    let count = |value| HandoffDeleteCount::parse(value).unwrap().of(3, 1);
    assert_eq!((count("auto"), count("AUTO"), count("5")), (2, 2, 5));
    assert!(HandoffDeleteCount::parse("some").is_err());
}

#[test]
fn values_are_text_in_configuration_files() {
    let read: ReadAffinity = serde_json::from_str("\"r1z2=50 ,r1=100\"").unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"r1z2=50, r1=100\"");
    let write: WriteAffinity = serde_json::from_str("\"r1,r2z2\"").unwrap();
    assert_eq!(serde_json::to_string(&write).unwrap(), "\"r1, r2z2\"");
    let count: NodeCount = serde_json::from_str("\"2 * replicas\"").unwrap();
    assert_eq!(serde_json::to_string(&count).unwrap(), "\"2 * replicas\"");
    let count: HandoffDeleteCount = serde_json::from_str("\"auto\"").unwrap();
    assert_eq!(serde_json::to_string(&count).unwrap(), "\"auto\"");
    assert!(serde_json::from_str::<ReadAffinity>("\"r1\"").is_err());
}
