//! Listings against Swift's rules, page by page.
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use virga_object_wire::listing::{ContainerInfo, Entry};

use super::model::swift_list;
use super::*;

/// Short names over few characters, of one to four bytes, so that prefixes,
/// delimiters and markers meet.
fn name() -> impl Strategy<Value = String> {
    vec(
        prop::sample::select(vec!["a", "b", "/", "-", "é", "\u{10ffff}", "z", "日"]),
        1..7,
    )
    .prop_map(|parts| parts.concat())
}

fn maybe_name() -> impl Strategy<Value = String> {
    prop_oneof![2 => Just(String::new()), 1 => name()]
}

fn request() -> impl Strategy<Value = ListRequest> {
    let delimiter = prop::sample::select(vec!["", "/", "/", "-", "a/", "//", "é", "\u{10ffff}"]);
    let prefix = prop_oneof![2 => Just(String::new()), 1 => vec(prop::sample::select(vec!["a", "/", "é"]), 1..3)
        .prop_map(|parts| parts.concat())];
    (
        prefix,
        delimiter,
        maybe_name(),
        maybe_name(),
        any::<bool>(),
        0..12u32,
    )
        .prop_map(|(prefix, delimiter, marker, end_marker, reverse, limit)| {
            let delimiter = delimiter.to_owned();
            ListRequest {
                prefix,
                delimiter,
                marker,
                end_marker,
                reverse,
                limit,
            }
        })
}

/// Names of live entries (`Err`: a common prefix), and of deleted rows.
fn split(entries: &[Entry<ObjectRow>]) -> (Vec<Result<String, String>>, Vec<String>) {
    let (mut live, mut dead) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            Entry::Row(row) if row.deleted => dead.push(row.name.clone()),
            Entry::Row(row) => live.push(Ok(row.name.clone())),
            Entry::Subdir(dir) => live.push(Err(dir.clone())),
        }
    }
    (live, dead)
}

fn compare(device: &Device, at: &At, live: &[String], dead: &[String], list: &ListRequest) {
    let expected = swift_list(live, list);
    let page = device
        .run(device.listings().list_container(at, list.clone()))
        .unwrap();
    let first: Vec<_> = expected.iter().take(list.limit as usize).cloned().collect();
    assert_eq!(split(&page.entries).0, first, "{list:?}");
    assert!(
        page.complete_to.is_some() || expected.len() == first.len(),
        "{list:?}"
    );
    // Page after page gives the same, and every deletion outside of prefixes.
    let mut next = ListRequest {
        limit: list.limit.max(1),
        ..list.clone()
    };
    let (mut seen, mut seen_dead) = (Vec::new(), Vec::new());
    loop {
        let page = device
            .run(device.listings().list_container(at, next.clone()))
            .unwrap();
        let (live, dead) = split(&page.entries);
        assert!(live.len() <= next.limit as usize);
        seen.extend(live);
        seen_dead.extend(dead);
        match page.complete_to {
            Some(name) => next.marker = name,
            None => break,
        }
    }
    assert_eq!(seen, expected, "{list:?}");
    let dead = swift_list(dead, list)
        .into_iter()
        .filter_map(Result::ok)
        .collect::<Vec<_>>();
    assert_eq!(seen_dead, dead, "{list:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(40), ..ProptestConfig::default() })]

    #[test]
    fn a_listing_is_what_swift_would_list(
        names in btree_map(name(), prop::bool::weighted(0.7), 0..60),
        requests in vec(request(), 40),
    ) {
        let device = Device::new();
        let at = device.put_container("c", 1);
        // Neighbours on both sides must stay out of sight.
        for neighbour in [-1i128, 1] {
            let hash = u128::from_be_bytes(at.hash.0).wrapping_add_signed(neighbour).to_be_bytes();
            device.put_rows(&At { hash: NameHash(hash), ..at.clone() }, &[object("a/b", 2, 1), object("z", 2, 1)]);
        }
        let row = |(name, live): (&String, &bool)| if *live { object(name, 2, 1) } else { deleted(name, 2) };
        device.put_rows(&at, &names.iter().map(row).collect::<Vec<_>>());
        let pick = |wanted| names.iter().filter(|(_, live)| **live == wanted).map(|(name, _)| name.clone()).collect();
        let (live, dead): (Vec<String>, Vec<String>) = (pick(true), pick(false));
        for list in &requests {
            compare(&device, &at, &live, &dead, list);
        }
    }
}

#[test]
fn a_marker_inside_a_common_prefix_shows_the_prefix_again_and_the_prefix_itself_does_not() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &["a/1", "a/2", "b"].map(|name| object(name, 2, 1)));
    let names = |marker: &str| {
        let list = ListRequest {
            marker: marker.into(),
            delimiter: "/".into(),
            ..all()
        };
        split(
            &device
                .run(device.listings().list_container(&at, list))
                .unwrap()
                .entries,
        )
        .0
    };
    let (dir, row) = (Err("a/".to_owned()), Ok("b".to_owned()));
    assert_eq!(names(""), [dir.clone(), row.clone()]);
    assert_eq!(names("a/1"), [dir, row.clone()]);
    assert_eq!(names("a/"), std::slice::from_ref(&row));
    assert_eq!(names("a/2"), [row]);
}

#[test]
fn the_cost_of_a_delimiter_listing_follows_its_entries() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    for dir in 0..3 {
        let rows: Vec<_> = (0..5000)
            .map(|n| object(&format!("{dir}/{n:05}"), 2, 1))
            .collect();
        device.put_rows(&at, &rows);
    }
    for reverse in [false, true] {
        let list = ListRequest {
            delimiter: "/".into(),
            limit: 100,
            reverse,
            ..all()
        };
        // Three entries are three looks, whatever lies under them.
        let page =
            crate::listing::read::list::<ContainerInfo, ObjectRow>(&device.listings().db, at.hash, &list, 4);
        assert_eq!(page.unwrap().unwrap().entries.len(), 3);
    }
}

#[test]
fn a_page_bounds_the_deletions_it_tells() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    for part in 0..3 {
        let rows: Vec<_> = (0..5000).map(|n| deleted(&format!("{part}{n:05}"), 2)).collect();
        device.put_rows(&at, &rows);
    }
    device.put_rows(&at, &[object("live", 2, 1)]);
    let list = ListRequest { limit: 5, ..all() };
    let page = device
        .run(device.listings().list_container(&at, list.clone()))
        .unwrap();
    assert_eq!(
        (page.entries.len(), page.complete_to.as_deref()),
        (10_000, Some("104999"))
    );
    let list = ListRequest {
        marker: "104999".into(),
        ..list
    };
    let page = device.run(device.listings().list_container(&at, list)).unwrap();
    assert_eq!((page.entries.len(), page.complete_to), (5001, None));
}
