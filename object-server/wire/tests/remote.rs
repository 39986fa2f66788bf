//! A node across the network is the same node: every call over sockets gives
//! what the direct call gives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
use std::sync::Arc;

use futures_util::StreamExt;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use virga_node::clock::{Micros, Version};
use virga_node::task::Tasks;
use virga_object_wire::checked::{BLOCK, Checked, EXTENT};
use virga_object_wire::dispatch::Dispatch;
use virga_object_wire::error::NodeError;
use virga_object_wire::hold::Hold;
use virga_object_wire::listing::{ContainerRow, ListRequest, MetaItem, ObjectRow, PutAccount, PutContainer};
use virga_object_wire::movement::{Buckets, NamesRequest, Push};
use virga_object_wire::node::{Nodes, ObjectNode, Read, Span};
use virga_object_wire::object::{
    At, Found, ObjectMeta, PostMeta, PutObject, Settled, Source, SubtreesRequest,
};
use virga_object_wire::posted::Posted;
use virga_object_wire::table::NodeTable;
use virga_object_wire::twin::MemoryNode;
use virga_ring::hash::NameHash;
use virga_ring::{Device, Partition};
use virga_rpc::Secret;
use virga_rpc::server::serve;

fn secret() -> Secret {
    Secret::new("the secret of these tests").unwrap()
}

fn device(port: u16) -> Device {
    let json = format!(r#"{{"id":0,"zone":1,"ip":"127.0.0.1","port":{port},"device":"d1","weight":1.0}}"#);
    serde_json::from_str(&json).unwrap()
}

/// A twin, and the same twin behind a socket.
struct Pair {
    twin: Arc<MemoryNode>,
    remote: Arc<dyn ObjectNode>,
}

async fn pair() -> Pair {
    let twin = Arc::new(MemoryNode::new(["d1"]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = Tasks::new();
    let handler = Arc::new(Dispatch::new(twin.clone()));
    tasks.spawn(serve(listener, secret(), handler, tasks.clone()));
    let remote = NodeTable::new(secret(), tasks).node(&device(port));
    Pair { twin, remote }
}

fn at(n: u8) -> At {
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(n.into()),
        hash: NameHash([n; 16]),
        ring: virga_ring::RingEpoch::NONE,
    }
}

fn put(version: u64, body: &[u8]) -> PutObject {
    let meta = ObjectMeta {
        path: "a/c/o".into(),
        headers: vec![("x-object-meta-a".into(), "b".into())],
        ..ObjectMeta::default()
    };
    let (size, blake3) = (body.len() as u64, *blake3::hash(body).as_bytes());
    PutObject {
        version: Version(version),
        size,
        blake3,
        meta,
        handoff_for: None,
        source: Source::Client,
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 253) as u8).collect()
}

/// What a get gave, in a form that can be compared; adjoining pieces are one.
async fn read(node: &dyn ObjectNode, at: &At, span: Option<Span>) -> String {
    shown(node.get(at, span).await).await
}

async fn shown(read: Result<Read, NodeError>) -> String {
    match read {
        Err(error) => format!("{error:?}"),
        Ok(Read::Gone(version)) => format!("gone {version:?}"),
        Ok(Read::Object(mut read)) => {
            let (mut all, mut failed) = (Vec::new(), None);
            while let Some(piece) = read.body.next().await {
                match piece {
                    Ok(piece) => {
                        piece.verify().unwrap();
                        all.extend_from_slice(piece.data());
                    }
                    Err(error) => failed = Some(error),
                }
            }
            format!(
                "{:?} {} {:?} {failed:?}",
                read.stat,
                read.body_start,
                blake3::hash(&all)
            )
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u64, usize),
    Large(u8, u64, usize),
    Get(u8, Option<(u64, u64)>),
    Post(u8, u64),
    Delete(u8, u64),
    Push(u8, u64, bool),
    Names(u8),
    Settle(u8, u64),
    Hold(u8, u8, bool),
    PutContainer(u8, u64),
    PostContainer(u8, u64),
    DeleteContainer(u8, u64),
    Rows(u8, Vec<(u8, u64, bool)>),
    List(u8, String, String, bool, u32),
    PutAccount(u8, u64),
    DeleteAccount(u8, u64),
    ContainerRows(u8, Vec<(u8, u64, u64)>),
    Corrupt(u8, usize),
    Full(bool),
    Away(bool),
}

fn steps() -> impl Strategy<Value = Step> {
    let n = 0_u8..3;
    let v = 1_u64..30;
    let size = prop_oneof![0_usize..200, BLOCK - 1..BLOCK + 2, 300_000_usize..700_000];
    let span = prop::option::of((0_u64..800_000, 0_u64..800_000));
    let rows = vec((0_u8..20, v.clone(), any::<bool>()), 0..6);
    let name = prop_oneof![Just(String::new()), "[a-c]", Just("/".to_owned())];
    prop_oneof![
        4 => (n.clone(), v.clone(), size).prop_map(|(n, v, size)| Step::Put(n, v, size)),
        1 => (n.clone(), v.clone(), 0_usize..5).prop_map(|(n, v, blocks)| Step::Large(n, v, EXTENT + blocks * 70_000)),
        4 => (n.clone(), span).prop_map(|(n, span)| Step::Get(n, span)),
        2 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::Post(n, v)),
        2 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::Delete(n, v)),
        2 => (n.clone(), v.clone(), any::<bool>()).prop_map(|(n, v, deleted)| Step::Push(n, v, deleted)),
        2 => n.clone().prop_map(Step::Names),
        1 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::Settle(n, v)),
        1 => (n.clone(), 0_u8..3, any::<bool>()).prop_map(|(n, holder, end)| Step::Hold(n, holder, end)),
        3 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::PutContainer(n, v)),
        1 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::PostContainer(n, v)),
        1 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::DeleteContainer(n, v)),
        3 => (n.clone(), rows).prop_map(|(n, rows)| Step::Rows(n, rows)),
        3 => (n.clone(), name.clone(), name, any::<bool>(), 0_u32..9)
            .prop_map(|(n, prefix, delimiter, reverse, limit)| Step::List(n, prefix, delimiter, reverse, limit)),
        2 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::PutAccount(n, v)),
        1 => (n.clone(), v.clone()).prop_map(|(n, v)| Step::DeleteAccount(n, v)),
        2 => (n.clone(), vec((0_u8..9, v.clone(), v), 0..4)).prop_map(|(n, rows)| Step::ContainerRows(n, rows)),
        1 => (n, 0_usize..6).prop_map(|(n, block)| Step::Corrupt(n, block)),
        1 => any::<bool>().prop_map(Step::Full),
        1 => any::<bool>().prop_map(Step::Away),
    ]
}

fn row(name: u8, version: u64, deleted: bool) -> ObjectRow {
    let name = format!("{}/{name}", char::from(b'a' + name % 3));
    ObjectRow {
        deleted,
        size: version,
        ..ObjectRow::deletion(&name, Version(version))
    }
}

async fn large(node: &dyn ObjectNode, at: &At, version: u64, size: usize) -> Result<(), NodeError> {
    let body = bytes(size);
    let mut stream = node.begin_put(at).await?;
    for piece in body.chunks(EXTENT) {
        stream.send(Checked::seal(piece.to_vec().into())).await?;
    }
    match stream.commit(put(version, &body)).await {
        Err(NodeError::Newer(newer)) => stream.commit(put(newer.0 + 1, &body)).await,
        done => done,
    }
}

/// Carries a step out on `node`; switches are turned on `twin` beneath it.
/// What a node says it knows of a place's partition.
async fn knowledge(node: &dyn ObjectNode, at: &At) -> String {
    let partitions = vec![at.partition, Partition(77)];
    let mut sums = node.sums(&at.device, at.policy, partitions).await;
    if let Ok(sums) = &mut sums {
        // The two are asked one after the other.
        assert_ne!(
            sums.answering.now,
            Micros::default(),
            "a node says what time it is"
        );
        sums.answering.now = Micros::default();
    }
    let buckets = node.bucket_sums(&at.device, at.policy, at.partition).await;
    let wanted = NamesRequest {
        policy: at.policy,
        partition: at.partition,
        buckets: Buckets::ALL,
        after: None,
        limit: 10,
    };
    let names = node.names(&at.device, wanted).await;
    let subtrees = match node.head(at).await {
        Ok(Found::Object(stat)) => {
            let wanted = SubtreesRequest {
                version: stat.version,
                blake3: stat.blake3,
                first: 1,
                count: 3,
            };
            format!("{:?}", node.subtrees(at, wanted).await)
        }
        _ => String::new(),
    };
    format!(
        "{sums:?} {buckets:?} {names:?} {subtrees} {:?} {:?}",
        node.records(at).await,
        node.movement().await
    )
}

async fn carry(node: &dyn ObjectNode, twin: &MemoryNode, step: Step) -> String {
    let item = |version: u64| MetaItem {
        name: "x-container-meta-a".into(),
        value: version.to_string(),
        version: Version(version),
    };
    match step {
        Step::Put(n, v, size) => {
            let body = bytes(size);
            format!(
                "{:?}",
                node.put(&at(n), put(v, &body), Checked::seal(body.into())).await
            )
        }
        Step::Large(n, v, size) => format!("{:?}", large(node, &at(n), v, size).await),
        Step::Get(n, span) => {
            let found = node.head(&at(n)).await;
            let span = span.map(|(start, end)| Span { start, end });
            let visible = read(node, &at(n), span).await;
            let expired_too = shown(node.get_expired_too(&at(n), span).await).await;
            format!("{found:?} {visible} {expired_too}")
        }
        Step::Post(n, v) => {
            let meta = PostMeta {
                content_type: (v % 2 == 0).then(|| format!("t/{v}")),
                // Some are over since long ago.
                delete_at: (v % 3 == 0).then_some(1),
                ..PostMeta::default()
            };
            match v % 5 {
                0 => format!("{:?}", node.post_expired_too(&at(n), Version(v), meta).await),
                _ => format!("{:?}", node.post(&at(n), Version(v), meta).await),
            }
        }
        Step::Delete(n, v) => format!("{:?}", node.delete(&at(n), Version(v), "a/c/o").await),
        Step::Push(n, v, deleted) => {
            let push = if deleted {
                Push::Deletion {
                    version: Version(v),
                    path: "a/c/o".into(),
                    row_owed: v % 2 == 0,
                }
            } else {
                Push::Post {
                    update: Posted {
                        over: Version(v.saturating_sub(1)),
                        version: Version(v),
                        typed: Version(0),
                        blake3: [n; 32],
                        meta: PostMeta::default(),
                    },
                    row_owed: v % 2 == 0,
                }
            };
            format!("{:?}", node.push(&at(n), push).await)
        }
        Step::Names(n) => knowledge(node, &at(n)).await,
        Step::Hold(n, holder, end) => {
            let hold = Hold {
                holder: holder.into(),
                lease_ms: if end { 0 } else { 60_000 },
            };
            format!("{:?}", node.hold(&at(n), hold).await)
        }
        Step::Settle(n, v) => {
            let At {
                device,
                policy,
                partition,
                hash,
                ..
            } = at(n);
            format!(
                "{:?}",
                node.settle(
                    &device,
                    vec![Settled {
                        policy,
                        partition,
                        hash,
                        version: Version(v)
                    }]
                )
                .await
            )
        }
        Step::PutContainer(n, v) => {
            let (account, container) = ("a".to_owned(), format!("c{n}"));
            let put = PutContainer {
                account,
                container,
                version: Version(v),
                deleted: Version(0),
                policy: 1,
                meta: vec![item(v)],
            };
            format!("{:?}", node.put_container(&at(n), put).await)
        }
        Step::PostContainer(n, v) => {
            format!(
                "{:?}",
                node.post_container(&at(n), Version(v), vec![item(v)]).await
            )
        }
        Step::DeleteContainer(n, v) => format!("{:?}", node.delete_container(&at(n), Version(v)).await),
        Step::Rows(n, rows) => {
            let rows = rows
                .into_iter()
                .map(|(name, version, deleted)| row(name, version, deleted))
                .collect();
            format!("{:?}", node.put_object_rows(&at(n), rows).await)
        }
        Step::List(n, prefix, delimiter, reverse, limit) => {
            let list = ListRequest {
                prefix,
                delimiter,
                reverse,
                limit,
                ..ListRequest::default()
            };
            let containers = node.list_account(&at(n), list.clone()).await;
            let objects = node.list_container(&at(n), list).await;
            let heads = (node.head_container(&at(n)).await, node.head_account(&at(n)).await);
            format!("{objects:?} {containers:?} {heads:?}")
        }
        Step::PutAccount(n, v) => {
            let put = PutAccount {
                account: "a".into(),
                version: Version(v),
                meta: vec![item(v)],
            };
            format!("{:?}", node.put_account(&at(n), put).await)
        }
        Step::DeleteAccount(n, v) => format!("{:?}", node.delete_account(&at(n), Version(v)).await),
        Step::ContainerRows(n, rows) => {
            let row = |(name, put, deleted): (u8, u64, u64)| ContainerRow {
                name: format!("c{name}"),
                put: Version(put),
                deleted: Version(deleted),
                policy: 0,
                counted: Version(put),
                objects: put,
                bytes: deleted,
            };
            format!(
                "{:?}",
                node.put_container_rows(&at(n), rows.into_iter().map(row).collect())
                    .await
            )
        }
        Step::Corrupt(n, block) => format!("{}", twin.corrupt(&at(n), block)),
        Step::Full(full) => {
            twin.set(|s| s.full = full);
            format!("{:?}", node.status().await)
        }
        Step::Away(away) => {
            twin.set_device_down("d1", away);
            format!("{:?}", node.status().await)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_remote_call_gives_what_the_direct_call_gives(steps in vec(steps(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let direct = MemoryNode::new(["d1"]);
            let pair = pair().await;
            for (n, step) in steps.into_iter().enumerate() {
                let expected = carry(&direct, &direct, step.clone()).await;
                let got = carry(&*pair.remote, &pair.twin, step.clone()).await;
                prop_assert_eq!(got, expected, "step {}: {:?}", n, step);
            }
            prop_assert_eq!(pair.twin.owed("d1"), direct.owed("d1"));
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_page_larger_than_any_message_arrives_whole() {
    let Pair { twin, remote } = pair().await;
    let (account, container) = ("a".into(), "c".into());
    let made = PutContainer {
        account,
        container,
        version: Version(1),
        deleted: Version(0),
        policy: 0,
        meta: Vec::new(),
    };
    remote.put_container(&at(1), made).await.unwrap();
    let long = "n".repeat(1000);
    let rows = (0..3000_u32).map(|n| ObjectRow {
        deleted: false,
        ..ObjectRow::deletion(&format!("{n:06}{long}"), Version(2))
    });
    remote.put_object_rows(&at(1), rows.collect()).await.unwrap();
    let list = ListRequest {
        limit: 10_000,
        ..ListRequest::default()
    };
    let page = remote.list_container(&at(1), list.clone()).await.unwrap();
    assert_eq!(page.entries.len(), 3000);
    assert_eq!(Ok(page), twin.list_container(&at(1), list).await);
}

#[tokio::test]
async fn bytes_that_do_not_match_their_checksum_are_refused_on_arrival() {
    let Pair { twin, remote } = pair().await;
    let body = bytes(2 * BLOCK);
    let crcs = Checked::seal(body.clone().into()).crcs().to_vec();
    let mut bent = body.clone();
    bent[BLOCK + 5] ^= 1;
    let bent = Checked::unverified(bent.into(), crcs);
    assert_eq!(
        remote.put(&at(1), put(1, &body), bent.clone()).await,
        Err(NodeError::Garbled)
    );
    let mut stream = remote.begin_put(&at(1)).await.unwrap();
    stream.send(bent).await.unwrap();
    assert_eq!(stream.commit(put(1, &body)).await, Err(NodeError::Garbled));
    assert_eq!(twin.head(&at(1)).await, Ok(Found::Absent));
}

#[tokio::test]
async fn a_large_object_given_up_leaves_nothing() {
    let Pair { twin, remote } = pair().await;
    let mut stream = remote.begin_put(&at(1)).await.unwrap();
    stream.send(Checked::seal(bytes(EXTENT).into())).await.unwrap();
    drop(stream);
    assert_eq!(remote.head(&at(1)).await, Ok(Found::Absent));
    assert_eq!(twin.head(&at(1)).await, Ok(Found::Absent));
}

#[tokio::test]
async fn a_call_dropped_by_its_caller_is_dropped_by_the_server() {
    let Pair { twin, remote } = pair().await;
    twin.set(|s| s.delay_calls = Some(Arc::new(Notify::new())));
    let here = at(1);
    let mut call = remote.head(&here);
    while twin.waiting() == 0 {
        assert!(futures_util::poll!(&mut call).is_pending());
        tokio::task::yield_now().await;
    }
    drop(call);
    while twin.waiting() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable_and_a_local_node_is_called_directly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let table = NodeTable::new(secret(), Tasks::new());
    assert!(matches!(
        table.node(&device(port)).head(&at(1)).await,
        Err(NodeError::Unreachable(_))
    ));
    let local = Arc::new(MemoryNode::new(["d1"]));
    table.register("127.0.0.1", port, local.clone());
    assert_eq!(table.node(&device(port)).head(&at(1)).await, Ok(Found::Absent));
    assert_eq!(local.calls("head"), 1);
}

#[tokio::test]
async fn a_node_that_loses_answers_is_unreachable_though_it_did_the_work() {
    let Pair { twin, remote } = pair().await;
    twin.set(|s| s.drop_acks = true);
    let body = bytes(10);
    let lost = remote
        .put(&at(1), put(1, &body), Checked::seal(body.clone().into()))
        .await;
    assert!(matches!(lost, Err(NodeError::Unreachable(_))));
    twin.set(|s| s.drop_acks = false);
    assert!(matches!(remote.head(&at(1)).await, Ok(Found::Object(_))));
}
