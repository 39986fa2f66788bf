//! Random histories: whatever the replicas heard, in whatever order, they all
//! end with what the newest record of each name says.
use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use virga_node::clock::Version;
use virga_object_wire::checked::Checked;
use virga_object_wire::error::NodeError;
use virga_object_wire::movement::NamesRequest;
use virga_object_wire::movement::{Buckets, NameState};
use virga_object_wire::object::PostMeta;

use crate::cluster::{Cluster, request, until};

#[derive(Clone, Debug)]
enum Change {
    Put(u8),
    Delete,
    Post,
}

/// A change of name `name`, `version` after the start, heard by the devices in
/// `by` (bits).
#[derive(Clone, Debug)]
struct Step {
    name: u8,
    version: u8,
    by: u8,
    change: Change,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = prop_oneof![
        3 => any::<u8>().prop_map(Change::Put),
        1 => Just(Change::Delete),
        2 => Just(Change::Post),
    ];
    // Few versions, so that many are equal: two proxies may draw the same.
    let step = (0..6_u8, 0..16_u8, 1..16_u8, change);
    let step = step.prop_map(|(name, version, by, change)| Step {
        name,
        version,
        by,
        change,
    });
    vec(step, 1..40)
}

/// What a device says it knows, by name.
async fn known(cluster: &Cluster, n: usize) -> BTreeMap<[u8; 16], NameState> {
    let mut all = BTreeMap::new();
    for name in (0..6).map(|name| format!("o{name}")) {
        let at = cluster.at(n, &name);
        let wanted = NamesRequest {
            policy: 0,
            partition: at.partition,
            buckets: Buckets::ALL,
            after: None,
            limit: 100,
        };
        let page = cluster.node(n).names(&at.device, wanted).await.unwrap();
        all.extend(page.names.into_iter().map(|state| (state.hash.0, state)));
    }
    all
}

async fn carry(cluster: &Cluster, start: Version, step: &Step) {
    let name = format!("o{}", step.name);
    let version = Version(start.0 + u64::from(step.version));
    for n in (0..4).filter(|n| step.by & (1 << n) != 0) {
        let (node, at) = (cluster.node(n), cluster.at(n, &name));
        let result = match step.change {
            Change::Put(content) => {
                let body = vec![content; 100];
                let put = request(&name, version, &body);
                node.put(&at, put, Checked::seal(body.into())).await
            }
            Change::Delete => node
                .delete(&at, version, &format!("a/c/{name}"))
                .await
                .map(|_| ()),
            Change::Post => {
                let headers = vec![("x-object-meta-version".to_owned(), step.version.to_string())];
                let update = PostMeta {
                    headers,
                    ..PostMeta::default()
                };
                node.post(&at, version, update).await.map(|_| ())
            }
        };
        assert!(
            matches!(result, Ok(()) | Err(NodeError::Newer(_) | NodeError::NotFound)),
            "{result:?}"
        );
    }
}

/// Every replica's knowledge merged: what all must end with.
fn merged(known: &[BTreeMap<[u8; 16], NameState>]) -> BTreeMap<[u8; 16], NameState> {
    let mut all: BTreeMap<[u8; 16], NameState> = BTreeMap::new();
    for state in known.iter().flat_map(BTreeMap::values) {
        let merged = all.entry(state.hash.0).or_insert(*state);
        let newer = |one: Option<virga_object_wire::movement::DataState>| one.map(|data| data.rank);
        if newer(state.data) > newer(merged.data) {
            merged.data = state.data;
        }
        merged.post = merged.post.max(state.post);
    }
    for state in all.values_mut() {
        let data = state.data.map(|data| data.rank.version);
        state.post = state.post.filter(|post| Some(post.version) > data);
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("VIRGA_SOAK").is_some() { 200 } else { 6 },
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]
    #[test]
    fn i6_replicas_that_heard_different_things_end_with_the_newest_of_all(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut cluster = Cluster::start(4, 4).await;
            let start = cluster.next_version();
            for step in &steps {
                carry(&cluster, start, step).await;
            }
            // Names in the wrong place move while the history goes on. Asked twice:
            // what a device gave away before it was asked for the first time, its
            // primaries have the second time.
            let mut before = Vec::new();
            for n in (0..4).chain(0..4) {
                before.push(known(&cluster, n).await);
            }
            let end = merged(&before);
            cluster.change(|_, _| {});
            cluster.reconciled(&[0, 1, 2, 3]).await;
            for n in 0..4 {
                until("everything is in its place", async || {
                    let known = known(&cluster, n).await;
                    (0..6).map(|name| format!("o{name}")).all(|name| {
                        let hash = cluster.hash(&name).0;
                        let own = cluster.primaries(&name).contains(&n);
                        known.get(&hash).copied() == end.get(&hash).copied().filter(|_| own)
                    })
                })
                .await;
            }
        });
    }
}
