//! What a device owes: totals to accounts, and forgetting to itself.
use std::time::Duration;

use virga_node::clock::{Clock, Version};

use super::*;

/// Names and object counts of marked containers.
fn marked(device: &Device, limit: usize) -> Vec<(String, u64)> {
    let changes = device.run(device.listings().changed(limit)).unwrap();
    changes
        .into_iter()
        .map(|change| (change.row.name, change.row.objects))
        .collect()
}

#[test]
fn a_changed_container_is_marked_until_its_account_knows_even_across_a_crash() {
    let mut device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[object("o", 2, 10)]);
    let changes = device.run(device.listings().changed(10)).unwrap();
    assert_eq!(changes.len(), 1);
    let row = &changes[0].row;
    assert_eq!(
        (changes[0].account.as_str(), changes[0].hash),
        ("AUTH_a", at.hash)
    );
    assert_eq!(changes[0].partition, at.partition);
    assert_eq!(
        (row.name.as_str(), row.put, row.objects, row.bytes),
        ("c", v(1), 1, 10)
    );
    assert!(row.counted > v(2), "after the newest row");
    assert!(row.counted < v(100), "whatever the clock says");
    device.crash();
    assert_eq!(marked(&device, 10), [("c".to_owned(), 1)]);
    device.run(device.listings().reported(&changes)).unwrap();
    assert_eq!(marked(&device, 10), []);
    device.crash();
    assert_eq!(marked(&device, 10), []);
}

#[test]
fn a_row_that_comes_late_is_counted_under_a_later_version_all_the_same() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[object("o", 9, 10)]);
    let before = device.run(device.listings().changed(10)).unwrap().remove(0).row;
    device.put_rows(&at, &[object("late", 2, 5)]);
    let after = device.run(device.listings().changed(10)).unwrap().remove(0).row;
    assert_eq!((before.bytes, after.bytes), (10, 15));
    assert!(before.counted < after.counted, "the account keeps the larger");
}

#[test]
fn a_change_after_the_count_was_taken_is_not_lost() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let changes = device.run(device.listings().changed(10)).unwrap();
    device.put_rows(&at, &[object("o", 2, 10)]);
    device.run(device.listings().reported(&changes)).unwrap();
    let later = device.run(device.listings().changed(10)).unwrap();
    assert_eq!((later.len(), later[0].row.objects), (1, 1));
    device.run(device.listings().reported(&later)).unwrap();
    device.put_rows(&at, &[object("o", 2, 10)]);
    assert_eq!(marked(&device, 10), [], "the same row again changes nothing");
    device.put_rows(&at, &[deleted("o", 3)]);
    device.run(device.listings().delete_container(&at, v(4))).unwrap();
    let change = device.run(device.listings().changed(10)).unwrap().remove(0);
    assert_eq!(
        (change.row.put, change.row.deleted, change.row.objects),
        (v(1), v(4), 0)
    );
}

#[test]
fn marked_containers_take_turns() {
    let device = Device::new();
    (0..5).for_each(|n| drop(device.put_container(&format!("c{n}"), 1)));
    let mut seen: Vec<String> = (0..3)
        .flat_map(|_| marked(&device, 2))
        .map(|(name, _)| name)
        .collect();
    seen.sort();
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"]);
}

/// Runs passes until nothing more is forgotten, after a round of
/// reconciliation that began now.
pub fn reclaim(device: &Device, limit: usize) {
    device.note_rounds();
    while device.run(device.listings().reclaim(limit)).unwrap() {}
}

#[test]
fn deletions_are_forgotten_after_the_reclaim_age_and_not_before() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let rows: Vec<_> = (0..10).map(|n| deleted(&format!("dead{n}"), 2)).collect();
    device.put_rows(&at, &rows);
    device.put_rows(
        &at,
        &[object("live", 2, 1), deleted("back", 3), object("back", 4, 1)],
    );
    reclaim(&device, 4);
    let count = || {
        device
            .run(device.listings().list_container(&at, all()))
            .unwrap()
            .entries
            .len()
    };
    assert_eq!(count(), 12);
    device.clock.advance(RECLAIM_AGE + Duration::from_secs(1));
    reclaim(&device, 4);
    assert_eq!(count(), 2);
    device.put_rows(&at, &[deleted("dead3", 2)]);
    assert_eq!(
        count(),
        2,
        "what all have forgotten does not come back from one who has not"
    );

    let other = Device::new();
    let same = other.put_container("c", 1);
    other.put_rows(&same, &[object("live", 2, 1), object("back", 4, 1)]);
    let head = |device: &Device| device.run(device.listings().head_container(&same)).unwrap();
    assert_eq!(head(&device).digest, head(&other).digest);
}

#[test]
fn a_container_deleted_long_ago_leaves_nothing_behind() {
    let mut device = Device::new();
    let at = device.put_container("c", 1);
    let rows: Vec<_> = (0..9).map(|n| deleted(&format!("dead{n}"), 2)).collect();
    device.put_rows(&at, &rows);
    device.run(device.listings().delete_container(&at, v(5))).unwrap();
    device.put_rows(&at, &[deleted("late", 4)]);
    device.clock.advance(RECLAIM_AGE + Duration::from_secs(1));
    reclaim(&device, 4);
    let stored = |device: &Device| {
        let mut cursor = device
            .listings()
            .db
            .cursor(crate::listing::keys::SHARD, vec![], None)
            .unwrap();
        cursor.first();
        let mut count = 0;
        while cursor.current().unwrap().is_some() {
            count += 1;
            cursor.step();
        }
        count
    };
    assert_eq!(
        stored(&device),
        2,
        "its account has not heard of the deletion: head and names stay"
    );
    let changes = device.run(device.listings().changed(10)).unwrap();
    device.run(device.listings().reported(&changes)).unwrap();
    reclaim(&device, 4);
    assert_eq!(stored(&device), 0);
    device.crash();
    assert_eq!(
        device.run(device.listings().head_container(&at)),
        Ok(virga_object_wire::listing::ContainerInfo::default())
    );
    let late = Version::at(device.clock.now());
    let put = PutContainer {
        version: late,
        ..container("c", 0)
    };
    assert!(
        device
            .run(device.listings().put_container(&at, put))
            .unwrap()
            .created
    );
}

#[test]
fn a_row_that_came_after_the_deletion_of_its_container_outlives_it_and_holds_up_no_other() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.run(device.listings().delete_container(&at, v(5))).unwrap();
    device.put_rows(&at, &[object("late", 4, 1)]);
    let other = device.put_container("other", 1);
    device.put_rows(&other, &[deleted("dead", 6)]);
    device.clock.advance(RECLAIM_AGE + Duration::from_secs(1));
    reclaim(&device, 1);
    let listed = |at| {
        device
            .run(device.listings().list_container(at, all()))
            .unwrap()
            .entries
    };
    assert_eq!(listed(&at).len(), 1);
    assert_eq!(listed(&other), []);
}
