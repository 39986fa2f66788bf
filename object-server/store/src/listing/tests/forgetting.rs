//! Invariant I7: what is deleted stays deleted, however late someone hears.
use std::time::Duration;

use virga_node::clock::Clock;
use virga_object_wire::listing::{Entry, ListingKind};

use super::reminders::reclaim;
use super::replicas::check_sums;
use super::*;

const WEEK: Duration = RECLAIM_AGE;

fn rows(device: &Device, at: &At) -> Vec<(String, bool)> {
    let page = device.run(device.listings().list_container(at, all())).unwrap();
    let row = |entry: Entry<ObjectRow>| match entry {
        Entry::Row(row) => (row.name, row.deleted),
        Entry::Subdir(dir) => panic!("{dir}"),
    };
    page.entries.into_iter().map(row).collect()
}

/// Passes without noting a round.
fn reclaim_only(device: &Device) {
    while device.run(device.listings().reclaim(10)).unwrap() {}
}

#[test]
fn a_deletion_is_kept_until_a_round_that_began_after_it_was_heard_of() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.note_rounds();
    device.clock.advance(Duration::from_secs(1));
    device.put_rows(&at, &[deleted("gone", 2)]);
    device.clock.advance(2 * WEEK);
    reclaim_only(&device);
    assert_eq!(rows(&device, &at), [("gone".to_owned(), true)], "no round since");
    device.note_rounds();
    reclaim_only(&device);
    assert_eq!(rows(&device, &at), []);
    let horizon = device.run(device.listings().horizon(ListingKind::Container));
    assert_eq!(horizon, Ok(v(2)));
    let other = device.run(device.listings().horizon(ListingKind::Account));
    assert_eq!(other, Ok(Version(0)), "each ring has its own");
}

#[test]
fn whoever_hears_late_of_a_deletion_holds_on_to_it_as_long_as_anybody() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[object("o", 2, 1)]);
    device.clock.advance(3 * WEEK);
    device.put_rows(&at, &[deleted("o", 3), deleted("never heard of", 3)]);
    device.clock.advance(WEEK / 2);
    reclaim(&device, 10);
    assert_eq!(rows(&device, &at).len(), 2);
    device.clock.advance(WEEK);
    reclaim(&device, 10);
    assert_eq!(rows(&device, &at), []);
}

#[test]
fn what_came_back_to_life_does_not_end_the_pass_that_meets_it() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    // More than a step takes at once.
    let names: Vec<String> = (10..35).map(|n| format!("o{n}")).collect();
    for name in &names {
        device.put_rows(&at, &[deleted(name, 2)]);
    }
    device.put_rows(&at, &[object(&names[3], 3, 1)]);
    device.clock.advance(2 * WEEK);
    device.note_rounds();
    reclaim_only(&device);
    assert_eq!(rows(&device, &at), [(names[3].clone(), false)]);
}

#[test]
fn a_forgotten_deletion_is_not_taken_in_again_and_the_horizon_survives_a_crash() {
    let mut device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[deleted("a", 5)]);
    device.clock.advance(WEEK + Duration::from_secs(1));
    reclaim(&device, 10);
    device.crash();
    device.put_rows(
        &at,
        &[
            deleted("a", 5),
            deleted("b", 4),
            deleted("newer", 6),
            object("live", 1, 1),
        ],
    );
    let left = [("live".to_owned(), false), ("newer".to_owned(), true)];
    assert_eq!(rows(&device, &at), left);
    check_sums(&device);
}

#[test]
fn removed_metadata_is_forgotten_like_rows_and_not_before() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let list = device.listings();
    let set = vec![item("x-a", "1", 2), item("x-b", "2", 2)];
    device.run(list.post_container(&at, v(2), set.clone())).unwrap();
    device
        .run(list.post_container(&at, v(3), vec![item("x-a", "", 3)]))
        .unwrap();
    let items = |device: &Device| device.run(device.listings().head_container(&at)).unwrap().meta;
    device.run(list.post_container(&at, v(4), set.clone())).unwrap();
    assert_eq!(items(&device), [item("x-a", "", 3), item("x-b", "2", 2)]);
    device.clock.advance(WEEK + Duration::from_secs(1));
    device.run(list.post_container(&at, v(5), vec![])).unwrap();
    assert_eq!(items(&device).len(), 2, "no round, so another may not know");
    reclaim(&device, 10);
    assert_eq!(items(&device), [item("x-b", "2", 2)]);
    check_sums(&device);
    device
        .run(list.post_container(&at, v(6), vec![item("x-a", "", 3)]))
        .unwrap();
    assert_eq!(items(&device), [item("x-b", "2", 2)]);
}

#[test]
fn a_container_deleted_again_waits_for_the_age_of_the_last_deletion() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let list = device.listings();
    device.run(list.delete_container(&at, v(2))).unwrap();
    device.clock.advance(WEEK - Duration::from_secs(60));
    let now = Version::at(device.clock.now());
    device
        .run(list.put_container(
            &at,
            PutContainer {
                version: now,
                ..container("c", 0)
            },
        ))
        .unwrap();
    device
        .run(list.delete_container(&at, Version(now.0 + 1)))
        .unwrap();
    let changes = device.run(list.changed(9)).unwrap();
    device.run(list.reported(&changes)).unwrap();
    device.clock.advance(Duration::from_secs(120));
    reclaim(&device, 10);
    let deleted = || device.run(list.head_container(&at)).unwrap().deleted;
    assert_eq!(
        deleted(),
        Version(now.0 + 1),
        "the first reminder came, not its own"
    );
    device.clock.advance(WEEK);
    reclaim(&device, 10);
    assert_eq!(deleted(), Version(0));
    check_sums(&device);
}

#[test]
fn containers_that_died_with_their_account_are_forgotten_with_it_even_if_they_come_late() {
    let device = Device::new();
    let at = at("AUTH_a");
    let list = device.listings();
    device.run(list.put_account(&at, account(1))).unwrap();
    device
        .run(list.put_container_rows(&at, vec![container_row("early", 2, 2, 1, 1)]))
        .unwrap();
    device.run(list.delete_account(&at, v(5))).unwrap();
    device
        .run(list.put_container_rows(&at, vec![container_row("late", 3, 3, 1, 1)]))
        .unwrap();
    device.clock.advance(WEEK + Duration::from_secs(1));
    reclaim(&device, 10);
    check_sums(&device);
    device.clock.advance(WEEK + Duration::from_secs(1));
    reclaim(&device, 10);
    check_sums(&device);
    let info = device.run(list.head_account(&at)).unwrap();
    assert_eq!(info.deleted, Version(0), "nothing of it is left");
}
