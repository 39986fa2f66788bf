//! Single behaviours of containers, accounts and their rows.
use virga_node::clock::{Micros, Version};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{ContainerInfo, ContainerRow, Created, Entry, ObjectRow};

use super::*;
use crate::listing::ChangeError;

#[test]
fn a_container_is_made_once_and_keeps_its_policy() {
    let device = Device::new();
    let (list, at) = (device.listings(), at("c"));
    assert_eq!(
        device.run(list.head_container(&at)),
        Ok(ContainerInfo::default()),
        "never heard of"
    );
    let first = PutContainer {
        policy: 1,
        meta: vec![item("x-container-meta-a", "1", 1)],
        ..container("c", 1)
    };
    assert_eq!(
        device.run(list.put_container(&at, first)),
        Ok(Created { created: true })
    );
    let again = PutContainer {
        policy: 2,
        meta: vec![item("x-container-meta-b", "2", 5)],
        ..container("c", 5)
    };
    assert_eq!(
        device.run(list.put_container(&at, again)),
        Ok(Created { created: false })
    );
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!(
        (info.account.as_str(), info.container.as_str(), info.policy),
        ("AUTH_a", "c", 1)
    );
    assert_eq!(
        (info.created, info.put, info.deleted, info.newest),
        (v(1), v(5), Version(0), v(5))
    );
    assert_eq!(
        info.meta,
        [
            item("x-container-meta-a", "1", 1),
            item("x-container-meta-b", "2", 5)
        ]
    );
}

#[test]
fn a_container_with_live_rows_is_not_deleted() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[object("o", 2, 10)]);
    let list = device.listings();
    assert_eq!(
        device.run(list.delete_container(&at, v(3))),
        Err(ChangeError::NotEmpty)
    );
    device.put_rows(&at, &[deleted("o", 4)]);
    assert_eq!(device.run(list.delete_container(&at, v(5))), Ok(()));
    assert_eq!(
        device.run(list.delete_container(&at, v(5))),
        Ok(()),
        "the same request again"
    );
    assert_eq!(
        device.run(list.delete_container(&at, v(6))),
        Err(ChangeError::NotFound)
    );
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!((info.exists(), info.put, info.deleted), (false, v(1), v(6)));
    let page = device.run(list.list_container(&at, all())).unwrap();
    assert_eq!(
        (page.info, page.entries),
        (info, vec![Entry::Row(deleted("o", 4))])
    );
    assert_eq!(
        device.run(list.put_container(&at, container("c", 2))),
        Err(ChangeError::Newer(v(6)))
    );
}

#[test]
fn no_metadata_older_than_the_deletion_comes_back_with_a_new_container_and_no_row_ends_with_it() {
    let device = Device::new();
    let at = at("c");
    let list = device.listings();
    let put = PutContainer {
        meta: vec![item("x-container-meta-a", "1", 1)],
        ..container("c", 1)
    };
    device.run(list.put_container(&at, put)).unwrap();
    device.put_rows(&at, &[deleted("gone", 2)]);
    device.run(list.delete_container(&at, v(10))).unwrap();
    device.put_rows(&at, &[object("late", 9, 100), object("new", 11, 7)]);
    assert_eq!(
        device.run(list.put_container(&at, container("c", 12))),
        Ok(Created { created: true })
    );
    let stale = vec![item("x-container-meta-b", "2", 8)];
    device.run(list.post_container(&at, v(8), stale)).unwrap();
    let page = device.run(list.list_container(&at, all())).unwrap();
    assert_eq!(
        (page.info.created, page.info.objects, page.info.bytes),
        (v(12), 2, 107)
    );
    assert_eq!(page.info.meta, []);
    let rows = [deleted("gone", 2), object("late", 9, 100), object("new", 11, 7)].map(Entry::Row);
    assert_eq!(page.entries, rows, "the deletion did not know of the late one");
}

#[test]
fn a_put_that_knows_of_a_deletion_makes_up_for_it_where_it_was_missed() {
    let device = Device::new();
    let (list, at) = (device.listings(), at("c"));
    let put = PutContainer {
        policy: 1,
        meta: vec![item("x-container-read", ".r:*", 1)],
        ..container("c", 1)
    };
    device.run(list.put_container(&at, put)).unwrap();
    device.put_rows(&at, &[object("o", 2, 10)]);
    let again = PutContainer {
        deleted: v(5),
        policy: 2,
        ..container("c", 8)
    };
    assert!(device.run(list.put_container(&at, again)).unwrap().created);
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!(
        (info.created, info.deleted, info.policy, info.objects),
        (v(8), v(5), 2, 1)
    );
    assert_eq!(info.meta, [], "of the life before");
    let odd = PutContainer {
        deleted: v(9),
        ..container("c", 9)
    };
    device.run(list.put_container(&at, odd)).unwrap();
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!(info.deleted, v(5), "a PUT is newer than the deletion before it");
}

#[test]
fn rows_of_an_unknown_container_wait_for_its_put() {
    let device = Device::new();
    let at = at("c");
    device.put_rows(&at, &[object("o", 5, 10)]);
    let list = device.listings();
    let page = device.run(list.list_container(&at, all())).unwrap();
    assert_eq!((page.info.exists(), page.entries.len()), (false, 1));
    assert_eq!(
        device.run(list.changed(10)).unwrap(),
        [],
        "an account cannot be told about a nameless one"
    );
    assert_eq!(
        device.run(list.delete_container(&at, v(6))),
        Err(ChangeError::NotEmpty)
    );
    device.put_container("c", 1);
    let page = device.run(list.list_container(&at, all())).unwrap();
    assert_eq!((page.info.objects, page.info.newest), (1, v(5)));
    assert_eq!(page.entries, [Entry::Row(object("o", 5, 10))]);
}

#[test]
fn metadata_of_a_missing_container_is_refused_and_of_an_existing_one_merged() {
    let device = Device::new();
    let list = device.listings();
    let items = |value: &str, version| vec![item("x-container-meta-a", value, version)];
    assert_eq!(
        device.run(list.post_container(&at("c"), v(1), items("x", 1))),
        Err(ChangeError::NotFound)
    );
    let at = device.put_container("c", 2);
    device
        .run(list.post_container(&at, v(9), items("new", 9)))
        .unwrap();
    device
        .run(list.post_container(&at, v(5), items("old", 5)))
        .unwrap();
    assert_eq!(
        device.run(list.head_container(&at)).unwrap().meta,
        items("new", 9)
    );
    device
        .run(list.post_container(&at, v(12), items("", 12)))
        .unwrap();
    device
        .run(list.post_container(&at, v(11), items("late", 11)))
        .unwrap();
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!(
        (info.meta, info.newest),
        (items("", 12), v(12)),
        "a removal is told"
    );
}

#[test]
fn a_post_changes_the_type_of_a_row_until_newer_data_comes() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let post = ObjectRow {
        meta_version: v(9),
        content_type: "image/png".into(),
        ..object("o", 3, 10)
    };
    let listed = || device.run(device.listings().list_container(&at, all())).unwrap();
    device.put_rows(&at, &[post.clone(), object("o", 3, 10)]);
    assert_eq!(listed().entries, [Entry::Row(post.clone())]);
    // Newer than the data, if not than what was posted to it.
    device.put_rows(&at, &[object("o", 5, 20), post]);
    let page = listed();
    assert_eq!(page.entries, [Entry::Row(object("o", 5, 20))]);
    assert_eq!((page.info.bytes, page.info.newest), (20, v(9)));
}

#[test]
fn odd_etags_and_long_types_are_kept_as_they_are() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let etags = [
        "",
        "D41D8CD98F00B204E9800998ECF8427E",
        "abc-12",
        "d41d8cd98f00b204e9800998ecf8427g",
        "é",
    ];
    let rows: Vec<ObjectRow> = etags
        .iter()
        .enumerate()
        .map(|(n, etag)| ObjectRow {
            etag: (*etag).into(),
            content_type: "x".repeat(n * 100),
            ..object(&format!("o{n}"), 2, u64::MAX >> (n * 9))
        })
        .collect();
    device.put_rows(&at, &rows);
    let page = device.run(device.listings().list_container(&at, all())).unwrap();
    assert_eq!(page.entries, rows.into_iter().map(Entry::Row).collect::<Vec<_>>());
}

#[test]
fn an_account_adds_up_its_containers_by_policy() {
    let device = Device::new();
    let (list, at) = (device.listings(), at("AUTH_a"));
    assert_eq!(
        device.run(list.put_account(&at, account(1))),
        Ok(Created { created: true })
    );
    let rows = vec![
        container_row("a", 2, 3, 10, 100),
        ContainerRow {
            policy: 1,
            ..container_row("b", 2, 3, 1, 7)
        },
        ContainerRow {
            deleted: v(4),
            ..container_row("c", 2, 3, 5, 5)
        },
    ];
    device.run(list.put_container_rows(&at, rows)).unwrap();
    device
        .run(list.put_container_rows(&at, vec![container_row("a", 1, 2, 99, 99)]))
        .unwrap();
    device
        .run(list.put_container_rows(&at, vec![container_row("a", 0, 5, 11, 110)]))
        .unwrap();
    let info = device.run(list.head_account(&at)).unwrap();
    assert_eq!((info.containers, info.objects, info.bytes), (2, 12, 117));
    let totals = |p: &virga_object_wire::listing::PolicyTotals| (p.policy, p.containers, p.objects, p.bytes);
    assert_eq!(
        info.policies.iter().map(totals).collect::<Vec<_>>(),
        [(0, 1, 11, 110), (1, 1, 1, 7)]
    );
    let page = device.run(list.list_account(&at, all())).unwrap();
    assert_eq!(page.entries.len(), 3);
    assert_eq!(page.entries[0], Entry::Row(container_row("a", 2, 5, 11, 110)));
}

#[test]
fn a_deleted_account_comes_back_without_its_old_containers() {
    let device = Device::new();
    let (list, at) = (device.listings(), at("AUTH_a"));
    device.run(list.put_account(&at, account(1))).unwrap();
    let rows = vec![
        container_row("old", 2, 3, 10, 100),
        container_row("new", 9, 9, 1, 1),
    ];
    device.run(list.put_container_rows(&at, rows)).unwrap();
    device.run(list.delete_account(&at, v(5))).unwrap();
    let info = device.run(list.head_account(&at)).unwrap();
    assert_eq!((info.exists(), info.deleted), (false, v(5)));
    device.run(list.put_account(&at, account(8))).unwrap();
    let page = device.run(list.list_account(&at, all())).unwrap();
    assert_eq!((page.info.containers, page.info.bytes), (1, 1));
    assert_eq!(page.entries, [Entry::Row(container_row("new", 9, 9, 1, 1))]);
}

#[test]
fn versions_from_far_ahead_and_texts_without_end_are_refused() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let list = device.listings();
    let ahead = |secs: u64| Version::at(Micros(START.0 + secs * 1_000_000));
    let row = |version| ObjectRow {
        version,
        meta_version: version,
        ..object("o", 1, 1)
    };
    assert_eq!(
        device.run(list.put_object_rows(&at, vec![row(ahead(90))])),
        Err(ChangeError::Ahead(90))
    );
    assert_eq!(
        device.run(list.put_object_rows(&at, vec![row(ahead(59))])),
        Ok(())
    );
    for name in [String::new(), "x".repeat(4097)] {
        let refused = device.run(list.put_object_rows(&at, vec![object(&name, 1, 1)]));
        assert!(matches!(refused, Err(ChangeError::Invalid(_))), "{refused:?}");
    }
    let many = vec![object("o", 1, 1); 10_001];
    let refused = device
        .run(list.put_object_rows(&at, many))
        .map_err(NodeError::from);
    assert!(matches!(refused, Err(NodeError::Invalid(_))), "{refused:?}");
    let items = |items| device.run(list.post_container(&at, v(1), items));
    for long in [
        vec![item("a", "1", 1); 257],
        vec![item("a", &"x".repeat(65_537), 1)],
        vec![item("", "1", 1)],
    ] {
        let refused = items(long);
        assert!(matches!(refused, Err(ChangeError::Invalid(_))), "{refused:?}");
    }
    let wrong = device.run(list.put_account(&at, account(1)));
    assert!(
        matches!(wrong, Err(ChangeError::Invalid(_))),
        "one hash, two kinds: {wrong:?}"
    );
}

#[test]
fn many_writers_share_the_device_and_none_is_lost() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    let list = device.listings();
    device.run(async {
        let writes = (0..64).map(|writer| {
            let at = at.clone();
            async move {
                for n in 0..10 {
                    let row = object(&format!("{writer:02}/{n}"), 2, 1);
                    list.put_object_rows(&at, vec![row]).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(writes).await;
    });
    let info = device.run(list.head_container(&at)).unwrap();
    assert_eq!((info.objects, info.bytes), (640, 640));
}

#[test]
fn one_call_may_name_a_row_twice() {
    let device = Device::new();
    let at = device.put_container("c", 1);
    device.put_rows(&at, &[object("o", 3, 30), object("o", 5, 50), object("o", 4, 40)]);
    let info = device.run(device.listings().head_container(&at)).unwrap();
    assert_eq!((info.objects, info.bytes), (1, 50));
}
