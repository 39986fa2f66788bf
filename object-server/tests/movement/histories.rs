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
use virga_object_wire::object::{Found, PostMeta};

use crate::cluster::{Cluster, request, until};

#[derive(Clone, Debug)]
enum Change {
    Put(u8),
    Delete,
    /// Whether it names a content type.
    Post(bool),
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
        3 => any::<bool>().prop_map(Change::Post),
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

/// Updates that devices took, by name: the data they were made over, their
/// version, whether they named a type.
type Taken = BTreeMap<[u8; 16], Vec<(Version, Version, bool)>>;

async fn carry(cluster: &Cluster, start: Version, step: &Step, taken: &mut Taken) {
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
            Change::Post(typed) => {
                let headers = vec![("x-object-meta-version".to_owned(), step.version.to_string())];
                let update = PostMeta {
                    content_type: typed.then(|| posted_type(version)),
                    headers,
                    ..PostMeta::default()
                };
                let posted = node.post(&at, version, update).await;
                if let Ok(stat) = &posted {
                    let all = taken.entry(at.hash.0).or_default();
                    all.push((stat.version, version, typed));
                }
                posted.map(|_| ())
            }
        };
        assert!(
            matches!(result, Ok(()) | Err(NodeError::Newer(_) | NodeError::NotFound)),
            "{result:?}"
        );
    }
}

fn posted_type(version: Version) -> String {
    format!("image/{}", version.0)
}

/// Every replica's knowledge merged: what all must end with, but for the hash of
/// updates that two of them make one of.
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
        let data = state.data.map_or(Version(0), |data| data.rank.version);
        state.post = state.post.filter(|post| post.outlives(data));
    }
    let updates = || known.iter().flat_map(BTreeMap::values);
    for state in all.values_mut() {
        let Some(post) = &mut state.post else { continue };
        // The newest type over that data may have been heard with other headers.
        let same = updates().filter(|other| other.hash == state.hash);
        let same = same
            .filter_map(|other| other.post)
            .filter(|other| other.over == post.over);
        post.typed = same.map(|other| other.typed).max().unwrap_or(post.typed);
    }
    all
}

/// A state without the hash of its update.
fn but_for_the_hash(state: Option<NameState>) -> Option<NameState> {
    let mut state = state?;
    if let Some(post) = &mut state.post {
        post.tie = 0;
    }
    Some(state)
}

/// The type of the newest update that named one over this data; the data's own
/// if there is none.
fn expected_type(taken: &Taken, state: &NameState) -> String {
    let over = state.data.map(|data| data.rank.version);
    let updates = taken.get(&state.hash.0).into_iter().flatten();
    let named = updates.filter(|(data, _, typed)| *typed && Some(*data) == over);
    let newest = named.map(|(_, version, _)| *version).max();
    newest.map_or("text/plain".to_owned(), posted_type)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("VIRGA_SOAK").is_some() { 200 } else { 6 },
        max_shrink_iters: 200,
        ..ProptestConfig::default()
    })]
    #[test]
    fn i6_replicas_that_heard_different_things_end_with_the_newest_of_all_and_its_type(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut cluster = Cluster::start(4, 4).await;
            let start = cluster.next_version();
            let mut taken = Taken::new();
            for step in &steps {
                carry(&cluster, start, step, &mut taken).await;
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
                        let end = end.get(&hash).copied().filter(|_| own);
                        but_for_the_hash(known.get(&hash).copied()) == but_for_the_hash(end)
                    })
                })
                .await;
            }
            for name in (0..6).map(|name| format!("o{name}")) {
                let Some(state) = end.get(&cluster.hash(&name).0) else { continue };
                let mut ties = Vec::new();
                for n in cluster.primaries(&name) {
                    let here = known(&cluster, n).await;
                    ties.push(here.get(&state.hash.0).and_then(|state| state.post));
                    if let Found::Object(stat) = cluster.node(n).head(&cluster.at(n, &name)).await.unwrap() {
                        prop_assert_eq!(stat.meta.content_type, expected_type(&taken, state), "{} on {}", name, n);
                    }
                }
                prop_assert!(ties.windows(2).all(|two| two[0] == two[1]), "{name}: {ties:?}");
            }
            Ok(())
        })?;
    }
}
