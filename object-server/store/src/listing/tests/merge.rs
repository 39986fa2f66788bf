//! Invariant I6: order and repetition make no difference, and the digest says
//! whether two devices hold the same rows.
use proptest::collection::vec;
use proptest::prelude::*;
use virga_object_wire::listing::{AccountInfo, ContainerInfo, Page};

use super::sequences::{items, rows};
use super::*;

/// A change whose effect depends on nothing that is known.
#[derive(Clone, Debug)]
enum Change {
    Put(u64, Vec<MetaItem>),
    Delete(u64),
    Rows(Vec<ObjectRow>),
    ContainerRows(Vec<ContainerRow>),
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![1 => Just(Version(0)), 4 => (1..30u64).prop_map(v)]
}

fn container_rows() -> impl Strategy<Value = Vec<ContainerRow>> {
    let row = (0..5u8, version(), version(), 0..3u32, version(), 0..4u64, 0..9u64);
    let row = row.prop_map(|(name, put, deleted, policy, counted, objects, bytes)| {
        let name = format!("c{name}");
        ContainerRow {
            name,
            put,
            deleted,
            policy,
            counted,
            objects,
            bytes,
        }
    });
    vec(row, 1..5)
}

/// Changes, and a longer list that holds each of them at least once.
fn shuffled(change: impl Strategy<Value = Change>) -> impl Strategy<Value = (Vec<Change>, Vec<Change>)> {
    vec(change, 1..16).prop_flat_map(|changes| {
        let twice = changes
            .iter()
            .chain(changes.iter().take(5))
            .cloned()
            .collect::<Vec<_>>();
        (Just(changes), Just(twice).prop_shuffle())
    })
}

fn container_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (1..40u64, items()).prop_map(|(n, meta)| Change::Put(n, meta)),
        4 => rows().prop_map(Change::Rows),
    ]
}

/// Without live rows deletions are never refused.
fn empty_container_change() -> impl Strategy<Value = Change> {
    let dead = rows().prop_map(|rows| {
        Change::Rows(
            rows.into_iter()
                .map(|row| ObjectRow {
                    meta_version: row.meta_version,
                    ..dead(row)
                })
                .collect(),
        )
    });
    prop_oneof![
        (1..40u64, items()).prop_map(|(n, meta)| Change::Put(n, meta)),
        (1..40u64).prop_map(Change::Delete),
        dead,
    ]
}

fn dead(row: ObjectRow) -> ObjectRow {
    ObjectRow {
        deleted: true,
        size: 0,
        etag: String::new(),
        ..row
    }
}

fn account_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        1 => (1..40u64, items()).prop_map(|(n, meta)| Change::Put(n, meta)),
        1 => (1..30u64).prop_map(Change::Delete),
        3 => container_rows().prop_map(Change::ContainerRows),
    ]
}

/// What a container is after these changes; a last PUT makes it visible.
fn container_after(changes: &[Change]) -> Page<ContainerInfo, ObjectRow> {
    let (device, at) = (Device::new(), at("c"));
    let list = device.listings();
    for change in changes {
        match change.clone() {
            Change::Put(n, meta) => {
                let put = PutContainer {
                    meta,
                    ..container("c", n)
                };
                drop(device.run(list.put_container(&at, put)));
            }
            Change::Delete(n) => drop(device.run(list.delete_container(&at, v(n)))),
            Change::Rows(rows) => device.put_rows(&at, &rows),
            Change::ContainerRows(_) => {}
        }
    }
    device.run(list.put_container(&at, container("c", 50))).unwrap();
    let mut page = device.run(list.list_container(&at, all())).unwrap();
    // Which of two newer PUTs a late deletion leaves as the first is open.
    page.info.created = Version(0);
    page
}

/// What an account is after these changes.
fn account_after(changes: &[Change]) -> Page<AccountInfo, ContainerRow> {
    let (device, at) = (Device::new(), at("AUTH_a"));
    let list = device.listings();
    for change in changes {
        match change.clone() {
            Change::Put(n, meta) => {
                drop(device.run(list.put_account(&at, PutAccount { meta, ..account(n) })))
            }
            Change::Delete(n) => drop(device.run(list.delete_account(&at, v(n)))),
            Change::ContainerRows(rows) => device.run(list.put_container_rows(&at, rows)).unwrap(),
            Change::Rows(_) => {}
        }
    }
    device.run(list.put_account(&at, account(50))).unwrap();
    let mut page = device.run(list.list_account(&at, all())).unwrap();
    page.info.created = Version(0);
    page
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(24), ..ProptestConfig::default() })]

    #[test]
    fn containers_merge_in_any_order((once, again) in shuffled(container_change())) {
        prop_assert_eq!(container_after(&once), container_after(&again));
    }

    #[test]
    fn deletions_of_empty_containers_merge_in_any_order((once, again) in shuffled(empty_container_change())) {
        prop_assert_eq!(container_after(&once), container_after(&again));
    }

    #[test]
    fn accounts_merge_in_any_order((once, again) in shuffled(account_change())) {
        let page = account_after(&once);
        let sum = |of: fn(&virga_object_wire::listing::PolicyTotals) -> u64| page.info.policies.iter().map(of).sum::<u64>();
        prop_assert_eq!(page.info.containers, sum(|totals| totals.containers));
        prop_assert_eq!(page.info.bytes, sum(|totals| totals.bytes));
        prop_assert_eq!(page, account_after(&again));
    }

    #[test]
    fn digests_are_equal_exactly_when_the_rows_are(a in rows(), b in rows()) {
        let page = |rows: &[ObjectRow]| container_after(&[Change::Rows(rows.to_vec())]);
        let (a, b) = (page(&a), page(&b));
        prop_assert_eq!(a.entries == b.entries, a.info.digest == b.info.digest);
    }
}
