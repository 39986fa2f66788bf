//! Containers, accounts and their listings, replicas agreeing or not.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use virga_node::clock::Version;
use virga_object_wire::listing::{ContainerRow, Entry, ListRequest, ObjectRow};
use virga_object_wire::node::ObjectNode;
use virga_proxy::core::{
    AccountName, DeleteContainerError, ListError, PostMetaError, PutContainerError, Settings,
};

use crate::cluster::{Cluster, container, object, settle};

fn names<R>(entries: &[Entry<R>], name: impl Fn(&R) -> &str) -> Vec<String> {
    let name = |entry: &Entry<R>| match entry {
        Entry::Row(row) => name(row).to_owned(),
        Entry::Subdir(dir) => format!("[{dir}]"),
    };
    entries.iter().map(name).collect()
}

fn object_names(entries: &[Entry<ObjectRow>]) -> Vec<String> {
    names(entries, |row| &row.name)
}

fn container_names(entries: &[Entry<ContainerRow>]) -> Vec<String> {
    names(entries, |row| &row.name)
}

fn all() -> ListRequest {
    ListRequest {
        limit: 10_000,
        ..ListRequest::default()
    }
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_object_is_listed_at_once_and_its_row_settled() {
    let cluster = Cluster::new().await;
    for name in ["b", "a/1", "a/2", "c"] {
        cluster.put(&object(name), "four").await.unwrap();
    }
    cluster.core.delete_object(&object("c"), None).await.unwrap();
    let page = cluster.core.list_container(&container("c"), all()).await.unwrap();
    assert_eq!(object_names(&page.entries), ["a/1", "a/2", "b"]);
    assert_eq!((page.info.objects, page.info.bytes, page.more), (3, 12, false));
    let dirs = ListRequest {
        delimiter: "/".into(),
        ..all()
    };
    let page = cluster.core.list_container(&container("c"), dirs).await.unwrap();
    assert_eq!(object_names(&page.entries), ["[a/]", "b"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    settle().await;
    for (number, twin) in cluster.twins.all().enumerate() {
        assert!(
            twin.owed(&format!("d{number}")).is_empty(),
            "node {number} still owes a row"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_is_acknowledged_while_its_container_is_away_and_its_row_stays_owed() {
    let cluster = Cluster::with(6, 3, Settings::default()).await;
    let rows = cluster.of_container(&container("c"));
    // An object whose replicas lie elsewhere, as far as that is possible.
    let apart = |name: &&String| {
        let twins = cluster.of_object(&object(name));
        let mine = &twins[..3];
        rows[..2]
            .iter()
            .all(|(row, _)| mine.iter().all(|(twin, _)| !Arc::ptr_eq(row, twin)))
    };
    let candidates: Vec<String> = (0..1000).map(|i| format!("o{i}")).collect();
    let name = object(candidates.iter().find(apart).expect("some name lies apart"));
    cluster.core.container_info(&container("c")).await.unwrap();
    for (twin, _) in &rows {
        if !cluster.of_object(&name)[..3]
            .iter()
            .any(|(other, _)| Arc::ptr_eq(twin, other))
        {
            twin.set_down(true);
        }
    }
    cluster.put(&name, "x").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (twin, at) = &cluster.of_object(&name)[0];
    assert_eq!(twin.owed(&at.device).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn containers_come_and_go_and_their_account_says_so() {
    let cluster = Cluster::new().await;
    let (core, account) = (&cluster.core, AccountName::new("a").unwrap());
    assert!(
        core.put_container(&container("x"), None, vec![])
            .await
            .unwrap()
            .created
    );
    assert!(
        !core
            .put_container(&container("x"), Some(0), vec![])
            .await
            .unwrap()
            .created
    );
    let unknown = core.put_container(&container("y"), Some(7), vec![]).await;
    assert_eq!(unknown.unwrap_err(), PutContainerError::UnknownPolicy(7));
    let page = core.list_account(&account, all()).await.unwrap();
    assert_eq!(container_names(&page.entries), ["c", "x"]);
    assert_eq!(core.head_account(&account).await.unwrap().containers, 2);

    cluster.put(&object("o"), "x").await.unwrap();
    assert_eq!(
        core.delete_container(&container("c")).await,
        Err(DeleteContainerError::NotEmpty)
    );
    cluster.core.delete_object(&object("o"), None).await.unwrap();
    core.delete_container(&container("c")).await.unwrap();
    assert_eq!(
        core.delete_container(&container("c")).await,
        Err(DeleteContainerError::NotFound)
    );
    assert_eq!(
        core.head_container(&container("c")).await,
        Err(ListError::NotFound)
    );
    assert_eq!(core.container_info(&container("c")).await.unwrap(), None);
    let page = core.list_account(&account, all()).await.unwrap();
    assert_eq!(container_names(&page.entries), ["x"]);
    assert!(
        core.put_container(&container("c"), None, vec![])
            .await
            .unwrap()
            .created
    );
}

#[tokio::test(start_paused = true)]
async fn metadata_set_and_removed_is_seen_with_a_stale_replica_back() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    let core = &cluster.core;
    let set = |value: &str| vec![("x-container-read".to_owned(), value.to_owned())];
    core.post_container(&container("c"), set(".r:*")).await.unwrap();
    settle().await;
    let stale = Arc::clone(cluster.twins.all().next().unwrap());
    stale.set_down(true);
    core.post_container(&container("c"), set("")).await.unwrap();
    core.put_container(&container("new"), None, vec![]).await.unwrap();
    settle().await;
    stale.set_down(false);
    for _ in 0..20 {
        tokio::time::advance(Duration::from_millis(300)).await;
        assert!(
            core.head_container(&container("c"))
                .await
                .unwrap()
                .meta
                .is_empty()
        );
        assert!(core.head_container(&container("new")).await.is_ok());
    }
    let missing = core.post_container(&container("none"), set("x")).await;
    assert_eq!(missing, Err(PostMetaError::NotFound));
}

#[tokio::test(start_paused = true)]
async fn infos_are_remembered_for_a_moment_and_own_changes_are_seen_at_once() {
    let cluster = Cluster::new().await;
    let core = &cluster.core;
    core.container_info(&container("c")).await.unwrap().unwrap();
    let heads = || {
        cluster
            .twins
            .all()
            .map(|twin| twin.calls("head_container"))
            .sum::<u64>()
    };
    let before = heads();
    for _ in 0..100 {
        core.container_info(&container("c")).await.unwrap().unwrap();
    }
    assert_eq!(heads(), before);
    core.post_container(&container("c"), vec![("x-container-meta-a".into(), "1".into())])
        .await
        .unwrap();
    let info = core.container_info(&container("c")).await.unwrap().unwrap();
    assert_eq!(info.meta[0].value, "1");
    tokio::time::advance(Duration::from_secs(3)).await;
    let before = heads();
    core.container_info(&container("c")).await.unwrap().unwrap();
    assert!(heads() > before, "too old to be used");
}

#[tokio::test(start_paused = true)]
async fn a_container_with_two_of_three_replicas_away_is_unavailable() {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    for twin in cluster.twins.all().take(2) {
        twin.set_down(true);
    }
    let core = &cluster.core;
    assert!(matches!(
        core.head_container(&container("c")).await,
        Err(ListError::Unavailable(_))
    ));
    assert!(matches!(
        core.list_container(&container("c"), all()).await,
        Err(ListError::Unavailable(_))
    ));
    let put = core.put_container(&container("x"), None, vec![]).await;
    assert!(matches!(put, Err(PutContainerError::Unavailable(_))));
}

/// One change of a row, and the replica that misses it.
#[derive(Clone, Debug)]
struct Change {
    name: String,
    deleted: bool,
    missed_by: usize,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let name = prop::collection::vec(prop::sample::select(vec!["a", "b", "/", "c/", "é"]), 1..4);
    let change = (name, any::<bool>(), 0usize..4);
    let change = change.prop_map(|(name, deleted, missed_by)| Change {
        name: name.concat(),
        deleted,
        missed_by,
    });
    prop::collection::vec(change, 0..60)
}

fn requests() -> impl Strategy<Value = ListRequest> {
    let text = || prop::sample::select(vec!["", "", "a", "b", "a/", "/", "c", "b/c/", "é"]);
    let delimiter = prop::sample::select(vec!["", "/", "/", "c/"]);
    (text(), delimiter, text(), text(), any::<bool>(), 1u32..6).prop_map(
        |(prefix, delimiter, marker, end_marker, reverse, limit)| ListRequest {
            prefix: prefix.into(),
            delimiter: delimiter.into(),
            marker: marker.into(),
            end_marker: end_marker.into(),
            reverse,
            limit,
        },
    )
}

/// What a listing should say, in the plainest words.
fn expected(live: &BTreeMap<String, bool>, list: &ListRequest) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let names: Vec<_> = live
        .iter()
        .filter(|(_, live)| **live)
        .map(|(name, _)| name)
        .collect();
    let names: Vec<_> = if list.reverse {
        names.into_iter().rev().collect()
    } else {
        names
    };
    for name in names {
        let (after, before) = if list.reverse {
            (&list.end_marker, &list.marker)
        } else {
            (&list.marker, &list.end_marker)
        };
        let inside = (after.is_empty() || name > after) && (before.is_empty() || name < before);
        if !inside || !name.starts_with(&list.prefix) {
            continue;
        }
        let past = &name[list.prefix.len()..];
        let entry = match past.find(&list.delimiter).filter(|_| !list.delimiter.is_empty()) {
            Some(at) => {
                let dir = &name[..list.prefix.len() + at + list.delimiter.len()];
                if *dir == list.marker {
                    continue;
                }
                format!("[{dir}]")
            }
            None => name.clone(),
        };
        if out.last() != Some(&entry) {
            out.push(entry);
        }
    }
    out.truncate(list.limit as usize);
    out
}

async fn listing_is_right(changes: &[Change], list: &ListRequest, down: usize) -> Result<(), TestCaseError> {
    let cluster = Cluster::with(3, 3, Settings::default()).await;
    settle().await;
    let places = cluster.of_container(&container("c"));
    let mut live = BTreeMap::new();
    let first = cluster.hlc.next().0;
    for (number, change) in changes.iter().enumerate() {
        let version = Version(first + number as u64);
        let mut row = ObjectRow::deletion(&change.name, version);
        row.deleted = change.deleted;
        for (replica, (twin, at)) in places.iter().enumerate() {
            if replica != change.missed_by {
                twin.put_object_rows(at, vec![row.clone()]).await.unwrap();
            }
        }
        live.insert(change.name.clone(), !change.deleted);
    }
    // Any two replicas together know everything.
    if let Some((twin, _)) = places.get(down) {
        twin.set_down(true);
    }
    let page = cluster
        .core
        .list_container(&container("c"), list.clone())
        .await
        .unwrap();
    prop_assert_eq!(object_names(&page.entries), expected(&live, list));
    if !page.more {
        let unlimited = ListRequest {
            limit: u32::MAX,
            ..list.clone()
        };
        prop_assert_eq!(object_names(&page.entries), expected(&live, &unlimited));
    }
    let mut walked = Vec::new();
    let mut next = list.clone();
    loop {
        let page = cluster
            .core
            .list_container(&container("c"), next.clone())
            .await
            .unwrap();
        match page.entries.last() {
            Some(Entry::Row(row)) => next.marker = row.name.clone(),
            Some(Entry::Subdir(dir)) => next.marker = dir.clone(),
            None => break,
        }
        walked.extend(object_names(&page.entries));
    }
    let unlimited = ListRequest {
        limit: u32::MAX,
        ..list.clone()
    };
    prop_assert_eq!(walked, expected(&live, &unlimited));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_listing_shows_every_acknowledged_change_though_each_was_missed_by_one_replica(
        changes in changes(),
        list in requests(),
        down in 0usize..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(listing_is_right(&changes, &list, down))?;
    }
}
