//! A database as format 1 left it is brought up to date without loss.
use std::time::Duration;

use virga_object_wire::listing::ListingKind;

use super::replicas::{check_sums, filled};
use super::*;
use crate::listing::db::{Db, Writes};
use crate::listing::head::Head;
use crate::listing::{OpenError, keys, sys};

/// Takes a device's database back to format 1.
fn make_old(device: &mut Device) {
    drop(device.listings.take());
    let db = Db::open(device.folder.path(), KvCache::new(8 << 20)).unwrap();
    let mut writes = Writes::default();
    let everything = |family| {
        let mut cursor = db.cursor(family, vec![], None).unwrap();
        let mut all = Vec::new();
        cursor.first();
        while let Some((key, value)) = cursor.current().unwrap() {
            all.push((key.to_vec(), value.to_vec()));
            cursor.step();
        }
        all
    };
    for (key, value) in everything(keys::SHARD) {
        if let Some(h) = Head::decode(&value).filter(|_| key == keys::head(keys::shard(&key).unwrap())) {
            let fields = (
                (
                    h.kind,
                    h.partition,
                    h.created,
                    h.put,
                    h.deleted,
                    h.policy,
                    h.newest,
                ),
                (
                    h.rows, h.live, h.bytes, h.digest, h.changes, h.reported, h.policies,
                ),
            );
            let old = postcard::to_extend(&fields, vec![1]).unwrap();
            writes.set(keys::SHARD, key, Some(old));
        }
    }
    for (key, value) in everything(keys::GRAVE) {
        // In format 1 the key began with the version itself.
        let version: [u8; 8] = value.try_into().unwrap();
        let version = u64::from_le_bytes(version).to_be_bytes();
        writes.set(keys::TOMB, [&version[..], &key[9..]].concat(), Some(vec![]));
    }
    for family in [keys::GRAVE, keys::INDEX, keys::PART, keys::SYS] {
        for (key, _) in everything(family) {
            writes.set(family, key, None);
        }
    }
    db.commit(&writes).unwrap();
    drop(db);
}

#[test]
fn a_database_of_format_1_gets_its_sums_and_keeps_everything() {
    let (mut device, at) = filled(2000);
    let dead: Vec<_> = (0..50).map(|n| deleted(&format!("dead{n}"), 3)).collect();
    device.put_rows(&at, &dead);
    let other = device.put_container("other", 1);
    device
        .run(device.listings().delete_container(&other, v(3)))
        .unwrap();
    let account_at = super::at("AUTH_a");
    device
        .run(device.listings().put_account(&account_at, account(1)))
        .unwrap();
    let rows = vec![container_row("c", 1, 2, 3, 4)];
    device
        .run(device.listings().put_container_rows(&account_at, rows))
        .unwrap();
    let seen = |device: &Device| {
        let list = device.listings();
        let page = device.run(list.list_container(&at, all())).unwrap();
        let account = device.run(list.list_account(&account_at, all())).unwrap();
        format!("{page:?} {account:?}")
    };
    let before = seen(&device);
    let sum = |device: &Device| {
        let part = vec![virga_ring::Partition(0)];
        let of = |kind| device.run(device.listings().sums(kind, 0, part.clone())).unwrap();
        (of(ListingKind::Container), of(ListingKind::Account))
    };
    let sums = sum(&device);
    make_old(&mut device);
    device.listings = Some(open(device.folder.path(), &device.clock));
    check_sums(&device);
    assert_eq!((seen(&device), sum(&device)), (before.clone(), sums));
    device.crash();
    assert_eq!(seen(&device), before, "and only once");
    device.clock.advance(RECLAIM_AGE + Duration::from_secs(1));
    super::reminders::reclaim(&device, 10);
    let page = device.run(device.listings().list_container(&at, all())).unwrap();
    assert_eq!(page.entries.len(), 2000, "reminders came along");
    check_sums(&device);
}

#[test]
fn a_database_of_a_newer_program_is_refused_in_words() {
    let mut device = Device::new();
    drop(device.listings.take());
    let db = Db::open(device.folder.path(), KvCache::new(8 << 20)).unwrap();
    let mut writes = Writes::default();
    writes.set(keys::SYS, vec![0], Some(vec![sys::FORMAT + 1]));
    db.commit(&writes).unwrap();
    drop(db);
    let cache = KvCache::new(8 << 20);
    let refused = Listings::open(
        device.folder.path(),
        cache,
        device.clock.clone(),
        RECLAIM_AGE,
        Threads::Os,
    );
    assert!(matches!(refused.err(), Some(OpenError::Format(3))));
}
