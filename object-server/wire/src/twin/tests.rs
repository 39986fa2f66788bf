//! The twin against the words of the trait.
use bytes::Bytes;
use futures_util::StreamExt;
use virga_node::clock::{ManualClock, Micros};
use virga_ring::Partition;
use virga_ring::hash::NameHash;

use super::*;
use crate::checked::{BLOCK, Checked, EXTENT};
use crate::listing::{ContainerInfo, Entry, ListRequest, MetaItem, PutContainer};
use crate::node::{Read, Span};
use crate::object::{Found, ObjectMeta, PostMeta, PutObject, Settled, Source};

fn at(n: u8) -> At {
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(7),
        hash: NameHash([n; 16]),
        ring: virga_ring::RingEpoch::NONE,
    }
}

fn node() -> MemoryNode {
    MemoryNode::new(["d1"])
}

fn object(version: u64, bytes: &[u8]) -> (PutObject, Checked) {
    let body = Checked::seal(Bytes::copy_from_slice(bytes));
    let meta = ObjectMeta {
        path: "a/c/o".into(),
        content_type: "text/plain".into(),
        ..Default::default()
    };
    let (size, blake3) = (body.len() as u64, *blake3::hash(bytes).as_bytes());
    (
        PutObject {
            version: Version(version),
            size,
            blake3,
            meta,
            handoff_for: None,
            source: Source::Client,
        },
        body,
    )
}

async fn put(node: &MemoryNode, version: u64, bytes: &[u8]) -> Result<(), NodeError> {
    let (put, body) = object(version, bytes);
    node.put(&at(1), put, body).await
}

async fn read(node: &MemoryNode, span: Option<Span>) -> Result<(u64, Vec<u8>), NodeError> {
    let Read::Object(read) = node.get(&at(1), span).await? else {
        return Err(NodeError::NotFound);
    };
    let pieces: Vec<_> = read.body.collect().await;
    let mut bytes = Vec::new();
    for piece in pieces {
        let piece = piece?;
        assert!(piece.len() <= EXTENT);
        piece.verify().unwrap();
        bytes.extend_from_slice(piece.data());
    }
    Ok((read.body_start, bytes))
}

fn row(name: &str, version: u64, deleted: bool) -> ObjectRow {
    let mut row = ObjectRow::deletion(name, Version(version));
    (row.deleted, row.size) = (deleted, if deleted { 0 } else { 10 });
    row
}

fn put_container(version: u64) -> PutContainer {
    let (account, container) = ("a".into(), "c".into());
    PutContainer {
        account,
        container,
        version: Version(version),
        deleted: Version(0),
        policy: 0,
        meta: Vec::new(),
    }
}

async fn names(node: &MemoryNode, list: ListRequest) -> (Vec<String>, Option<String>) {
    let page = node.list_container(&at(2), list).await.unwrap();
    let name = |entry: &Entry<ObjectRow>| match entry {
        Entry::Row(row) if row.deleted => format!("-{}", row.name),
        Entry::Row(row) => row.name.clone(),
        Entry::Subdir(dir) => format!("[{dir}]"),
    };
    (page.entries.iter().map(name).collect(), page.complete_to)
}

#[tokio::test]
async fn the_larger_version_wins_in_either_order() {
    let node = node();
    put(&node, 5, b"new").await.unwrap();
    assert_eq!(put(&node, 4, b"old").await, Err(NodeError::Newer(Version(5))));
    assert_eq!(put(&node, 5, b"new").await, Ok(()), "the same again");
    assert_eq!(read(&node, None).await.unwrap(), (0, b"new".to_vec()));
    assert_eq!(
        node.delete(&at(1), Version(5), "a/c/o").await,
        Err(NodeError::Newer(Version(5)))
    );
    assert!(node.delete(&at(1), Version(6), "a/c/o").await.unwrap().existed);
    assert_eq!(
        put(&node, 6, b"").await,
        Err(NodeError::Newer(Version(6))),
        "one version is one write"
    );
    put(&node, 7, b"").await.unwrap();
    assert_eq!(
        put(&node, 7, b"other").await,
        Err(NodeError::Newer(Version(7))),
        "one version is one write"
    );
    assert!(node.delete(&at(1), Version(8), "a/c/o").await.unwrap().existed);
    assert!(!node.delete(&at(1), Version(9), "a/c/o").await.unwrap().existed);
    assert_eq!(node.head(&at(1)).await, Ok(Found::Deleted(Version(9))));
    assert!(matches!(
        node.get(&at(1), None).await,
        Ok(Read::Gone(Some(Version(9))))
    ));
    assert_eq!(node.head(&at(9)).await, Ok(Found::Absent));
}

#[tokio::test]
async fn a_metadata_update_stays_until_newer_data_comes() {
    let node = node();
    let post = |text: &str| PostMeta {
        content_type: (!text.is_empty()).then(|| text.to_owned()),
        ..PostMeta::default()
    };
    assert_eq!(
        node.post(&at(1), Version(2), post("a")).await,
        Err(NodeError::NotFound)
    );
    put(&node, 3, b"x").await.unwrap();
    assert_eq!(
        node.post(&at(1), Version(3), post("a")).await,
        Err(NodeError::Newer(Version(3)))
    );
    node.post(&at(1), Version(5), post("image/png")).await.unwrap();
    assert_eq!(put(&node, 2, b"y").await, Err(NodeError::Newer(Version(3))));
    let stat = node.post(&at(1), Version(6), post("")).await.unwrap();
    assert_eq!((stat.version, stat.meta_version), (Version(3), Version(6)));
    assert_eq!(stat.meta.content_type, "image/png");
    // Newer than the data, and the updates of that are older data's.
    put(&node, 4, b"z").await.unwrap();
    let Found::Object(stat) = node.head(&at(1)).await.unwrap() else {
        panic!("no object")
    };
    assert_eq!(
        (stat.meta_version, stat.meta.content_type.as_str()),
        (Version(4), "text/plain")
    );
}

#[tokio::test]
async fn a_span_is_served_by_whole_blocks() {
    let node = node();
    let bytes: Vec<u8> = (0..BLOCK * 3 + 10).map(|i| (i / 251) as u8).collect();
    put(&node, 1, &bytes).await.unwrap();
    let span = |start: usize, end: usize| {
        Some(Span {
            start: start as u64,
            end: end as u64,
        })
    };
    let expect = |from: usize, to: usize| (from as u64, bytes[from..to].to_vec());
    assert_eq!(read(&node, None).await.unwrap(), expect(0, bytes.len()));
    assert_eq!(
        read(&node, span(BLOCK + 1, BLOCK + 2)).await.unwrap(),
        expect(BLOCK, 2 * BLOCK)
    );
    assert_eq!(
        read(&node, span(BLOCK - 1, BLOCK + 1)).await.unwrap(),
        expect(0, 2 * BLOCK)
    );
    assert_eq!(
        read(&node, span(3 * BLOCK, usize::MAX)).await.unwrap(),
        expect(3 * BLOCK, bytes.len())
    );
    assert!(
        read(&node, span(bytes.len(), usize::MAX))
            .await
            .unwrap()
            .1
            .is_empty()
    );
}

#[tokio::test]
async fn a_large_object_is_visible_only_after_its_commit() {
    let node = node();
    let bytes = vec![9; EXTENT + BLOCK + 1];
    let mut stream = node.begin_put(&at(1)).await.unwrap();
    stream
        .send(Checked::seal(bytes[..EXTENT].to_vec().into()))
        .await
        .unwrap();
    stream
        .send(Checked::seal(bytes[EXTENT..].to_vec().into()))
        .await
        .unwrap();
    assert_eq!(node.head(&at(1)).await, Ok(Found::Absent));
    assert!(matches!(
        stream.send(Checked::seal(Bytes::from_static(b"x"))).await,
        Err(NodeError::Invalid(_))
    ));
    put(&node, 5, b"other").await.unwrap();
    assert_eq!(
        stream.commit(object(4, &bytes).0).await,
        Err(NodeError::Newer(Version(5)))
    );
    let mut wrong = object(6, &bytes).0;
    wrong.blake3 = [1; 32];
    assert_eq!(stream.commit(wrong).await, Err(NodeError::Garbled));
    stream.commit(object(6, &bytes).0).await.unwrap();
    assert_eq!(read(&node, None).await.unwrap(), (0, bytes));
}

#[tokio::test]
async fn a_damaged_block_is_never_served_and_the_record_is_set_aside() {
    let node = node();
    put(&node, 1, &vec![1; BLOCK * 2]).await.unwrap();
    assert!(node.corrupt(&at(1), 1));
    let first = Some(Span { start: 0, end: 10 });
    assert_eq!(
        read(&node, first).await.unwrap().1.len(),
        BLOCK,
        "a good block is served"
    );
    assert_eq!(read(&node, None).await, Err(NodeError::Damaged));
    assert_eq!(node.head(&at(1)).await, Ok(Found::Absent));
    assert_eq!(node.status().await.unwrap()[0].quarantined, 1);
}

#[tokio::test]
async fn rows_are_owed_until_that_version_is_settled() {
    let node = node();
    let settled = |version| Settled {
        policy: 0,
        partition: at(1).partition,
        hash: at(1).hash,
        version: Version(version),
    };
    put(&node, 3, b"x").await.unwrap();
    node.settle(&at(1).device, vec![settled(2)]).await.unwrap();
    assert_eq!(node.owed("d1")[0].row.name, "o");
    node.settle(&at(1).device, vec![settled(3)]).await.unwrap();
    assert!(node.owed("d1").is_empty());
    node.delete(&at(1), Version(4), "a/c/o").await.unwrap();
    assert!(node.owed("d1")[0].row.deleted);
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let clock = Arc::new(ManualClock::new(Micros(0)));
    let node = MemoryNode::with_clock(["d1"], clock);
    let far = Version::at(Micros(61_000_000));
    assert_eq!(put(&node, far.0, b"x").await, Err(NodeError::Ahead(61)));
    let (mut short, body) = object(1, b"abc");
    short.size = 2;
    assert!(matches!(
        node.put(&at(1), short, body).await,
        Err(NodeError::Invalid(_))
    ));
    let bad = Checked::unverified(Bytes::from_static(b"abc"), vec![0]);
    assert_eq!(
        node.put(&at(1), object(1, b"abc").0, bad).await,
        Err(NodeError::Garbled)
    );
    node.set(|s| s.full = true);
    assert_eq!(put(&node, 1, b"x").await, Err(NodeError::Full));
    node.set(|s| s.full = false);
    node.set_device_down("d1", true);
    assert_eq!(put(&node, 1, b"x").await, Err(NodeError::NoDevice("d1".into())));
    node.set_device_down("d1", false);
    node.set_down(true);
    assert!(matches!(
        put(&node, 1, b"x").await,
        Err(NodeError::Unreachable(_))
    ));
    node.set_down(false);
    assert_eq!(node.head(&at(1)).await, Ok(Found::Absent));
    node.set(|s| s.drop_acks = true);
    assert!(matches!(
        put(&node, 1, b"x").await,
        Err(NodeError::Unreachable(_))
    ));
    node.set(|s| s.drop_acks = false);
    assert_eq!(
        read(&node, None).await.unwrap().1,
        b"x",
        "carried out, only the answer was lost"
    );
    assert_eq!(node.calls("put"), 7);
}

#[tokio::test]
async fn a_delayed_call_waits_for_its_notification() {
    let (node, gate) = (node(), Arc::new(Notify::new()));
    node.set(|s| s.delay_calls = Some(Arc::clone(&gate)));
    let mut call = Box::pin(put(&node, 1, b"x"));
    assert!(futures_util::poll!(&mut call).is_pending());
    assert_eq!(node.waiting(), 1);
    gate.notify_one();
    call.await.unwrap();
    assert_eq!(node.waiting(), 0);
}

#[tokio::test]
async fn a_container_lives_between_its_put_and_its_delete() {
    let node = node();
    let c = at(2);
    assert_eq!(
        node.head_container(&c).await,
        Ok(ContainerInfo::default()),
        "never heard of"
    );
    node.put_object_rows(&c, vec![row("early", 4, false)])
        .await
        .unwrap();
    assert!(node.put_container(&c, put_container(3)).await.unwrap().created);
    assert!(!node.put_container(&c, put_container(2)).await.unwrap().created);
    let info = node.head_container(&c).await.unwrap();
    assert_eq!(
        (info.created, info.put, info.objects, info.bytes),
        (Version(2), Version(3), 1, 10)
    );
    assert_eq!(
        node.delete_container(&c, Version(9)).await,
        Err(NodeError::NotEmpty)
    );
    node.put_object_rows(&c, vec![row("early", 5, true)])
        .await
        .unwrap();
    assert_eq!(
        node.delete_container(&c, Version(2)).await,
        Err(NodeError::Newer(Version(3)))
    );
    node.delete_container(&c, Version(9)).await.unwrap();
    node.delete_container(&c, Version(9))
        .await
        .expect("the same again");
    assert_eq!(
        node.delete_container(&c, Version(8)).await,
        Err(NodeError::NotFound)
    );
    node.put_object_rows(&c, vec![row("late", 8, false), row("next", 10, false)])
        .await
        .unwrap();
    assert_eq!(
        node.put_container(&c, put_container(9)).await,
        Err(NodeError::Newer(Version(9)))
    );
    assert!(node.put_container(&c, put_container(11)).await.unwrap().created);
    assert_eq!(
        names(
            &node,
            ListRequest {
                limit: 9,
                ..Default::default()
            }
        )
        .await
        .0,
        ["-early", "late", "next"],
        "the deletion did not know of them"
    );
}

#[tokio::test]
async fn metadata_merges_item_by_item() {
    let (node, c) = (node(), at(2));
    let item = |value: &str, version| MetaItem {
        name: "x-container-meta-color".into(),
        value: value.into(),
        version: Version(version),
    };
    node.put_container(
        &c,
        PutContainer {
            meta: vec![item("red", 3)],
            ..put_container(3)
        },
    )
    .await
    .unwrap();
    node.post_container(&c, Version(2), vec![item("blue", 2)])
        .await
        .unwrap();
    assert_eq!(node.head_container(&c).await.unwrap().meta, [item("red", 3)]);
    node.post_container(&c, Version(4), vec![item("", 4)])
        .await
        .unwrap();
    assert_eq!(
        node.head_container(&c).await.unwrap().meta,
        [item("", 4)],
        "a removal is told"
    );
    assert_eq!(node.head_container(&c).await.unwrap().newest, Version(4));
}

#[tokio::test]
async fn rows_in_any_order_give_the_same_digest() {
    let rows = [
        row("a", 1, false),
        row("a", 3, true),
        row("b", 2, false),
        row("a", 2, false),
    ];
    let mut digests = Vec::new();
    for turn in 0..rows.len() {
        let node = node();
        node.put_container(&at(2), put_container(1)).await.unwrap();
        for n in 0..rows.len() {
            node.put_object_rows(&at(2), vec![rows[(n + turn) % rows.len()].clone()])
                .await
                .unwrap();
        }
        let info = node.head_container(&at(2)).await.unwrap();
        assert_eq!(info.objects, 1);
        digests.push(info.digest);
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]) && digests[0] != 0);
}

#[tokio::test]
async fn pages_follow_prefix_delimiter_markers_order_and_limit() {
    let (node, c) = (node(), at(2));
    node.put_container(&c, put_container(1)).await.unwrap();
    let live = ["a", "b/1", "b/2", "c", "d/x"].map(|name| row(name, 2, false));
    let dead = ["b/0", "bb", "e/1"].map(|name| row(name, 2, true));
    node.put_object_rows(&c, [live.to_vec(), dead.to_vec()].concat())
        .await
        .unwrap();
    let ask = |prefix: &str, delimiter: &str, marker: &str, end: &str, reverse, limit| ListRequest {
        prefix: prefix.into(),
        delimiter: delimiter.into(),
        marker: marker.into(),
        end_marker: end.into(),
        reverse,
        limit,
    };
    let all = |names: &[&str]| (names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>(), None);
    let cut = |names: &[&str], to: &str| (all(names).0, Some(to.to_owned()));
    let cases = [
        (
            ask("", "", "", "", false, 9),
            all(&["a", "-b/0", "b/1", "b/2", "-bb", "c", "d/x", "-e/1"]),
        ),
        (
            ask("", "/", "", "", false, 9),
            all(&["a", "[b/]", "-bb", "c", "[d/]"]),
        ),
        (
            ask("", "/", "", "", true, 9),
            all(&["[d/]", "c", "-bb", "[b/]", "a"]),
        ),
        (ask("", "/", "", "", false, 2), cut(&["a", "[b/]"], "b/")),
        (ask("", "/", "b/", "", false, 9), all(&["-bb", "c", "[d/]"])),
        (ask("", "/", "b/1", "", false, 1), cut(&["[b/]"], "b/")),
        (ask("", "/", "b/", "", true, 9), all(&["a"])),
        (ask("b/", "/", "", "", false, 9), all(&["-b/0", "b/1", "b/2"])),
        (ask("b", "/", "", "", false, 9), all(&["[b/]", "-bb"])),
        (ask("", "", "b/1", "c", false, 9), all(&["b/2", "-bb"])),
        (ask("", "", "c", "b/1", true, 9), all(&["-bb", "b/2"])),
        (ask("", "", "", "", false, 0), cut(&[], "")),
        (ask("zzz", "", "", "", false, 0), all(&[])),
        (ask("", "", "b/2", "", false, 1), cut(&["-bb", "c"], "c")),
    ];
    for (request, expected) in cases {
        assert_eq!(names(&node, request.clone()).await, expected, "{request:?}");
    }
}

#[tokio::test]
async fn an_object_whose_time_has_come_is_as_good_as_deleted() {
    let clock = Arc::new(ManualClock::new(Micros(0)));
    let node = MemoryNode::with_clock(["d1"], clock.clone());
    let (mut new, body) = object(5, b"x");
    new.meta.delete_at = Some(10);
    node.put(&at(1), new, body).await.unwrap();
    assert!(matches!(node.head(&at(1)).await, Ok(Found::Object(_))));
    clock.set(Micros(10_000_000));
    assert_eq!(node.head(&at(1)).await, Ok(Found::Deleted(Version(5))));
    assert!(matches!(
        node.get(&at(1), None).await,
        Ok(Read::Gone(Some(Version(5))))
    ));
    assert_eq!(
        node.post(&at(1), Version(6), PostMeta::default()).await,
        Err(NodeError::NotFound)
    );
    assert!(!node.delete(&at(1), Version(6), "a/c/o").await.unwrap().existed);
}
