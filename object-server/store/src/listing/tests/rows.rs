//! When a row is live, since when it is dead, what it counts for, and which of
//! two wins.
use super::*;
use crate::listing::row::{Listed, Value, Weight, digest};

fn container(put: u64, deleted: u64, counted: u64) -> ContainerRow {
    ContainerRow {
        name: "c".into(),
        put: Version(put),
        deleted: Version(deleted),
        policy: 3,
        counted: Version(counted),
        objects: 5,
        bytes: 60,
    }
}

fn object_row(version: u64, deleted: bool) -> ObjectRow {
    ObjectRow {
        version: Version(version),
        meta_version: Version(version),
        deleted,
        ..object("o", 0, 300)
    }
}

fn objects_merge(a: &ObjectRow, b: &ObjectRow) -> ObjectRow {
    let merged = Value::from(a).merge(Value::from(b)).unwrap();
    ObjectRow::listed(&a.name, merged).unwrap()
}

#[test]
fn a_container_is_live_while_its_put_is_newer_than_every_deletion() {
    // PUT, DELETE, DELETE of the account; live; since when dead.
    for (put, deleted, account, live, dead) in [
        (5, 4, 0, true, None),
        (5, 4, 4, true, None),
        (5, 0, 4, true, None),
        (5, 5, 0, false, Some(5)),
        (4, 5, 0, false, Some(5)),
        (4, 5, 9, false, Some(5)),
        (5, 4, 5, false, Some(5)),
        (5, 4, 6, false, Some(6)),
        (0, 5, 0, false, Some(5)),
    ] {
        let row = container(put, deleted, 0);
        let value = Value::from(&row);
        let case = format!("{put} {deleted} {account}");
        let weight = Weight {
            policy: 3,
            objects: 5,
            bytes: 60,
        };
        assert_eq!(value.weight(Version(account)), live.then_some(weight), "{case}");
        assert_eq!(value.death(Version(account)), dead.map(Version), "{case}");
        let own = (put <= deleted).then_some(Version(deleted));
        assert_eq!(value.tombstone(), own, "{case}");
    }
}

#[test]
fn a_count_without_a_put_is_neither_live_nor_a_deletion_until_the_account_goes() {
    let row = container(0, 0, 7);
    let value = Value::from(&row);
    assert_eq!((value.tombstone(), value.weight(Version(0))), (None, None));
    for (account, dead) in [(0, None), (6, None), (7, Some(7)), (8, Some(8))] {
        assert_eq!(
            value.death(Version(account)),
            dead.map(Version),
            "account {account}"
        );
    }
    let nothing = container(0, 0, 0);
    assert_eq!(Value::from(&nothing).death(Version(0)), None);
}

#[test]
fn an_object_is_ended_by_its_own_deletion_only() {
    let (live, dead) = (object_row(3, false), object_row(3, true));
    let (live, dead) = (Value::from(&live), Value::from(&dead));
    let weight = Weight {
        policy: 0,
        objects: 1,
        bytes: 300,
    };
    for account in [0, 3, 99].map(Version) {
        assert_eq!((live.weight(account), live.death(account)), (Some(weight), None));
        assert_eq!(
            (dead.weight(account), dead.death(account)),
            (None, Some(Version(3)))
        );
    }
    assert_eq!((live.tombstone(), dead.tombstone()), (None, Some(Version(3))));
}

#[test]
fn the_newest_version_of_a_row_is_that_of_any_part_of_it() {
    for (put, deleted, counted) in [(9, 1, 2), (1, 9, 2), (1, 2, 9)] {
        let row = container(put, deleted, counted);
        assert_eq!(Value::from(&row).newest(), Version(9));
    }
    let posted = ObjectRow {
        meta_version: Version(9),
        ..object_row(3, false)
    };
    assert_eq!(Value::from(&posted).newest(), Version(9));
    assert_eq!(Value::from(&object_row(3, false)).newest(), Version(3));
}

#[test]
fn of_two_rows_of_an_object_the_newer_data_win_then_life_then_the_newer_metadata() {
    let row = object_row(5, false);
    let winners = [
        object_row(6, true),
        ObjectRow {
            size: 301,
            ..row.clone()
        },
        ObjectRow {
            meta_version: Version(6),
            content_type: "a".into(),
            ..row.clone()
        },
        ObjectRow {
            content_type: format!("{}x", row.content_type),
            ..row.clone()
        },
    ];
    for winner in &winners {
        let want = ObjectRow::listed("o", Value::from(winner)).unwrap();
        assert_eq!(objects_merge(&row, winner), want);
        assert_eq!(objects_merge(winner, &row), want);
    }
    // A POST over older data does not bring them back.
    let posted = ObjectRow {
        meta_version: Version(99),
        ..object_row(4, false)
    };
    assert_eq!(objects_merge(&row, &posted), row);
    // Data win over a deletion of the same version.
    assert_eq!(objects_merge(&object_row(5, true), &row), row);
    assert_eq!(objects_merge(&row, &row), row);
}

#[test]
fn of_two_rows_of_a_container_the_newest_of_each_part_wins() {
    let one = ContainerRow {
        policy: 1,
        ..container(5, 9, 2)
    };
    let other = ContainerRow {
        policy: 0,
        objects: 7,
        bytes: 1,
        ..container(6, 8, 3)
    };
    let want = ContainerRow {
        deleted: Version(9),
        ..other.clone()
    };
    for (a, b) in [(&one, &other), (&other, &one)] {
        let merged = Value::from(a).merge(Value::from(b)).unwrap();
        assert_eq!(ContainerRow::listed("c", merged), Some(want.clone()));
    }
    let (row, object) = (container(1, 0, 0), object_row(1, false));
    assert_eq!(Value::from(&row).merge(Value::from(&object)), None);
    assert_eq!(ObjectRow::listed("c", Value::from(&row)), None);
    assert_eq!(ContainerRow::listed("o", Value::from(&object)), None);
}

#[test]
fn a_digest_tells_where_the_name_ends() {
    assert_ne!(digest(b"ab", b"c"), digest(b"a", b"bc"));
    assert_ne!(digest(b"a", b"b"), digest(b"a", b"c"));
}
