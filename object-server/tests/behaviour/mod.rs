//! What any node does, as random steps whose answers can be compared.
//!
//! Used on the reference in memory and on the node over real devices: both must
//! give the same answers, step by step.
use futures_util::StreamExt;
use proptest::collection::vec;
use proptest::prelude::*;
use virga_node::clock::{Micros, Version};
use virga_object_wire::checked::{BLOCK, Checked, EXTENT};
use virga_object_wire::error::NodeError;
use virga_object_wire::listing::{
    AccountInfo, ContainerInfo, ContainerRow, Entry, ListRequest, MetaItem, ObjectRow, PutAccount,
    PutContainer,
};
use virga_object_wire::node::{ObjectNode, Read, Span};
use virga_object_wire::object::{At, Found, ObjectMeta, PostMeta, PutObject, Source};
use virga_ring::{NameHash, Partition};

/// When the tests take place. Versions lie just before it: what was deleted
/// long ago is forgotten, and would not be compared.
pub const NOW: Micros = Micros(1_800_000_000_000_000);

/// The `n`th version.
pub fn v(n: u64) -> Version {
    Version(Version::at(NOW).0 - 1000 + n)
}

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    Put {
        n: u8,
        version: u64,
        size: usize,
        salt: u8,
    },
    Large {
        n: u8,
        version: u64,
        size: usize,
    },
    Read {
        n: u8,
        span: Option<(u64, u64)>,
    },
    Post {
        n: u8,
        version: u64,
        content_type: bool,
    },
    Delete {
        n: u8,
        version: u64,
    },
    PutContainer {
        n: u8,
        version: u64,
        policy: u32,
        meta: u8,
    },
    PostContainer {
        n: u8,
        version: u64,
        meta: u8,
    },
    DeleteContainer {
        n: u8,
        version: u64,
    },
    Rows {
        n: u8,
        rows: Vec<(u8, u64, bool)>,
    },
    List {
        n: u8,
        list: ListRequest,
    },
    PutAccount {
        n: u8,
        version: u64,
    },
    DeleteAccount {
        n: u8,
        version: u64,
    },
    ContainerRows {
        n: u8,
        rows: Vec<(u8, u64, u64)>,
    },
}

pub fn steps() -> impl Strategy<Value = Step> {
    let n = || 0_u8..3;
    let version = || 1_u64..40;
    let size = prop_oneof![6 => 0_usize..200, 2 => BLOCK - 1..BLOCK + 2, 1 => 200_000_usize..400_000];
    let span = prop::option::of((0_u64..500_000, 0_u64..500_000));
    let name =
        || prop_oneof![3 => Just(String::new()), 2 => "[a-c]", 1 => "[a-c]/[0-9]", 1 => Just("/".to_owned())];
    let list = (
        name(),
        prop_oneof![Just(""), Just("/")],
        name(),
        name(),
        any::<bool>(),
        1_u32..9,
    )
        .prop_map(
            |(prefix, delimiter, marker, end_marker, reverse, limit)| ListRequest {
                prefix,
                delimiter: delimiter.to_owned(),
                marker,
                end_marker,
                reverse,
                limit,
            },
        );
    prop_oneof![
        4 => (n(), version(), size, 0_u8..2).prop_map(|(n, version, size, salt)| Step::Put { n, version, size, salt }),
        1 => (n(), version(), 0_usize..3).prop_map(|(n, version, more)| Step::Large { n, version, size: EXTENT + more * 70_000 }),
        4 => (n(), span).prop_map(|(n, span)| Step::Read { n, span }),
        3 => (n(), version(), any::<bool>()).prop_map(|(n, version, content_type)| Step::Post { n, version, content_type }),
        3 => (n(), version()).prop_map(|(n, version)| Step::Delete { n, version }),
        4 => (n(), version(), 0_u32..2, 0_u8..3).prop_map(|(n, version, policy, meta)| Step::PutContainer { n, version, policy, meta }),
        2 => (n(), version(), 0_u8..3).prop_map(|(n, version, meta)| Step::PostContainer { n, version, meta }),
        2 => (n(), version()).prop_map(|(n, version)| Step::DeleteContainer { n, version }),
        4 => (n(), vec((0_u8..12, version(), any::<bool>()), 0..6)).prop_map(|(n, rows)| Step::Rows { n, rows }),
        5 => (n(), list).prop_map(|(n, list)| Step::List { n, list }),
        2 => (n(), version()).prop_map(|(n, version)| Step::PutAccount { n, version }),
        1 => (n(), version()).prop_map(|(n, version)| Step::DeleteAccount { n, version }),
        3 => (n(), vec((0_u8..6, version(), version()), 0..4)).prop_map(|(n, rows)| Step::ContainerRows { n, rows }),
    ]
}

/// A name's place; objects, containers and accounts never share one.
pub fn at(n: u8) -> At {
    At {
        device: "d1".into(),
        policy: 0,
        partition: Partition(n.into()),
        hash: NameHash([n; 16]),
        ring: virga_ring::RingEpoch::NONE,
    }
}

pub fn bytes(size: usize, salt: u8) -> Vec<u8> {
    (0..size).map(|at| (at / 251) as u8 ^ salt).collect()
}

pub fn put(version: u64, body: &[u8]) -> PutObject {
    let meta = ObjectMeta {
        path: "a/c/o".into(),
        content_type: "text/plain".into(),
        headers: vec![("x-object-meta-version".into(), version.to_string())],
        ..ObjectMeta::default()
    };
    let (size, blake3) = (body.len() as u64, *blake3::hash(body).as_bytes());
    PutObject {
        version: v(version),
        size,
        blake3,
        meta,
        handoff_for: None,
        source: Source::Client,
    }
}

/// The bytes of an object from where its first piece starts, or why not.
pub async fn read(node: &dyn ObjectNode, at: &At, span: Option<Span>) -> Result<String, NodeError> {
    let mut read = match node.get(at, span).await? {
        Read::Gone(version) => return Ok(format!("gone {version:?}")),
        Read::Object(read) => read,
    };
    let mut all = Vec::new();
    while let Some(piece) = read.body.next().await {
        let piece = piece?;
        piece.verify().expect("verified by the node");
        all.extend_from_slice(piece.data());
    }
    Ok(format!(
        "{:?} {} {} {}",
        read.stat,
        read.body_start,
        all.len(),
        blake3::hash(&all)
    ))
}

async fn large(node: &dyn ObjectNode, at: &At, version: u64, size: usize) -> Result<(), NodeError> {
    let body = bytes(size, 3);
    let mut stream = node.begin_put(at).await?;
    for piece in body.chunks(EXTENT) {
        stream.send(Checked::seal(piece.to_vec().into())).await?;
    }
    match stream.commit(put(version, &body)).await {
        Err(NodeError::Newer(newer)) if newer > v(30) => {
            let again = PutObject {
                version: Version(newer.0 + 1),
                ..put(version, &body)
            };
            stream.commit(again).await
        }
        done => done,
    }
}

/// What replicas must agree on: not the digest, which each engine makes as it
/// likes, nor how long deletions stay listed.
fn container(info: ContainerInfo) -> ContainerInfo {
    ContainerInfo {
        digest: 0,
        newest: Version(0),
        ..info
    }
}

fn account(info: AccountInfo) -> AccountInfo {
    AccountInfo {
        digest: 0,
        newest: Version(0),
        ..info
    }
}

/// All live entries that a listing leads to, page by page.
async fn walk_container(
    node: &dyn ObjectNode,
    at: &At,
    mut list: ListRequest,
) -> Result<(ContainerInfo, Vec<Entry<ObjectRow>>), NodeError> {
    let mut all = Vec::new();
    loop {
        let page = node.list_container(at, list.clone()).await?;
        let live = |entry: &Entry<ObjectRow>| !matches!(entry, Entry::Row(row) if row.deleted);
        let live: Vec<_> = page.entries.into_iter().filter(live).collect();
        assert!(live.len() <= list.limit as usize, "a page over its limit");
        all.extend(live);
        match page.complete_to {
            Some(to) => list.marker = to,
            None => return Ok((container(page.info), all)),
        }
    }
}

async fn walk_account(
    node: &dyn ObjectNode,
    at: &At,
    mut list: ListRequest,
) -> Result<(AccountInfo, Vec<String>), NodeError> {
    let mut all = Vec::new();
    loop {
        let page = node.list_account(at, list.clone()).await?;
        let deleted = page.info.deleted;
        all.extend(page.entries.into_iter().filter_map(|entry| match entry {
            Entry::Row(row) if row.put > row.deleted && row.put > deleted => Some(format!("{row:?}")),
            Entry::Row(_) => None,
            Entry::Subdir(dir) => Some(dir),
        }));
        match page.complete_to {
            Some(to) => list.marker = to,
            None => return Ok((account(page.info), all)),
        }
    }
}

fn item(version: u64, meta: u8) -> Vec<MetaItem> {
    let item = |n: u8| MetaItem {
        name: format!("x-container-meta-{n}"),
        value: if version.is_multiple_of(5) {
            String::new()
        } else {
            format!("{version}")
        },
        version: v(version),
    };
    (0..meta).map(item).collect()
}

fn row(name: u8, version: u64, deleted: bool) -> ObjectRow {
    let name = format!("{}/{}", char::from(b'a' + name % 3), name / 3);
    ObjectRow {
        deleted,
        size: if deleted { 0 } else { version },
        content_type: "text/plain".into(),
        ..ObjectRow::deletion(&name, v(version))
    }
}

/// Carries a step out; the answer as text.
pub async fn carry(node: &dyn ObjectNode, step: Step) -> String {
    match step {
        Step::Put {
            n,
            version,
            size,
            salt,
        } => {
            let body = bytes(size, salt);
            format!(
                "{:?}",
                node.put(&at(n), put(version, &body), Checked::seal(body.into()))
                    .await
            )
        }
        Step::Large { n, version, size } => format!("{:?}", large(node, &at(n), version, size).await),
        Step::Read { n, span } => {
            let head: Result<Found, _> = node.head(&at(n)).await;
            let span = span.map(|(start, end)| Span { start, end });
            format!("{head:?} {:?}", read(node, &at(n), span).await)
        }
        Step::Post {
            n,
            version,
            content_type,
        } => {
            let meta = PostMeta {
                content_type: content_type.then(|| format!("type/{version}")),
                delete_at: None,
                headers: vec![("x-object-meta-post".into(), version.to_string())],
            };
            format!("{:?}", node.post(&at(n), v(version), meta).await)
        }
        Step::Delete { n, version } => format!("{:?}", node.delete(&at(n), v(version), "a/c/o").await),
        Step::PutContainer {
            n,
            version,
            policy,
            meta,
        } => {
            let made = PutContainer {
                account: "a".into(),
                container: format!("c{n}"),
                version: v(version),
                deleted: if version.is_multiple_of(3) {
                    v(version / 2)
                } else {
                    Version(0)
                },
                policy,
                meta: item(version, meta),
            };
            format!("{:?}", node.put_container(&at(10 + n), made).await)
        }
        Step::PostContainer { n, version, meta } => {
            let posted = node
                .post_container(&at(10 + n), v(version), item(version, meta))
                .await;
            format!(
                "{posted:?} {:?}",
                node.head_container(&at(10 + n)).await.map(container)
            )
        }
        Step::DeleteContainer { n, version } => {
            format!("{:?}", node.delete_container(&at(10 + n), v(version)).await)
        }
        Step::Rows { n, rows } => {
            let rows = rows
                .into_iter()
                .map(|(name, version, deleted)| row(name, version, deleted))
                .collect();
            let written = node.put_object_rows(&at(10 + n), rows).await;
            format!(
                "{written:?} {:?}",
                node.head_container(&at(10 + n)).await.map(container)
            )
        }
        Step::List { n, list } => {
            let objects = walk_container(node, &at(10 + n), list.clone()).await;
            format!("{objects:?} {:?}", walk_account(node, &at(20 + n), list).await)
        }
        Step::PutAccount { n, version } => {
            let made = PutAccount {
                account: "a".into(),
                version: v(version),
                meta: item(version, 1),
            };
            let put = node.put_account(&at(20 + n), made).await;
            format!("{put:?} {:?}", node.head_account(&at(20 + n)).await.map(account))
        }
        Step::DeleteAccount { n, version } => {
            format!("{:?}", node.delete_account(&at(20 + n), v(version)).await)
        }
        Step::ContainerRows { n, rows } => {
            let row = |(name, put, deleted): (u8, u64, u64)| ContainerRow {
                name: format!("{}/{name}", char::from(b'a' + name % 3)),
                put: v(put),
                deleted: v(deleted),
                policy: u32::from(name % 2),
                counted: v(put),
                objects: put,
                bytes: deleted,
            };
            let rows = rows.into_iter().map(row).collect();
            let written = node.put_container_rows(&at(20 + n), rows).await;
            format!(
                "{written:?} {:?}",
                node.head_account(&at(20 + n)).await.map(account)
            )
        }
    }
}
