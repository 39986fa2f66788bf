//! Sums that are kept, beside sums made from scratch; and replicas that tell
//! each other what they know until they know the same.
use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use virga_object_wire::listing::{
    Entry, ListingKind, ListingState, PART_LEVEL, RowRange, ShardsRequest, begins_part, row_hash,
};
use virga_ring::Partition;

use super::*;
use crate::listing::db::Db;
use crate::listing::head::{Head, Kind};
use crate::listing::meta::Meta;
use crate::listing::row::digest;
use crate::listing::{FullRows, MAX_COMPARED, SetAside, keys};

/// Everything in a family.
fn dump(db: &Db, family: virga_disk::kv::Family) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut cursor = db.cursor(family, vec![], None).unwrap();
    let mut all = BTreeMap::new();
    cursor.first();
    while let Some((key, value)) = cursor.current().unwrap() {
        all.insert(key.to_vec(), value.to_vec());
        cursor.step();
    }
    all
}

/// Compares all sums with what heads, metadata and rows say.
pub fn check_sums(device: &Device) {
    check_listings(device.listings());
}

/// The same without a device around it.
pub fn check_listings(listings: &Listings) {
    let db = &listings.db;
    let (mut index, mut parts) = (BTreeMap::new(), BTreeMap::new());
    let mut heads: BTreeMap<NameHash, Head> = BTreeMap::new();
    let mut found: BTreeMap<NameHash, (u64, u128, u128, u64)> = BTreeMap::new();
    for (key, value) in dump(db, keys::SHARD) {
        let shard = keys::shard(&key).unwrap();
        let (rows, sum, meta, cuts) = found.entry(shard).or_default();
        if key == keys::head(shard) {
            heads.insert(shard, Head::decode(&value).unwrap());
        } else if key == keys::meta(shard) {
            *meta = Meta::decode(&value).unwrap().digest();
        } else {
            let name = keys::name(&key).unwrap();
            let adds = digest(name.as_bytes(), &value);
            (*rows, *sum) = (*rows + 1, sum.wrapping_add(adds));
            if begins_part(row_hash(name), PART_LEVEL) {
                *cuts += 1;
                parts.insert(keys::part(shard, name), 0u128);
            }
            if *cuts > 0 {
                let mut last = parts.range_mut(..=keys::part(shard, name));
                let part = last.next_back().unwrap().1;
                *part = part.wrapping_add(adds);
            }
        }
    }
    for (shard, head) in &heads {
        let told = (head.rows, head.digest, head.meta, head.parts);
        assert_eq!(Some(&told), found.get(shard), "{shard}");
        index.insert(keys::index(head.kind, *shard), head.sum(*shard).unwrap());
    }
    assert_eq!(heads.len(), found.len(), "nothing without a head");
    let plain = |sums: BTreeMap<Vec<u8>, u128>| -> BTreeMap<Vec<u8>, Vec<u8>> {
        sums.into_iter()
            .map(|(key, sum)| (key, sum.to_le_bytes().to_vec()))
            .collect()
    };
    assert_eq!(dump(db, keys::INDEX), plain(index));
    assert_eq!(dump(db, keys::PART), plain(parts));
}

/// Names of which every third begins a part.
pub fn names() -> Vec<String> {
    let all = (0..).map(|n| format!("{:03}/{n}", n * 7919 % 997));
    let begins = |name: &String| begins_part(row_hash(name), PART_LEVEL);
    let cuts = all.clone().filter(begins).take(10);
    let others = all.filter(move |name| !begins(name)).take(20);
    cuts.chain(others).collect()
}

/// A change of one replica.
#[derive(Clone, Debug)]
enum Change {
    Put(u8, u64, u32, Vec<MetaItem>),
    Post(u8, u64, Vec<MetaItem>),
    Delete(u8, u64),
    Rows(u8, Vec<(u8, u64, bool)>),
    PutAccount(u64, Vec<MetaItem>),
    DeleteAccount(u64),
    ContainerRows(Vec<(u8, u64, u64, u64)>),
}

fn change() -> impl Strategy<Value = Change> {
    let n = || 1..40u64;
    let items = super::sequences::items;
    prop_oneof![
        2 => (0..2u8, n(), 0..2u32, items()).prop_map(|(c, n, policy, meta)| Change::Put(c, n, policy, meta)),
        1 => (0..2u8, n(), items()).prop_map(|(c, n, meta)| Change::Post(c, n, meta)),
        2 => (0..2u8, n()).prop_map(|(c, n)| Change::Delete(c, n)),
        6 => (0..2u8, vec((0..30u8, n(), any::<bool>()), 1..12)).prop_map(|(c, rows)| Change::Rows(c, rows)),
        1 => (n(), items()).prop_map(|(n, meta)| Change::PutAccount(n, meta)),
        1 => n().prop_map(Change::DeleteAccount),
        3 => vec((0..30u8, n(), 0..40u64, n()), 1..9).prop_map(Change::ContainerRows),
    ]
}

fn places() -> [(ListingKind, At); 3] {
    [
        (Kind::Container, at("c0")),
        (Kind::Container, at("c1")),
        (Kind::Account, at("AUTH_a")),
    ]
}

fn apply(device: &Device, names: &[String], change: &Change) {
    let list = device.listings();
    let container_at = |c: &u8| at(&format!("c{c}"));
    match change.clone() {
        Change::Put(c, n, policy, meta) => {
            let put = PutContainer {
                policy,
                meta,
                ..container(&format!("c{c}"), n)
            };
            drop(device.run(list.put_container(&container_at(&c), put)));
        }
        Change::Post(c, n, meta) => drop(device.run(list.post_container(&container_at(&c), v(n), meta))),
        Change::Delete(c, n) => drop(device.run(list.delete_container(&container_at(&c), v(n)))),
        Change::Rows(c, rows) => {
            let row = |(name, n, dead): &(u8, u64, bool)| {
                let name = &names[usize::from(*name)];
                if *dead {
                    deleted(name, *n)
                } else {
                    object(name, *n, *n)
                }
            };
            let rows: Vec<ObjectRow> = rows.iter().map(row).collect();
            device.put_rows(&container_at(&c), &rows);
        }
        Change::PutAccount(n, meta) => {
            drop(device.run(list.put_account(&at("AUTH_a"), PutAccount { meta, ..account(n) })));
        }
        Change::DeleteAccount(n) => drop(device.run(list.delete_account(&at("AUTH_a"), v(n)))),
        Change::ContainerRows(rows) => {
            let row = |(name, put, gone, counted): &(u8, u64, u64, u64)| ContainerRow {
                deleted: if *gone == 0 { Version(0) } else { v(*gone) },
                ..container_row(&names[usize::from(*name)], *put, *counted, *counted, *put)
            };
            let rows = rows.iter().map(row).collect();
            device.run(list.put_container_rows(&at("AUTH_a"), rows)).unwrap();
        }
    }
}

/// Everything `from` knows of a listing goes to `to`, rows first.
fn push(from: &Device, to: &Device, (kind, at): &(ListingKind, At)) {
    let mut range = RowRange::default();
    loop {
        let listings = from.listings();
        let (rows, next) = from.run(listings.named_rows(at, range.clone(), 5)).unwrap();
        let names = rows.into_iter().map(|(name, _)| name).collect();
        match from.run(listings.full_rows(*kind, at, names)).unwrap() {
            FullRows::Objects(rows) => to.run(to.listings().put_object_rows(at, rows)).unwrap(),
            FullRows::Containers(rows) => to.run(to.listings().put_container_rows(at, rows)).unwrap(),
        }
        let Some(next) = next else { break };
        range.from = next;
    }
    if let Some(state) = state(from, *kind, at) {
        to.run(to.listings().merge_state(*kind, at, state)).unwrap();
    }
}

fn state(device: &Device, kind: ListingKind, at: &At) -> Option<ListingState> {
    device.run(device.listings().state(kind, at)).unwrap()
}

fn first_shards(power: u8, partition: Partition) -> ShardsRequest {
    ShardsRequest {
        power,
        partition,
        after: None,
        limit: 100,
    }
}

/// Sums of all 16 partitions of a small ring, both kinds.
fn sums(device: &Device) -> Vec<u128> {
    let all: Vec<Partition> = (0..16).map(Partition).collect();
    let of = |kind| device.run(device.listings().sums(kind, 4, all.clone())).unwrap();
    [of(Kind::Container).1, of(Kind::Account).1].concat()
}

/// What the outside sees of everything, totals included.
fn shown(device: &Device) -> String {
    let list = device.listings();
    let of = |c: &str| device.run(list.list_container(&at(c), all())).unwrap();
    let account = device.run(list.list_account(&at("AUTH_a"), all())).unwrap();
    format!("{:?} {:?} {account:?}", of("c0"), of("c1"))
}

/// Rows that are alive in a container.
fn alive(device: &Device, at: &At) -> Vec<String> {
    let page = device.run(device.listings().list_container(at, all())).unwrap();
    let live = page.entries.into_iter().filter_map(|entry| match entry {
        Entry::Row(row) if !row.deleted => Some(row.name),
        _ => None,
    });
    live.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(16), ..ProptestConfig::default() })]

    #[test]
    fn sums_follow_every_change_reclaim_and_crash(
        steps in vec((vec(change(), 1..5), 0..10u8), 1..12),
    ) {
        let (mut device, names) = (Device::new(), names());
        for (changes, what) in steps {
            changes.iter().for_each(|change| apply(&device, &names, change));
            match what {
                0 => device.crash(),
                1 => {
                    device.clock.advance(RECLAIM_AGE + Duration::from_secs(1));
                    super::reminders::reclaim(&device, 7);
                }
                _ => {}
            }
            check_sums(&device);
        }
    }

    #[test]
    fn replicas_that_tell_each_other_all_they_know_become_equal(
        changes in vec((0..3usize, change()), 1..30), order in vec((0..3usize, 1..3usize, 0..3usize), 0..8),
    ) {
        let (devices, names) = ([Device::new(), Device::new(), Device::new()], names());
        for (device, change) in &changes {
            apply(&devices[*device], &names, change);
        }
        let pairs = order.into_iter().map(|(from, step, place)| (from, (from + step) % 3, place));
        for (from, to, place) in pairs {
            push(&devices[from], &devices[to], &places()[place]);
        }
        // Twice around the ring everyone has heard of everything.
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1), (1, 2), (2, 0)] {
            places().iter().for_each(|place| push(&devices[from], &devices[to], place));
        }
        devices.iter().for_each(check_sums);
        for other in &devices[1..] {
            prop_assert_eq!(sums(&devices[0]), sums(other));
            prop_assert_eq!(shown(&devices[0]), shown(other));
        }
        // Nothing is lost: of each row the newest that anyone was told of.
        for c in 0..2u8 {
            let mut newest: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
            for (_, change) in &changes {
                if let Change::Rows(to, rows) = change && *to == c {
                    for (name, n, dead) in rows {
                        let best = newest.entry(&names[usize::from(*name)]).or_default();
                        *best = (*best).max((*n, !*dead));
                    }
                }
            }
            let live: Vec<&str> = newest.iter().filter(|(_, (_, live))| *live).map(|(name, _)| *name).collect();
            prop_assert_eq!(alive(&devices[0], &at(&format!("c{c}"))), live);
        }
    }

    #[test]
    fn a_device_that_passes_everything_on_and_drops_it_loses_nothing(
        steps in vec((0..3usize, change(), 0..4u8), 1..25),
    ) {
        let (devices, names) = ([Device::new(), Device::new(), Device::new()], names());
        // The last is no primary: it tells the others and drops what has not
        // changed meanwhile.
        let pass_on = |between: &mut dyn FnMut()| {
            for place in places() {
                let listings = devices[2].listings();
                let sum = devices[2].run(listings.sum(place.0, &place.1)).unwrap();
                (0..2).for_each(|to| push(&devices[2], &devices[to], &place));
                between();
                if let Some(sum) = sum {
                    devices[2].run(listings.drop_listing(place.0, &place.1, sum)).unwrap();
                }
            }
        };
        for (device, change, what) in &steps {
            match what {
                0 => pass_on(&mut || apply(&devices[2], &names, change)),
                1 => {
                    apply(&devices[*device], &names, change);
                    pass_on(&mut || {});
                }
                _ => apply(&devices[*device], &names, change),
            }
        }
        pass_on(&mut || {});
        devices.iter().for_each(check_sums);
        prop_assert_eq!(sums(&devices[2]), vec![0; 32]);
        for place in places() {
            push(&devices[0], &devices[1], &place);
            push(&devices[1], &devices[0], &place);
        }
        prop_assert_eq!(sums(&devices[0]), sums(&devices[1]));
        for c in 0..2u8 {
            let mut newest: BTreeMap<&str, (u64, bool)> = BTreeMap::new();
            for (_, change, _) in &steps {
                if let Change::Rows(to, rows) = change && *to == c {
                    for (name, n, dead) in rows {
                        let best = newest.entry(&names[usize::from(*name)]).or_default();
                        *best = (*best).max((*n, !*dead));
                    }
                }
            }
            let live: Vec<&str> = newest.iter().filter(|(_, (_, live))| *live).map(|(name, _)| *name).collect();
            prop_assert_eq!(alive(&devices[0], &at(&format!("c{c}"))), live);
        }
    }

    #[test]
    fn equal_sums_mean_equal_knowledge(a in vec(change(), 1..6), b in vec(change(), 1..6)) {
        let (one, other, names) = (Device::new(), Device::new(), names());
        a.iter().for_each(|change| apply(&one, &names, change));
        b.iter().for_each(|change| apply(&other, &names, change));
        let known = |device: &Device| {
            let rows = |place: &(ListingKind, At)| {
                let list = device.listings();
                let (rows, _) = device.run(list.named_rows(&place.1, RowRange::default(), 100)).unwrap();
                format!("{:?} {rows:?}", state(device, place.0, &place.1))
            };
            places().iter().map(rows).collect::<Vec<_>>()
        };
        prop_assert_eq!(sums(&one) == sums(&other), known(&one) == known(&other));
    }
}

/// A container with so many rows, all of one version.
pub fn filled(rows: u32) -> (Device, At) {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let name = |n: u32| format!("{:08x}", n.wrapping_mul(0x9e37_79b9));
    let rows: Vec<u32> = (0..rows).collect();
    for chunk in rows.chunks(5000) {
        let rows: Vec<ObjectRow> = chunk.iter().map(|n| object(&name(*n), 2, 1)).collect();
        device.put_rows(&at, &rows);
    }
    (device, at)
}

#[test]
fn parts_of_any_level_and_range_add_up_to_the_rows_in_them() {
    let (device, at) = filled(6000);
    check_sums(&device);
    let list = device.listings();
    let (all, _) = device
        .run(list.named_rows(&at, RowRange::default(), 10_000))
        .unwrap();
    let full: BTreeMap<String, u128> = dump(&list.db, keys::SHARD)
        .into_iter()
        .filter(|(key, _)| keys::is_row(key))
        .map(|(key, value)| {
            let name = keys::name(&key).unwrap();
            (name.to_owned(), digest(name.as_bytes(), &value))
        })
        .collect();
    let bounds = [None, Some(0), Some(17), Some(3000), Some(5999)];
    for level in [0, 7, 9, 11, 30] {
        for from in bounds {
            for to in bounds {
                let name = |at: Option<usize>| at.map(|at| all[at].0.clone());
                let range = RowRange {
                    from: name(from).unwrap_or_default(),
                    to: name(to),
                };
                let answer = device.run(list.named_parts(&at, range.clone(), level));
                if range.to.as_ref().is_some_and(|to| *to <= range.from) {
                    assert!(answer.is_err(), "{range:?}");
                    continue;
                }
                let (told, parts) = answer.unwrap();
                assert_eq!((told, &parts[0].from), (level.max(PART_LEVEL), &range.from));
                for (n, part) in parts.iter().enumerate() {
                    let end = parts
                        .get(n + 1)
                        .map(|next| next.from.clone())
                        .or(range.to.clone());
                    let inside = full
                        .range(part.from.clone()..)
                        .take_while(|(name, _)| end.as_ref().is_none_or(|end| *name < end));
                    let sum = inside.map(|(_, adds)| *adds).fold(0, u128::wrapping_add);
                    assert_eq!(part.part.sum, sum, "{range:?} {level} {n}");
                    assert!(n == 0 || part.part.start == row_hash(&part.from));
                }
            }
        }
    }
}

#[test]
fn partitions_are_found_by_hash_whatever_the_power_of_the_ring() {
    let device = Device::new();
    let ats: Vec<At> = (0..40)
        .map(|n| device.put_container(&format!("c{n}"), 1))
        .collect();
    for power in [0, 1, 4, 8] {
        let list = device.listings();
        let mut seen = Vec::new();
        let (mut first, mut total) = (0, 0);
        loop {
            let page = device
                .run(list.occupied(Kind::Container, power, first, 3))
                .unwrap();
            let Some((last, _)) = page.last() else { break };
            first = u64::from(last.0) + 1;
            for (partition, sum) in page {
                let shards = device
                    .run(list.shards(Kind::Container, first_shards(power, partition)))
                    .unwrap();
                let all = shards.iter().map(|shard| shard.sum).fold(0, u128::wrapping_add);
                let asked = device
                    .run(list.sums(Kind::Container, power, vec![partition]))
                    .unwrap();
                assert_eq!((all, asked.1), (sum, vec![sum]));
                total += shards.len();
                seen.push(partition);
            }
        }
        let mut places: Vec<Partition> = ats
            .iter()
            .map(|at| Partition(u32::from(at.hash.0[0]) >> (8 - u32::from(power))))
            .collect();
        places.sort();
        places.dedup();
        assert_eq!((seen, total), (places, 40), "{power}");
    }
    let none = device.run(device.listings().occupied(Kind::Account, 4, 0, 9));
    assert_eq!(none, Ok(vec![]));
    let odd = device.run(device.listings().sums(Kind::Account, 4, vec![Partition(16)]));
    assert!(odd.is_err());
}

#[test]
fn a_listing_is_dropped_whole_and_only_if_nothing_has_changed() {
    for rows in [10, 3000] {
        let (mut device, at) = filled(rows);
        let sum = |device: &Device| {
            let shards = device
                .run(
                    device
                        .listings()
                        .shards(Kind::Container, first_shards(0, Partition(0))),
                )
                .unwrap();
            shards.first().map(|shard| shard.sum)
        };
        let before = sum(&device).unwrap();
        device.put_rows(&at, &[object("late", 3, 1)]);
        let drop = |device: &Device, sum| {
            device
                .run(device.listings().drop_listing(Kind::Container, &at, sum))
                .unwrap()
        };
        assert!(!drop(&device, before), "it has changed");
        assert_eq!(alive(&device, &at).len(), rows as usize + 1);
        let now = sum(&device).unwrap();
        assert!(drop(&device, now));
        assert!(drop(&device, now), "gone is gone");
        for family in [keys::SHARD, keys::PART, keys::INDEX, keys::DIRTY] {
            assert!(dump(&device.listings().db, family).is_empty(), "{family:?}");
        }
        device.put_container("c", 1);
        device.put_rows(&at, &[object("again", 1, 1)]);
        device.crash();
        check_sums(&device);
        assert_eq!(alive(&device, &at), ["again"]);
    }
}

#[test]
fn what_is_set_aside_is_out_of_sight_and_still_there() {
    let mut device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(
        &at,
        &[object("old", 2, 1), object("kept", 2, 1), object("changed", 2, 1)],
    );
    let meta = vec![item("x-a", "1", 2), item("x-b", "2", 2)];
    device
        .run(device.listings().post_container(&at, v(2), meta.clone()))
        .unwrap();
    let list = device.listings();
    let (rows, _) = device.run(list.named_rows(&at, RowRange::default(), 9)).unwrap();
    device.put_rows(&at, &[object("changed", 3, 1)]);
    let aside = SetAside {
        head: None,
        items: vec![meta[0].clone(), item("x-b", "other", 2)],
        rows: rows
            .iter()
            .filter(|(name, _)| name != "kept")
            .map(|(name, sum)| (name.clone(), sum.value))
            .collect(),
    };
    device.run(list.set_aside(Kind::Container, &at, aside)).unwrap();
    assert_eq!(alive(&device, &at), ["changed", "kept"]);
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!((info.objects, info.meta), (2, vec![meta[1].clone()]));
    assert_eq!(list.set_aside_count(), 2);
    check_sums(&device);
    let head = SetAside {
        head: Some((v(1), Version(0))),
        ..SetAside::default()
    };
    device.run(list.set_aside(Kind::Container, &at, head)).unwrap();
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!((info.put, info.meta, info.objects), (Version(0), vec![], 2));
    device.crash();
    assert_eq!(device.listings().set_aside_count(), 4);
    let kept = dump(&device.listings().db, keys::STALE);
    assert!(kept.contains_key(&keys::row(at.hash, "old")) && kept.contains_key(&keys::head(at.hash)));
    check_sums(&device);
}

#[test]
fn a_container_is_told_of_as_hidden_only_while_it_hides_a_live_row() {
    let device = Device::new();
    let listings = device.listings();
    let hidden = || device.run(listings.hidden(None, 10)).unwrap();
    let told = |at: &At| device.run(listings.hidden_state(at)).unwrap();
    let at = device.put_container("c0", 1);
    device.put_rows(&at, &[object("o", 2, 7)]);
    assert_eq!((hidden(), told(&at)), (vec![], None), "it exists");
    device.put_rows(&at, &[deleted("o", 3)]);
    device.run(listings.delete_container(&at, v(4))).unwrap();
    assert_eq!((hidden(), told(&at)), (vec![], None), "it was empty");
    device.put_rows(&at, &[object("late", 2, 7)]);
    assert_eq!(hidden(), [at.hash]);
    assert_eq!(told(&at), state(&device, Kind::Container, &at));
    // Whoever was told its name a moment ago must not take it for hidden still.
    device.put_rows(&at, &[deleted("late", 3)]);
    assert_eq!((hidden(), told(&at)), (vec![], None), "the row was deleted too");
    assert!(state(&device, Kind::Container, &at).is_some());
}

#[test]
fn rows_are_compared_without_their_names_and_never_more_than_a_call_may_ask_for() {
    let device = Device::new();
    let listings = device.listings();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[object("a", 2, 1), object("b", 2, 1), object("c", 2, 1)]);
    let named = device.run(listings.named_rows(&at, RowRange::default(), 2));
    let (named, next) = named.unwrap();
    let told = device
        .run(listings.row_sums(&at, RowRange::default(), 2))
        .unwrap();
    let sums: Vec<_> = named.into_iter().map(|(_, sum)| sum).collect();
    assert_eq!(sums.len(), 2);
    assert_eq!((told.rows, told.next), (sums, next));
    for (asked, fits) in [(MAX_COMPARED, true), (MAX_COMPARED + 1, false)] {
        let rows = device.run(listings.named_rows(&at, RowRange::default(), asked));
        assert_eq!(rows.is_ok(), fits);
        let names = vec!["x".to_owned(); asked];
        let full = device.run(listings.full_rows(ListingKind::Container, &at, names));
        assert_eq!(full.is_ok(), fits);
    }
}
